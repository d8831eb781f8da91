"""What the host and the plugin have in common: the handshake, and the services of both.

The wire is that of go-plugin's example "bidirectional", so that either side may be a Go one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import counter_grpc
import counter_pb2
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


class CounterServicer(counter_grpc.CounterBase):
    """Runs in the plugin; for each put it calls its host back."""

    def __init__(self, broker: GRPCBroker) -> None:
        self._broker = broker
        self._values: dict[str, int] = {}

    async def Get(self, stream: Stream[counter_pb2.GetRequest, counter_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        if request.key not in self._values:
            raise GRPCError(Status.NOT_FOUND, f"no counter under {request.key!r}")
        await stream.send_message(counter_pb2.GetResponse(value=self._values[request.key]))

    async def Put(self, stream: Stream[counter_pb2.PutRequest, counter_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        async with await self._broker.dial(request.add_server) as channel:
            old = self._values.get(request.key, 0)
            numbers = counter_pb2.SumRequest(a=old, b=request.value)
            reply = await counter_grpc.AddHelperStub(channel).Sum(numbers)
        self._values[request.key] = reply.r
        await stream.send_message(counter_pb2.Empty())


class CounterPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [CounterServicer(broker)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> counter_grpc.CounterStub:
        return counter_grpc.CounterStub(channel)
