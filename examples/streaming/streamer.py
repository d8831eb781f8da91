"""What the host and the plugin have in common: the handshake, and the services.

All but the search is that of go-plugin's example "streaming", so that either side may be the Go
one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import search_grpc
import search_pb2
import streamer_grpc
import streamer_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import HandshakeConfig, Plugin

if TYPE_CHECKING:
    from grpclib.client import Channel
    from grpclib.server import Stream

    from pyplugin import GRPCBroker

HANDSHAKE = HandshakeConfig(
    protocol_version=1,
    magic_cookie_key="BASIC_PLUGIN",
    magic_cookie_value="hello",
)

# A chunk is in memory as a whole, whatever the host asks for.
MAX_CHUNK_BYTES = 2**20


class Document:
    """The file that the services of one plugin share.

    Attributes:
        path: Where it is; None before Configure.
        chunk_size: How many bytes of it go into one message.
    """

    path: Path | None = None
    chunk_size = 0

    def open(self, mode: str) -> IO[bytes]:
        """Opens it; what is wrong becomes the status of the call."""
        if self.path is None:
            raise GRPCError(Status.FAILED_PRECONDITION, "Configure comes first")
        try:
            return self.path.open(mode)
        except FileNotFoundError as error:
            raise GRPCError(Status.NOT_FOUND, str(error)) from error
        except OSError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error


class StreamerServicer(streamer_grpc.StreamerServiceBase):
    """Runs in the plugin. However long the file is, no more than a chunk of it is in memory."""

    def __init__(self, document: Document) -> None:
        self._document = document

    async def Configure(
        self,
        stream: Stream[streamer_pb2.Configure.Request, streamer_pb2.Configure.Response],
    ) -> None:
        request = await stream.recv_message()
        assert request is not None
        if request.chunk_size < 1:
            raise GRPCError(Status.INVALID_ARGUMENT, "a chunk has at least one byte")
        if not request.path or "\0" in request.path:
            raise GRPCError(Status.INVALID_ARGUMENT, "a path is not empty and has no NUL")
        self._document.path = Path(request.path)
        self._document.chunk_size = min(request.chunk_size, MAX_CHUNK_BYTES)
        await stream.send_message(streamer_pb2.Configure.Response())

    async def Read(
        self, stream: Stream[streamer_pb2.Read.Request, streamer_pb2.Read.ResponseChunk]
    ) -> None:
        await stream.recv_message()
        with self._document.open("rb") as file:
            while chunk := file.read(self._document.chunk_size):
                await stream.send_message(streamer_pb2.Read.ResponseChunk(read_bytes=chunk))

    async def Write(
        self, stream: Stream[streamer_pb2.Write.RequestChunk, streamer_pb2.Write.Response]
    ) -> None:
        with self._document.open("wb") as file:
            async for chunk in stream:
                file.write(chunk.bytes_to_write)
        await stream.send_message(streamer_pb2.Write.Response())


class SearchServicer(search_grpc.SearchServiceBase):
    """Runs in the plugin."""

    def __init__(self, document: Document) -> None:
        self._document = document

    async def Search(self, stream: Stream[search_pb2.Word, search_pb2.Places]) -> None:
        with self._document.open("rb") as file:
            content = file.read()
        async for word in stream:
            if not word.text:
                raise GRPCError(Status.INVALID_ARGUMENT, "an empty word is everywhere")
            found = re.finditer(re.escape(word.text.encode()), content)
            await stream.send_message(search_pb2.Places(offsets=[match.start() for match in found]))


class Streamer(NamedTuple):
    """What the host calls the plugin with: a stub for each service."""

    files: streamer_grpc.StreamerServiceStub
    search: search_grpc.SearchServiceStub


class StreamerPlugin(Plugin):
    """What the plugin serves, and what the host calls it with."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        document = Document()
        return [StreamerServicer(document), SearchServicer(document)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> Streamer:
        return Streamer(
            streamer_grpc.StreamerServiceStub(channel), search_grpc.SearchServiceStub(channel)
        )
