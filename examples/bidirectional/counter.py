"""What the host and the plugin have in common: the handshake, and the services of both.

All of it is that of go-plugin's example "bidirectional", so that either side may be the Go one.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
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


class AddHelperServicer(counter_grpc.AddHelperBase):
    """Runs in the host: the plugin has it add the numbers."""

    async def Sum(self, stream: Stream[counter_pb2.SumRequest, counter_pb2.SumResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        total = request.a + request.b
        if not -(2**63) <= total < 2**63:
            raise GRPCError(Status.OUT_OF_RANGE, f"{total} does not fit into 64 bits")
        await stream.send_message(counter_pb2.SumResponse(r=total))


class CounterServicer(counter_grpc.CounterBase):
    """Runs in the plugin; keeps each number in a file of the working directory, as Go's does."""

    def __init__(self, broker: GRPCBroker) -> None:
        self._broker = broker
        # Two puts at once would both add to the same old value.
        self._adding = asyncio.Lock()

    async def Get(self, stream: Stream[counter_pb2.GetRequest, counter_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        value = _load(_file(request.key))
        if value is None:
            raise GRPCError(Status.NOT_FOUND, f"no counter under {request.key!r}")
        await stream.send_message(counter_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[counter_pb2.PutRequest, counter_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        file = _file(request.key)
        async with self._adding, await self._broker.dial(request.add_server) as channel:
            add_helper = counter_grpc.AddHelperStub(channel)
            reply = await add_helper.Sum(
                counter_pb2.SumRequest(a=_load(file) or 0, b=request.value)
            )
            _store(file, reply.r)
        await stream.send_message(counter_pb2.Empty())


class Counter:
    """What the host calls the plugin with.

    Args:
        broker: Of the connection to the plugin.
        channel: The connection.
    """

    def __init__(self, broker: GRPCBroker, channel: Channel) -> None:
        self._broker = broker
        self._stub = counter_grpc.CounterStub(channel)

    async def get(self, key: str) -> int:
        """The number under ``key``."""
        reply = await self._stub.Get(counter_pb2.GetRequest(key=key))
        return reply.value

    async def put(self, key: str, number: int, add_helper: counter_grpc.AddHelperBase) -> None:
        """Has the plugin add ``number`` to what is under ``key``, by calling ``add_helper``."""
        service_id = self._broker.next_id()
        server = await self._broker.accept_and_serve(service_id, [add_helper])
        try:
            await self._stub.Put(
                counter_pb2.PutRequest(add_server=service_id, key=key, value=number)
            )
        finally:
            server.close()
            await server.wait_closed()


class CounterPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [CounterServicer(broker)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> Counter:
        return Counter(broker, channel)


def _file(key: str) -> Path:
    if "/" in key or "\0" in key:
        raise GRPCError(Status.INVALID_ARGUMENT, "a key may not hold '/' or NUL")
    return Path(f"kv_{key}")


def _load(file: Path) -> int | None:
    try:
        text = file.read_text()
    except FileNotFoundError:
        return None
    try:
        return int(json.loads(text)["Value"])
    except (ValueError, TypeError, KeyError):
        raise GRPCError(Status.DATA_LOSS, f"{file} holds no counter") from None


def _store(file: Path, value: int) -> None:
    # Byte for byte what Go's plugin writes.
    file.write_text(json.dumps({"Value": value}, separators=(",", ":")))
