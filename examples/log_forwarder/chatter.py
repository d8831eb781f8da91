"""What the host and the plugin have in common: the handshake, and the service."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import chatter_grpc
import chatter_pb2

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="CHATTER_PLUGIN",
    magic_cookie_value="hello",
)
LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)

log = logging.getLogger("chatter")


class ChatterServicer(chatter_grpc.ChatterBase):
    """Runs in the plugin."""

    async def Chat(self, stream: Stream[chatter_pb2.ChatRequest, chatter_pb2.ChatReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(request.lines):
            if request.lines_per_second > 0:
                due = began + number / request.lines_per_second
                await asyncio.sleep(due - loop.time())
            log.log(LEVELS[number % len(LEVELS)], "a line", extra={"number": number})
        await stream.send_message(chatter_pb2.ChatReply())


class ChatterPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [ChatterServicer()]

    def stub(self, broker: GRPCBroker, channel: Channel) -> chatter_grpc.ChatterStub:
        return chatter_grpc.ChatterStub(channel)
