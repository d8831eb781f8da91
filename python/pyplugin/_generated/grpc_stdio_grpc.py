# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

from . import empty_pb2
from . import grpc_stdio_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class GRPCStdioBase(abc.ABC):
    @abc.abstractmethod
    async def StreamStdio(
        self, stream: grpclib.server.Stream[empty_pb2.Empty, grpc_stdio_pb2.StdioData]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/plugin.GRPCStdio/StreamStdio": grpclib.const.Handler(
                self.StreamStdio,
                grpclib.const.Cardinality.UNARY_STREAM,
                empty_pb2.Empty,
                grpc_stdio_pb2.StdioData,
            ),
        }


class GRPCStdioStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.StreamStdio = grpclib.client.UnaryStreamMethod(
            channel, "/plugin.GRPCStdio/StreamStdio", empty_pb2.Empty, grpc_stdio_pb2.StdioData
        )
