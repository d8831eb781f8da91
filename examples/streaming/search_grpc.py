# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import search_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class SearchServiceBase(abc.ABC):
    @abc.abstractmethod
    async def Search(
        self, stream: grpclib.server.Stream[search_pb2.Word, search_pb2.Places]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/streaming.SearchService/Search": grpclib.const.Handler(
                self.Search,
                grpclib.const.Cardinality.STREAM_STREAM,
                search_pb2.Word,
                search_pb2.Places,
            ),
        }


class SearchServiceStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Search = grpclib.client.StreamStreamMethod(
            channel, "/streaming.SearchService/Search", search_pb2.Word, search_pb2.Places
        )
