# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import streamer_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class StreamerServiceBase(abc.ABC):
    @abc.abstractmethod
    async def Configure(
        self, stream: grpclib.server.Stream[streamer_pb2.Configure.Request, streamer_pb2.Configure.Response]
    ) -> None: ...

    @abc.abstractmethod
    async def Read(
        self, stream: grpclib.server.Stream[streamer_pb2.Read.Request, streamer_pb2.Read.ResponseChunk]
    ) -> None: ...

    @abc.abstractmethod
    async def Write(
        self, stream: grpclib.server.Stream[streamer_pb2.Write.RequestChunk, streamer_pb2.Write.Response]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/proto.StreamerService/Configure": grpclib.const.Handler(
                self.Configure,
                grpclib.const.Cardinality.UNARY_UNARY,
                streamer_pb2.Configure.Request,
                streamer_pb2.Configure.Response,
            ),
            "/proto.StreamerService/Read": grpclib.const.Handler(
                self.Read,
                grpclib.const.Cardinality.UNARY_STREAM,
                streamer_pb2.Read.Request,
                streamer_pb2.Read.ResponseChunk,
            ),
            "/proto.StreamerService/Write": grpclib.const.Handler(
                self.Write,
                grpclib.const.Cardinality.STREAM_UNARY,
                streamer_pb2.Write.RequestChunk,
                streamer_pb2.Write.Response,
            ),
        }


class StreamerServiceStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Configure = grpclib.client.UnaryUnaryMethod(
            channel, "/proto.StreamerService/Configure", streamer_pb2.Configure.Request, streamer_pb2.Configure.Response
        )
        self.Read = grpclib.client.UnaryStreamMethod(
            channel, "/proto.StreamerService/Read", streamer_pb2.Read.Request, streamer_pb2.Read.ResponseChunk
        )
        self.Write = grpclib.client.StreamUnaryMethod(
            channel, "/proto.StreamerService/Write", streamer_pb2.Write.RequestChunk, streamer_pb2.Write.Response
        )
