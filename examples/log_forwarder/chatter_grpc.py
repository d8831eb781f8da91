# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import chatter_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class ChatterBase(abc.ABC):
    @abc.abstractmethod
    async def Chat(
        self, stream: grpclib.server.Stream[chatter_pb2.ChatRequest, chatter_pb2.ChatReply]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/chatter.Chatter/Chat": grpclib.const.Handler(
                self.Chat,
                grpclib.const.Cardinality.UNARY_UNARY,
                chatter_pb2.ChatRequest,
                chatter_pb2.ChatReply,
            ),
        }


class ChatterStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Chat = grpclib.client.UnaryUnaryMethod(
            channel, "/chatter.Chatter/Chat", chatter_pb2.ChatRequest, chatter_pb2.ChatReply
        )
