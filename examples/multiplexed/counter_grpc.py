# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import counter_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class CounterBase(abc.ABC):
    @abc.abstractmethod
    async def Get(
        self, stream: grpclib.server.Stream[counter_pb2.GetRequest, counter_pb2.GetResponse]
    ) -> None: ...

    @abc.abstractmethod
    async def Put(
        self, stream: grpclib.server.Stream[counter_pb2.PutRequest, counter_pb2.Empty]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/proto.Counter/Get": grpclib.const.Handler(
                self.Get,
                grpclib.const.Cardinality.UNARY_UNARY,
                counter_pb2.GetRequest,
                counter_pb2.GetResponse,
            ),
            "/proto.Counter/Put": grpclib.const.Handler(
                self.Put,
                grpclib.const.Cardinality.UNARY_UNARY,
                counter_pb2.PutRequest,
                counter_pb2.Empty,
            ),
        }


class CounterStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Get = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.Counter/Get", counter_pb2.GetRequest, counter_pb2.GetResponse
        )
        self.Put = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.Counter/Put", counter_pb2.PutRequest, counter_pb2.Empty
        )


class AddHelperBase(abc.ABC):
    @abc.abstractmethod
    async def Sum(
        self, stream: grpclib.server.Stream[counter_pb2.SumRequest, counter_pb2.SumResponse]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/proto.AddHelper/Sum": grpclib.const.Handler(
                self.Sum,
                grpclib.const.Cardinality.UNARY_UNARY,
                counter_pb2.SumRequest,
                counter_pb2.SumResponse,
            ),
        }


class AddHelperStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Sum = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.AddHelper/Sum", counter_pb2.SumRequest, counter_pb2.SumResponse
        )
