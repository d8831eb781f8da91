# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import guest_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class GuestBase(abc.ABC):
    @abc.abstractmethod
    async def Look(
        self, stream: grpclib.server.Stream[guest_pb2.LookRequest, guest_pb2.LookReply]
    ) -> None: ...

    @abc.abstractmethod
    async def Swap(
        self, stream: grpclib.server.Stream[guest_pb2.SwapRequest, guest_pb2.SwapReply]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/guest.Guest/Look": grpclib.const.Handler(
                self.Look,
                grpclib.const.Cardinality.UNARY_UNARY,
                guest_pb2.LookRequest,
                guest_pb2.LookReply,
            ),
            "/guest.Guest/Swap": grpclib.const.Handler(
                self.Swap,
                grpclib.const.Cardinality.UNARY_UNARY,
                guest_pb2.SwapRequest,
                guest_pb2.SwapReply,
            ),
        }


class GuestStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Look = grpclib.client.UnaryUnaryMethod(
            channel, "/guest.Guest/Look", guest_pb2.LookRequest, guest_pb2.LookReply
        )
        self.Swap = grpclib.client.UnaryUnaryMethod(
            channel, "/guest.Guest/Swap", guest_pb2.SwapRequest, guest_pb2.SwapReply
        )


class NoteBase(abc.ABC):
    @abc.abstractmethod
    async def Read(
        self, stream: grpclib.server.Stream[guest_pb2.ReadRequest, guest_pb2.ReadReply]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/guest.Note/Read": grpclib.const.Handler(
                self.Read,
                grpclib.const.Cardinality.UNARY_UNARY,
                guest_pb2.ReadRequest,
                guest_pb2.ReadReply,
            ),
        }


class NoteStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Read = grpclib.client.UnaryUnaryMethod(
            channel, "/guest.Note/Read", guest_pb2.ReadRequest, guest_pb2.ReadReply
        )
