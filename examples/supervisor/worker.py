"""What the host and the plugin have in common: the handshake, and the service."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import worker_grpc
import worker_pb2

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="WORKER_PLUGIN",
    magic_cookie_value="hello",
)


class WorkerServicer(worker_grpc.WorkerBase):
    """Runs in the plugin."""

    def __init__(self, version: str) -> None:
        self._version = version

    async def Work(self, stream: Stream[worker_pb2.WorkRequest, worker_pb2.WorkReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        text = request.text.upper()
        await stream.send_message(
            worker_pb2.WorkReply(text=text, version=self._version, pid=os.getpid())
        )

    async def Crash(self, stream: Stream[worker_pb2.CrashRequest, worker_pb2.CrashReply]) -> None:
        os._exit(3)


class WorkerPlugin(Plugin):
    """What the plugin serves, and what the host calls it with.

    Args:
        version: Of the plugin; the host needs none.
    """

    def __init__(self, version: str = "") -> None:
        self._version = version

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [WorkerServicer(self._version)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> worker_grpc.WorkerStub:
        return worker_grpc.WorkerStub(channel)
