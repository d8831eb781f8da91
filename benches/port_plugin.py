"""examples/kv/plugin.py for the pure-Python port, by what the port's README shows alone.

It runs in a virtual environment where ``pyplugin`` is the port; its stubs are those of
examples/kv, which it finds by PYTHONPATH.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2

from pyplugin import HandshakeConfig, Plugin, ServeConfig, serve

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream


class KVServicer(kv_grpc.KVBase):
    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        value = _file(request.key).read_bytes()
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        _file(request.key).write_bytes(request.value)
        await stream.send_message(kv_pb2.Empty())


class KVPlugin(Plugin):
    def servicers(self, broker: Any) -> list[Any]:
        return [KVServicer()]

    def stub(self, broker: Any, channel: Channel) -> kv_grpc.KVStub:
        return kv_grpc.KVStub(channel)


def _file(key: str) -> Path:
    return Path(f"kv_{key}")


if __name__ == "__main__":
    serve(
        ServeConfig(
            handshake_config=HandshakeConfig(
                protocol_version=1,
                magic_cookie_key="BASIC_PLUGIN",
                magic_cookie_value="hello",
            ),
            plugins={"kv_grpc": KVPlugin()},
        )
    )
