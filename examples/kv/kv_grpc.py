# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import kv_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class KVBase(abc.ABC):
    @abc.abstractmethod
    async def Get(
        self, stream: grpclib.server.Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]
    ) -> None: ...

    @abc.abstractmethod
    async def Put(
        self, stream: grpclib.server.Stream[kv_pb2.PutRequest, kv_pb2.Empty]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/proto.KV/Get": grpclib.const.Handler(
                self.Get,
                grpclib.const.Cardinality.UNARY_UNARY,
                kv_pb2.GetRequest,
                kv_pb2.GetResponse,
            ),
            "/proto.KV/Put": grpclib.const.Handler(
                self.Put,
                grpclib.const.Cardinality.UNARY_UNARY,
                kv_pb2.PutRequest,
                kv_pb2.Empty,
            ),
        }


class KVStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Get = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.KV/Get", kv_pb2.GetRequest, kv_pb2.GetResponse
        )
        self.Put = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.KV/Put", kv_pb2.PutRequest, kv_pb2.Empty
        )
