"""What the host and the plugin have in common: the handshake, and the services of both."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import guest_grpc
import guest_pb2

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="GUEST_PLUGIN",
    magic_cookie_value="hello",
)


class NoteServicer(guest_grpc.NoteBase):
    """Runs on either side, for the other one to read."""

    def __init__(self, text: str) -> None:
        self._text = text

    async def Read(self, stream: Stream[guest_pb2.ReadRequest, guest_pb2.ReadReply]) -> None:
        await stream.recv_message()
        await stream.send_message(guest_pb2.ReadReply(text=self._text))


async def read_note(broker: GRPCBroker, service_id: int) -> str:
    """The text of the note that the other side serves under ``service_id``."""
    async with await broker.dial(service_id) as channel:
        reply = await guest_grpc.NoteStub(channel).Read(guest_pb2.ReadRequest())
        return reply.text


class GuestServicer(guest_grpc.GuestBase):
    """Runs in the plugin, and so in the sandbox."""

    def __init__(self, broker: GRPCBroker) -> None:
        self._broker = broker

    async def Look(self, stream: Stream[guest_pb2.LookRequest, guest_pb2.LookReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        folder = os.environ["PLUGIN_UNIX_SOCKET_DIR"]
        await stream.send_message(
            guest_pb2.LookReply(
                pid=os.getpid(),
                interfaces=[name for _, name in socket.if_nameindex()],
                folder=folder,
                sockets=_names(folder),
                at_host_folder=_names(request.host_folder),
            )
        )

    async def Swap(self, stream: Stream[guest_pb2.SwapRequest, guest_pb2.SwapReply]) -> None:
        request = await stream.recv_message()
        assert request is not None
        read = await read_note(self._broker, request.note)
        mine = self._broker.next_id()
        # It is served until the plugin ends.
        await self._broker.accept_and_serve(mine, [NoteServicer("from the plugin")])
        await stream.send_message(guest_pb2.SwapReply(read=read, note=mine))


class GuestPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [GuestServicer(broker)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> guest_grpc.GuestStub:
        return guest_grpc.GuestStub(channel)


def _names(folder: str) -> list[str]:
    return [path.name for path in Path(folder).iterdir()]
