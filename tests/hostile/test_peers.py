"""What is at the address of a handshake, and what it says when it is called."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.exceptions import GRPCError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from h2.exceptions import ProtocolError

from pyplugin import HandshakeError, StartTimeout, TLSError, mtls
from pyplugin.constants import ENV_HTTP2
from pyplugin.net.transport import Address, Listener
from tests.fixtures.logs import LIMIT
from tests.net.test_grpc import channel_to

from .starts import error_of, errors_of, printing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="plugins of sh, unix sockets")

OK = [(":status", "200"), ("content-type", "application/grpc")]
DONE = [("grpc-status", "0")]
# HealthCheckResponse: SERVING
SERVING = b"\x08\x01"


@contextlib.asynccontextmanager
async def listening(path: Path, serve: Serve, **options: Any) -> AsyncIterator[None]:
    """Serves at ``path`` until the end of the block, whatever clients do."""
    serving: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            serving.discard(task)
            writer.transport.abort()

    server = await asyncio.start_unix_server(one, str(path), **options)
    try:
        yield
    finally:
        server.close()
        for task in [*serving]:
            task.cancel()
        await asyncio.gather(*serving)
        await server.wait_closed()


def line(path: Path, certificate: str = "", *, mux: bool = False) -> bytes:
    return f"1|1|unix|{path}|grpc|{certificate}{'|true' if mux else ''}\n".encode()


# Nobody


async def test_nobody_is_there(tmp_path: Path) -> None:
    """It is tried until the time is over where somebody may come, and else not."""
    file, loop, dead = tmp_path / "file", tmp_path / "loop", tmp_path / "dead"
    file.touch()
    loop.symlink_to(loop)
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(dead))
    for kind, paths in (
        (StartTimeout, [tmp_path / "missing", file, tmp_path, dead]),
        (HandshakeError, [file / "s", loop]),
    ):
        seconds = 2.0 if kind is StartTimeout else LIMIT
        lines = [line(path) for path in paths]
        for error in await errors_of(tmp_path, lines, start_timeout=seconds):
            assert type(error) is kind, error


# Whoever


async def hang_up(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    pass


async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(2**16):
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


async def speak_http_1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(2**16)
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


def say(data: bytes) -> Serve:
    async def say_it(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(data)
            await writer.drain()

    return say_it


def frame(kind: int, flags: int, stream: int, payload: bytes, length: int | None = None) -> bytes:
    """A frame of HTTP/2 that may say that it has another length."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


SETTINGS = frame(4, 0, 0, b"")
PEERS: dict[str, Serve] = {
    "hangs up": hang_up,
    "HTTP/1": speak_http_1,
    "zeros": say(bytes(2**16)),
    "noise": say(bytes(range(256)) * 256),
    "settings": say(SETTINGS * 1000 + bytes(1000)),
    "a frame of 16 MiB": say(SETTINGS + frame(0, 0, 1, bytes(2**14), 2**24 - 1)),
    "headers of no stream": say(SETTINGS + frame(1, 4, 99, b"\x88")),
    "half an index": say(SETTINGS + frame(1, 4, 1, b"\xff\xff\xff\xff\xff")),
    "continuations": say(SETTINGS + frame(1, 0, 1, b"") + frame(9, 0, 1, b"") * 1000),
    "pushes": say(SETTINGS + frame(5, 4, 1, b"\0\0\0\2\x82\x84\x86")),
    "window": say(SETTINGS + frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2),
}


if os.environ.get(ENV_HTTP2) != "h2":
    # h2 waits for the 16 MiB that an echo announces.
    PEERS["echo"] = echo


@pytest.mark.parametrize("way", ["plain", "mtls", "mux", "mux mtls"])
async def test_whoever_is_there(way: str, tmp_path: Path) -> None:
    tls, mux = "mtls" in way, "mux" in way
    settings = {"auto_mtls": tls, "grpc_broker_multiplex": mux, "start_timeout": LIMIT}
    certificate = mtls.encode_handshake_cert(mtls.generate().cert_der) if tls else ""
    async with contextlib.AsyncExitStack() as stack:
        lines = []
        for number, serve in enumerate(PEERS.values()):
            path = tmp_path / f"s{number}"
            await stack.enter_async_context(listening(path, serve))
            lines.append(line(path, certificate, mux=mux))
        for error in await errors_of(tmp_path, lines, **settings):
            assert isinstance(error, TLSError if tls else HandshakeError), error


async def test_whoever_says_nothing(tmp_path: Path) -> None:
    async with listening(tmp_path / "s", say_nothing):
        command = printing(tmp_path / "line", line(tmp_path / "s"))
        assert isinstance(await error_of(command, start_timeout=0.3), StartTimeout)


NOT_H2 = pytest.mark.skipif(
    os.environ.get(ENV_HTTP2) == "h2", reason="h2 answers without bounds, and reads ASCII alone"
)


async def ask_and_read_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pings, each of which has to be answered."""
    writer.write(SETTINGS)
    while True:
        writer.write(frame(6, 0, 0, bytes(8)) * 1000)
        await writer.drain()


@NOT_H2
async def test_whoever_reads_no_answers(tmp_path: Path) -> None:
    async with listening(tmp_path / "s", ask_and_read_nothing, limit=2**10):
        command = printing(tmp_path / "line", line(tmp_path / "s"))
        error = await error_of(command, start_timeout=LIMIT)
        assert "frames that ask for answers, and none of these is read" in str(error)


# Answers of gRPC


def message(data: bytes, flag: int = 0, length: int | None = None) -> bytes:
    size = len(data) if length is None else length
    return bytes([flag]) + size.to_bytes(4, "big") + data


class Answer:
    """What is sent for a call.

    Args:
        headers: Those that come first, None for none.
        data: What comes then.
        trailers: What comes last; None leaves the stream open.
    """

    def __init__(
        self,
        headers: list[tuple[Any, Any]] | None = OK,
        data: bytes = b"",
        trailers: list[tuple[Any, Any]] | None = DONE,
    ) -> None:
        self._parts = headers, data, trailers

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = H2Connection(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        connection.initiate_connection()
        while True:
            writer.write(connection.data_to_send())
            if not (data := await reader.read(2**16)):
                return
            with contextlib.suppress(ProtocolError):
                for event in connection.receive_data(data):
                    if isinstance(event, RequestReceived):
                        self._answer(connection, event.stream_id)

    def _answer(self, connection: H2Connection, number: int) -> None:
        headers, data, trailers = self._parts
        if headers is not None:
            is_all = not data and trailers is not None and "grpc-status" in dict(headers)
            connection.send_headers(number, headers, end_stream=is_all)
            if is_all:
                return
        if data:
            connection.send_data(number, data)
        if trailers is not None:
            connection.send_headers(number, trailers, end_stream=True)


UNREADABLE = {
    "no status of HTTP": Answer(OK[1:], message(SERVING)),
    "a status that is none": Answer([(":status", "٣".encode()), OK[1]]),
    "a status of letters": Answer([(":status", "ok"), OK[1]]),
    "no content type": Answer(OK[:1], message(SERVING)),
    "another content type": Answer([OK[0], ("content-type", "text/html")], message(SERVING)),
    "undecodable": Answer(data=message(b"\xff\xff\xff")),
    "compressed": Answer(data=message(SERVING, 1)),
    "flags": Answer(data=message(SERVING, 255)),
    "cut": Answer(data=message(SERVING, length=99)),
    "half a head": Answer(data=b"\0\0"),
    "no message": Answer(),
    "no grpc-status": Answer(data=message(SERVING), trailers=[("x", "y")]),
    "a grpc-status of letters": Answer([*OK, ("grpc-status", "x")]),
    "a grpc-status of digits": Answer([*OK, ("grpc-status", "9" * 5000)]),
    "a grpc-status of none": Answer([*OK, ("grpc-status", "17")]),
    "a huge text": Answer([*OK, ("grpc-status", "2"), ("grpc-message", "x" * 60_000)]),
    "a broken text": Answer([*OK, ("grpc-status", "2"), ("grpc-message", "%zz%ff%1b[2J%00%")]),
    "headers twice": Answer([*OK, *OK, *OK], message(SERVING), OK),
}
UNWELL = {
    "not serving": Answer(data=message(b"\x08\x02")),
    "unknown": Answer(data=message(b"")),
    "no such status": Answer(data=message(b"\x08\x63")),
    "below zero": Answer(data=message(b"\x08" + b"\xff" * 9 + b"\x01")),
}


async def test_answers_that_are_none(tmp_path: Path) -> None:
    answers = [*UNREADABLE.values(), *UNWELL.values()]
    async with contextlib.AsyncExitStack() as stack:
        lines = []
        for number, answer in enumerate(answers):
            await stack.enter_async_context(listening(tmp_path / f"s{number}", answer))
            lines.append(line(tmp_path / f"s{number}"))
        errors = await errors_of(tmp_path, lines, start_timeout=LIMIT)
    for name, error in zip([*UNREADABLE, *UNWELL], errors, strict=True):
        assert type(error) is HandshakeError, (name, error)
        words = "its health service says" if name in UNWELL else "did not answer its first call"
        assert words in str(error), (name, error)


async def answered(answer: Answer, folder: Path) -> kv_pb2.GetResponse:
    """What a call comes to that is answered so."""
    async with listening(folder / "s", answer):
        with socket.socket() as unused:
            listener = Listener(unused, Address("unix", str(folder / "s")))
            async with channel_to(listener) as channel:
                return await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="k"))


@pytest.mark.parametrize("name", UNREADABLE)
async def test_calls_whose_answers_are_none(name: str, tmp_path: Path) -> None:
    with pytest.raises(GRPCError):
        await answered(UNREADABLE[name], tmp_path)


@NOT_H2
async def test_bytes_in_a_header_do_no_harm(tmp_path: Path) -> None:
    reply = await answered(Answer([*OK, (b"x", b"\xff\xfe")], message(b"")), tmp_path)
    assert reply.value == b""


async def test_an_answer_that_never_ends(tmp_path: Path) -> None:
    """A message of four gigabytes that does not come is waited for as long as a start may take."""
    answer = Answer(data=message(SERVING, length=2**32 - 1), trailers=None)
    async with listening(tmp_path / "s", answer):
        command = printing(tmp_path / "line", line(tmp_path / "s"))
        assert isinstance(await error_of(command, start_timeout=0.3), StartTimeout)
