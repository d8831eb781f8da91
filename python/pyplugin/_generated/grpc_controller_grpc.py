# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

from . import grpc_controller_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class GRPCControllerBase(abc.ABC):
    @abc.abstractmethod
    async def Shutdown(
        self, stream: grpclib.server.Stream[grpc_controller_pb2.Empty, grpc_controller_pb2.Empty]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/plugin.GRPCController/Shutdown": grpclib.const.Handler(
                self.Shutdown,
                grpclib.const.Cardinality.UNARY_UNARY,
                grpc_controller_pb2.Empty,
                grpc_controller_pb2.Empty,
            ),
        }


class GRPCControllerStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Shutdown = grpclib.client.UnaryUnaryMethod(
            channel, "/plugin.GRPCController/Shutdown", grpc_controller_pb2.Empty, grpc_controller_pb2.Empty
        )
