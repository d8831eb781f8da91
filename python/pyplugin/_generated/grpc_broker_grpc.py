# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

from . import grpc_broker_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class GRPCBrokerBase(abc.ABC):
    @abc.abstractmethod
    async def StartStream(
        self, stream: grpclib.server.Stream[grpc_broker_pb2.ConnInfo, grpc_broker_pb2.ConnInfo]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/plugin.GRPCBroker/StartStream": grpclib.const.Handler(
                self.StartStream,
                grpclib.const.Cardinality.STREAM_STREAM,
                grpc_broker_pb2.ConnInfo,
                grpc_broker_pb2.ConnInfo,
            ),
        }


class GRPCBrokerStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.StartStream = grpclib.client.StreamStreamMethod(
            channel, "/plugin.GRPCBroker/StartStream", grpc_broker_pb2.ConnInfo, grpc_broker_pb2.ConnInfo
        )
