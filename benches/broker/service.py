"""What host and plugin have in common, with the port in the place of this package too."""

from __future__ import annotations

import asyncio
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
from grpclib.client import UnaryStreamMethod
from grpclib.const import Cardinality, Handler
from kv import HANDSHAKE

from benches.readings import Reading
from pyplugin import Plugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

__all__ = [
    "HANDSHAKE",
    "STREAM_METHOD",
    "STREAM_VALUE",
    "BrokeredPlugin",
    "Connection",
    "EmptyServicer",
    "call",
    "zeros",
]

# Answers a key, which is a number, with so many of the value.
STREAM_METHOD = "/bench.Stream/Values"
STREAM_VALUE = bytes(100)

_BLOCK_BYTES = 64 * 1024
_LINE_BYTES = 100


zeros = lru_cache(bytes)


class EmptyServicer(kv_grpc.KVBase):
    """Served under the broker's ids; has no values."""

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        await stream.recv_message()
        await stream.send_message(kv_pb2.GetResponse())

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        await stream.recv_message()
        await stream.send_message(kv_pb2.Empty())


async def call(broker: GRPCBroker, service_id: int) -> None:
    """Makes one call to what the other side serves under an id."""
    async with await broker.dial(service_id) as channel:
        await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="now"))


class KeyServicer(EmptyServicer):
    """Does what its keys ask for; benches/go/brokerplugin lists them."""

    def __init__(self, broker: GRPCBroker) -> None:
        self._broker = broker
        self._servers: dict[int, Any] = {}

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        value = await self._do(*request.key.partition(":")[::2])
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def _do(self, name: str, argument: str) -> bytes:
        match name:
            case "now":
                return b""
            case "bytes":
                return zeros(int(argument))
            case "cpu":
                return b"%.6f" % Reading.now().cpu
            case "accept":
                service_id = self._broker.next_id()
                self._servers[service_id] = await self._broker.accept_and_serve(
                    service_id, [EmptyServicer()]
                )
                return b"%d" % service_id
            case "dial":
                await call(self._broker, int(argument))
            case "stop":
                server = self._servers.pop(int(argument))
                server.close()
                await server.wait_closed()
            case _:
                # The loop has to take what is printed meanwhile.
                await asyncio.to_thread(_PRINT[name], int(argument))
        return b""


class StreamServicer:
    """Answers with as many messages as the key says."""

    async def Values(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        for _ in range(int(request.key)):
            await stream.send_message(kv_pb2.GetResponse(value=STREAM_VALUE))

    def __mapping__(self) -> dict[str, Handler]:
        return {
            STREAM_METHOD: Handler(
                self.Values, Cardinality.UNARY_STREAM, kv_pb2.GetRequest, kv_pb2.GetResponse
            )
        }


class Connection:
    """What the host has of the plugin."""

    def __init__(self, broker: GRPCBroker, channel: Channel) -> None:
        self.broker = broker
        self._stub = kv_grpc.KVStub(channel)
        self._values = UnaryStreamMethod[kv_pb2.GetRequest, kv_pb2.GetResponse](
            channel, STREAM_METHOD, kv_pb2.GetRequest, kv_pb2.GetResponse
        )

    async def get(self, key: str) -> str:
        """The plugin's answer to a key."""
        return (await self.get_bytes(key)).decode()

    async def get_bytes(self, key: str) -> bytes:
        """The same where it is no text."""
        reply = await self._stub.Get(kv_pb2.GetRequest(key=key))
        value: bytes = reply.value
        return value

    async def put(self, value: bytes) -> None:
        """Sends what the plugin drops."""
        await self._stub.Put(kv_pb2.PutRequest(key="value", value=value))

    async def stream(self, count: int) -> int:
        """Asks for so many messages, and says how many came."""
        came = 0
        async with self._values.open() as stream:
            await stream.send_message(kv_pb2.GetRequest(key=str(count)), end=True)
            async for _ in stream:
                came += 1
        return came

    async def call(self) -> None:
        """Makes a call to the plugin itself."""
        await self.get("now")

    async def serve(self) -> None:
        """Has the plugin call back under an id."""
        service_id = self.broker.next_id()
        server = await self.broker.accept_and_serve(service_id, [EmptyServicer()])
        try:
            await self.get(f"dial:{service_id}")
        finally:
            server.close()
            await server.wait_closed()

    async def dial(self) -> None:
        """Calls what the plugin serves under an id."""
        service_id = await self.get("accept")
        await call(self.broker, int(service_id))
        await self.get(f"stop:{service_id}")

    async def plugin_cpu(self) -> float:
        """Seconds of the processors that the plugin has used."""
        return float(await self.get("cpu"))


class BrokeredPlugin(Plugin):
    """A KV that hands out the broker."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [KeyServicer(broker), StreamServicer()]

    def stub(self, broker: GRPCBroker, channel: Channel) -> Connection:
        return Connection(broker, channel)


def _write_blocks(left: int) -> None:
    block = memoryview(b"x" * _BLOCK_BYTES)
    while left:
        left -= os.write(1, block[:left])


def _print_lines(left: int) -> None:
    line = "x" * (_LINE_BYTES - 1)
    for _ in range(left // _LINE_BYTES):
        print(line)


_PRINT: dict[str, Callable[[int], None]] = {"blocks": _write_blocks, "lines": _print_lines}
