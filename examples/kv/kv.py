"""What the host and the plugin have in common: the handshake, and the service.

All of it is that of go-plugin's example "grpc", so that either side may be the Go one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="BASIC_PLUGIN",
    magic_cookie_value="hello",
)


class KVServicer(kv_grpc.KVBase):
    """Runs in the plugin; keeps each value in a file of the working directory, as Go's does."""

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        try:
            value = _file(request.key).read_bytes()
        except FileNotFoundError:
            raise GRPCError(Status.NOT_FOUND, f"no value under {request.key!r}") from None
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        _file(request.key).write_bytes(request.value + b"\n\nWritten from the Python plugin")
        await stream.send_message(kv_pb2.Empty())


class KVPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [KVServicer()]

    def stub(self, broker: GRPCBroker, channel: Channel) -> kv_grpc.KVStub:
        return kv_grpc.KVStub(channel)


def _file(key: str) -> Path:
    if "/" in key or "\0" in key:
        raise GRPCError(Status.INVALID_ARGUMENT, "a key may not hold '/' or NUL")
    return Path(f"kv_{key}")
