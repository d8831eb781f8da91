"""What grpc.aio has of the service: the methods of a plugin, and the host's connection to one."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import kv_pb2

from benches.broker.service import STREAM_METHOD, STREAM_VALUE, zeros
from benches.readings import Reading

# As large as messages get.
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


async def _get(request: Any, _: Any) -> Any:
    name, _, argument = request.key.partition(":")
    if name == "cpu":
        return kv_pb2.GetResponse(value=b"%.6f" % Reading.now().cpu)
    return kv_pb2.GetResponse(value=zeros(int(argument or 0)))


async def _put(_request: Any, _: Any) -> Any:
    return kv_pb2.Empty()


async def _values(request: Any, _: Any) -> Any:
    for _number in range(int(request.key)):
        yield kv_pb2.GetResponse(value=STREAM_VALUE)


def handlers() -> list[Any]:
    """The services, for a server of grpc.aio."""
    get, put = kv_pb2.GetRequest.FromString, kv_pb2.PutRequest.FromString
    answer, empty = kv_pb2.GetResponse.SerializeToString, kv_pb2.Empty.SerializeToString
    service, _, method = STREAM_METHOD[1:].partition("/")
    services = {
        "proto.KV": {
            "Get": grpc.unary_unary_rpc_method_handler(_get, get, answer),
            "Put": grpc.unary_unary_rpc_method_handler(_put, put, empty),
        },
        service: {method: grpc.unary_stream_rpc_method_handler(_values, get, answer)},
    }
    return [
        grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()
    ]


class AioConnection:
    """What the host has of the plugin; as ``Connection``, without a broker."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        get, answer = kv_pb2.GetRequest.SerializeToString, kv_pb2.GetResponse.FromString
        self._get = channel.unary_unary("/proto.KV/Get", get, answer)
        self._put = channel.unary_unary(
            "/proto.KV/Put", kv_pb2.PutRequest.SerializeToString, kv_pb2.Empty.FromString
        )
        self._values = channel.unary_stream(STREAM_METHOD, get, answer)

    async def get_bytes(self, key: str) -> bytes:
        value: bytes = (await self._get(kv_pb2.GetRequest(key=key))).value
        return value

    async def put(self, value: bytes) -> None:
        await self._put(kv_pb2.PutRequest(key="value", value=value))

    async def stream(self, count: int) -> int:
        came = 0
        async for _ in self._values(kv_pb2.GetRequest(key=str(count))):
            came += 1
        return came

    async def call(self) -> None:
        await self.get_bytes("now")

    async def plugin_cpu(self) -> float:
        return float(await self.get_bytes("cpu"))
