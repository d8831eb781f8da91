"""What the host and the plugin have in common: the handshake, and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import greeter_grpc
import greeter_pb2

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="GREETER_PLUGIN",
    magic_cookie_value="hello",
)


class GreeterServicer(greeter_grpc.GreeterBase):
    """Runs in the plugin."""

    async def Greet(
        self, stream: Stream[greeter_pb2.GreetRequest, greeter_pb2.GreetResponse]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(greeter_pb2.GreetResponse(message=f"hello, {request.name}!"))

    async def Count(
        self, stream: Stream[greeter_pb2.CountRequest, greeter_pb2.CountResponse]
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        letters = sum(character.isalpha() for character in request.text)
        words = len(request.text.split())
        await stream.send_message(greeter_pb2.CountResponse(letters=letters, words=words))


class GreeterPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [GreeterServicer()]

    def stub(self, broker: GRPCBroker, channel: Channel) -> greeter_grpc.GreeterStub:
        return greeter_grpc.GreeterStub(channel)
