# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import greeter_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class GreeterBase(abc.ABC):
    @abc.abstractmethod
    async def Greet(
        self, stream: grpclib.server.Stream[greeter_pb2.GreetRequest, greeter_pb2.GreetResponse]
    ) -> None: ...

    @abc.abstractmethod
    async def Count(
        self, stream: grpclib.server.Stream[greeter_pb2.CountRequest, greeter_pb2.CountResponse]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/greeter.Greeter/Greet": grpclib.const.Handler(
                self.Greet,
                grpclib.const.Cardinality.UNARY_UNARY,
                greeter_pb2.GreetRequest,
                greeter_pb2.GreetResponse,
            ),
            "/greeter.Greeter/Count": grpclib.const.Handler(
                self.Count,
                grpclib.const.Cardinality.UNARY_UNARY,
                greeter_pb2.CountRequest,
                greeter_pb2.CountResponse,
            ),
        }


class GreeterStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Greet = grpclib.client.UnaryUnaryMethod(
            channel, "/greeter.Greeter/Greet", greeter_pb2.GreetRequest, greeter_pb2.GreetResponse
        )
        self.Count = grpclib.client.UnaryUnaryMethod(
            channel, "/greeter.Greeter/Count", greeter_pb2.CountRequest, greeter_pb2.CountResponse
        )
