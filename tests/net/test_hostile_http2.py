"""Peers that break HTTP/2, in frames written by hand, against our channel and our server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from hpack import Encoder

from pyplugin._compat import timeout
from pyplugin.environment import PluginEnvironment
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.grpc.server import PluginServer
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import open_listener
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pyplugin.net.transport import Address

pytestmark = pytest.mark.skipif(
    os.environ.get("PYPLUGIN_HTTP2") == "h2", reason="h2 has bounds of its own, or none"
)

LOGGER = logging.getLogger("tests.hostile")
# Seconds for all that one peer does.
LIMIT = 10.0
# What a test may make the process grow by, in bytes.
MOST_GROWTH = 64 * 2**20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, UPDATE, CONTINUATION = (
    range(10)
)
ACK = END_STREAM = 1
END_HEADERS = 4
PADDED = 8
NO_ERROR, PROTOCOL, FLOW_CONTROL, FRAME_SIZE, COMPRESSION, CALM = 0, 1, 3, 6, 9, 11


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number(stream) + payload


def number(value: int) -> bytes:
    return value.to_bytes(4, "big")


def block(*fields: tuple[str, str]) -> bytes:
    """Header fields as literals that no table keeps; names and values are short."""
    return b"".join(
        b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in pair) for pair in fields
    )


def message(value: bytes) -> bytes:
    encoded = kv_pb2.GetResponse(value=value).SerializeToString()
    return b"\0" + number(len(encoded)) + encoded


REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/proto.KV/Get"),
    (":authority", "x"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)
START = frame(HEADERS, END_HEADERS, 1, block((":status", "200"), REQUEST[-1]))
ANSWER = START + frame(DATA, 0, 1, message(b"v"))
FINISH = frame(HEADERS, END_HEADERS | END_STREAM, 1, block(("grpc-status", "0")))


def request(stream: int = 1, key: str = "bytes:1", flags: int = END_STREAM) -> bytes:
    encoded = kv_pb2.GetRequest(key=key).SerializeToString()
    return frame(HEADERS, END_HEADERS, stream, block(*REQUEST)) + frame(
        DATA, flags, stream, b"\0" + number(len(encoded)) + encoded
    )


# 64 KiB of a header list for each 16 bytes: a long value is put into the table, and referred to.
BOMB = b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 12000
GARBAGE = random.Random(9).randbytes(10_000)


@dataclass(frozen=True)
class Frame:
    kind: int
    flags: int
    stream: int
    payload: bytes


class Wire:
    """One end of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def write(self, *frames: bytes) -> None:
        self.writer.write(b"".join(frames))

    async def frame(self) -> Frame:
        head = await self.reader.readexactly(9)
        payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        return Frame(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    async def until(self, kind: int, *, flags: int = 0) -> Frame:
        """Reads up to a frame of this kind, with these flags."""
        while True:
            frame = await self.frame()
            if frame.kind == kind and frame.flags & flags == flags:
                return frame

    async def end(self) -> list[Frame]:
        """What comes until the other side hangs up."""
        frames = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                frames.append(await self.frame())
        return frames

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def code(frames: list[Frame], kind: int) -> int | None:
    """The error code of the last frame of a kind, GOAWAY or RST_STREAM."""
    start = 4 if kind == GOAWAY else 0
    codes = [frame.payload[start : start + 4] for frame in frames if frame.kind == kind]
    return int.from_bytes(codes[-1], "big") if codes else None


@pytest.fixture(autouse=True)
def bounded_memory() -> Iterator[None]:
    before = resident()
    yield
    assert resident() - before < MOST_GROWTH


def resident() -> int:
    if sys.platform != "linux":
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@contextlib.asynccontextmanager
async def channel_to(address: Address) -> AsyncIterator[PluginChannel]:
    tasks = TaskScope("test", LOGGER)
    channel = PluginChannel(address, tls=None, tasks=tasks)
    try:
        async with timeout(LIMIT):
            yield channel
    finally:
        channel.close()
        await channel.wait_closed()
        await tasks.aclose()


async def get(channel: PluginChannel, key: str = "k", **options: Any) -> bytes:
    reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key=key), **options)
    return reply.value


# A hostile server


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[PluginChannel, asyncio.Queue[Wire]]]:
    """A channel, and the server's ends of the connections that it makes."""
    listener = open_listener(PluginEnvironment())
    wires: list[Wire] = []
    made: asyncio.Queue[Wire] = asyncio.Queue()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wires.append(Wire(reader, writer))
        made.put_nowait(wires[-1])

    server = await asyncio.start_unix_server(accept, sock=listener.sock)
    try:
        async with channel_to(listener.address) as channel:
            yield channel, made
    finally:
        for wire in wires:
            await wire.close()
        server.close()
        listener.close()


async def taken(made: asyncio.Queue[Wire], opening: bytes = frame(SETTINGS)) -> Wire:
    """The next connection, once its first request has come whole."""
    wire = await made.get()
    wire.write(opening)
    assert await wire.reader.readexactly(len(PREFACE)) == PREFACE
    await wire.until(DATA, flags=END_STREAM)
    return wire


@dataclass(frozen=True)
class Attack:
    """What a server sends, and what becomes of the call.

    Attributes:
        name: Of the test.
        answer: What is sent when the request has come.
        code: The error code that the client tells the server, None for none.
        status: The call's.
        opening: What is sent at once; SETTINGS where it is None.
        breaks: The connection is over, and not only the call.
    """

    name: str
    answer: bytes = b""
    code: int | None = PROTOCOL
    status: Status = Status.UNAVAILABLE
    opening: bytes | None = None
    breaks: bool = True


def of_stream(
    name: str, answer: bytes, code: int | None = PROTOCOL, status: Status = Status.INTERNAL
) -> Attack:
    return Attack(name, answer, code, status, breaks=False)


SERVERS = [
    Attack("no SETTINGS", opening=START),
    Attack("HTTP/1", opening=b"HTTP/1.1 400 Bad Request\r\n\r\n", code=FRAME_SIZE),
    Attack("garbage at once", opening=GARBAGE, code=FRAME_SIZE),
    Attack("garbage", GARBAGE, code=FRAME_SIZE),
    Attack("SETTINGS flood", frame(SETTINGS) * 100_000, code=CALM),
    Attack("PING flood", frame(PING, payload=bytes(8)) * 100_000, code=CALM),
    Attack(
        "CONTINUATION flood",
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1) * 100_000,
        code=CALM,
    ),
    Attack(
        "CONTINUATION flood of long frames",
        frame(HEADERS, 0, 1) + frame(CONTINUATION, 0, 1, block(("a", "b" * 100)) * 150) * 100,
        code=CALM,
    ),
    Attack("another frame in a header block", frame(HEADERS, 0, 1) + frame(PING, payload=bytes(8))),
    Attack(
        "HPACK that refers to nothing", frame(HEADERS, END_HEADERS, 1, b"\xff\x7f"), COMPRESSION
    ),
    Attack("a window beyond all", frame(UPDATE, payload=number(2**31 - 1)), FLOW_CONTROL),
    Attack("a window that grows by nothing", frame(UPDATE, payload=number(0))),
    Attack("a setting that is not allowed", frame(SETTINGS, payload=b"\0\4\xff\xff\xff\xff"), 3),
    Attack("SETTINGS of half an entry", frame(SETTINGS, payload=b"\0\4\0"), FRAME_SIZE),
    Attack("an acknowledgement with payload", frame(SETTINGS, ACK, payload=bytes(6)), FRAME_SIZE),
    Attack("DATA of an idle stream", frame(DATA, 0, 7, b"x")),
    Attack("DATA of no stream", frame(DATA, 0, 0, b"x")),
    Attack("HEADERS of an idle stream", frame(HEADERS, END_HEADERS, 7, b"")),
    Attack("HEADERS of a stream of its own", frame(HEADERS, END_HEADERS, 2, b"")),
    Attack("a reset of an idle stream", frame(RST_STREAM, 0, 7, number(8))),
    Attack("a frame of 16 KiB and one byte", b"\0\x40\1" + frame(DATA, 0, 1)[3:], FRAME_SIZE),
    Attack("PING of seven bytes", frame(PING, payload=bytes(7)), FRAME_SIZE),
    Attack("padding longer than its frame", START + frame(DATA, PADDED, 1, b"\xff1")),
    Attack("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + block(*REQUEST))),
    Attack("half a frame and a hang-up", ANSWER + b"\0\0", code=None),
    of_stream("HPACK bomb", frame(HEADERS, END_HEADERS, 1, BOMB), CALM, Status.RESOURCE_EXHAUSTED),
    of_stream("a stream's window beyond all", frame(UPDATE, 0, 1, number(2**31 - 1)), FLOW_CONTROL),
    of_stream("a stream's window that grows by nothing", frame(UPDATE, 0, 1, number(0))),
    of_stream("DATA before HEADERS", frame(DATA, 0, 1, message(b"v"))),
    of_stream("no :status", frame(HEADERS, END_HEADERS, 1, block(REQUEST[-1]))),
    of_stream("a :status twice", frame(HEADERS, END_HEADERS, 1, block((":status", "200")) * 2)),
    of_stream(
        "an upper-case name", frame(HEADERS, END_HEADERS, 1, block((":status", "200"), ("A", "b")))
    ),
    of_stream("trailers that do not end", ANSWER + FINISH[:4] + bytes([END_HEADERS]) + FINISH[5:]),
    of_stream(
        "more than its content-length",
        frame(HEADERS, END_HEADERS, 1, block((":status", "200"), ("content-length", "3")))
        + frame(DATA, 0, 1, message(b"value")),
    ),
    of_stream("RST flood", frame(RST_STREAM, 0, 1, number(8)) * 10_000, None, Status.CANCELLED),
    of_stream(
        "trailers without a status",
        ANSWER + frame(HEADERS, END_HEADERS | END_STREAM, 1, block(("a", "b"))),
        None,
        Status.UNKNOWN,
    ),
    of_stream(
        "a status that is none",
        ANSWER + frame(HEADERS, END_HEADERS | END_STREAM, 1, block(("grpc-status", "ok"))),
        None,
        Status.UNKNOWN,
    ),
    of_stream("an end without trailers", ANSWER + frame(DATA, END_STREAM, 1), None),
    of_stream(
        "a page of HTML",
        frame(HEADERS, END_HEADERS, 1, block((":status", "502"), ("content-type", "text/html")))
        + frame(DATA, END_STREAM, 1, b"<p>Bad gateway"),
        None,
        Status.UNAVAILABLE,
    ),
    of_stream("half a message", START + frame(DATA, 0, 1, message(b"v")[:-1]) + FINISH, None),
    of_stream(
        "the head of a message alone", START + frame(DATA, 0, 1, b"\0\0\0\0\5") + FINISH, None
    ),
    of_stream("a compressed message", START + frame(DATA, 0, 1, b"\1\0\0\0\1x") + FINISH, None),
    of_stream(
        "a message of no protobuf", START + frame(DATA, 0, 1, b"\0\0\0\0\1\xff") + FINISH, None
    ),
    of_stream("no message", START + FINISH, None),
    of_stream("no message, but an error", START + FINISH[:-1] + b"5", None, Status.NOT_FOUND),
]


@pytest.mark.parametrize("attack", SERVERS, ids=[attack.name for attack in SERVERS])
async def test_a_hostile_server(attack: Attack) -> None:
    async with served() as (channel, made):
        call = asyncio.ensure_future(get(channel))
        if attack.opening is not None:
            wire = await made.get()
            wire.write(attack.opening)
            await wire.reader.readexactly(len(PREFACE))
        else:
            wire = await taken(made)
            wire.write(attack.answer)
        if attack.breaks and attack.code is None:
            wire.writer.close()
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is attack.status, raised.value
        if attack.breaks:
            frames = await wire.end()
            assert code(frames, GOAWAY) == attack.code
            # The next call connects anew.
            call = asyncio.ensure_future(get(channel))
            wire = await taken(made)
            wire.write(ANSWER, FINISH)
            assert await call == b"v"
        else:
            # The next call finds the connection as if nothing had been.
            call = asyncio.ensure_future(get(channel))
            frames = [await wire.frame()]
            while frames[-1].kind != DATA:
                frames.append(await wire.frame())
            wire.write((ANSWER + FINISH).replace(number(1), number(3)))
            assert await call == b"v"
            assert made.empty()
            if attack.code is not None:
                assert code(frames, RST_STREAM) == attack.code


NOTHING = {
    "acknowledgements": frame(SETTINGS, ACK),
    "answers to no PING": frame(PING, ACK, payload=bytes(8)),
    "priorities": frame(PRIORITY, 0, 1, number(0) + b"\1"),
    "crumbs of window": frame(UPDATE, payload=number(1)) + frame(UPDATE, 0, 1, number(1)),
    "frames of no kind": frame(99, 255, 1, b"x"),
    "early hints": frame(HEADERS, END_HEADERS, 1, block((":status", "103"))),
    "farewells": frame(GOAWAY, payload=number(1) + number(NO_ERROR)),
}


@pytest.mark.parametrize("nothing", NOTHING.values(), ids=NOTHING)
async def test_much_that_means_nothing_does_no_harm(nothing: bytes) -> None:
    async with served() as (channel, made):
        call = asyncio.ensure_future(get(channel))
        wire = await taken(made)
        wire.write(
            nothing * 20_000, START, frame(DATA, 0, 1) * 20_000, ANSWER[len(START) :], FINISH
        )
        assert await call == b"v"


async def test_more_than_the_window_of_a_stream_that_nobody_reads() -> None:
    async with served() as (channel, made):
        with pytest.raises(GRPCError) as raised:
            async with kv_grpc.KVStub(channel).Get.open() as stream:
                await stream.send_message(kv_pb2.GetRequest(key="k"), end=True)
                wire = await taken(made)
                wire.write(START, frame(DATA, 0, 1, bytes(16384)) * 257)
                assert (await wire.until(RST_STREAM)).payload == number(FLOW_CONTROL)
                await stream.recv_message()
        assert raised.value.status is Status.INTERNAL


async def test_a_server_that_goes_away_and_is_silent() -> None:
    async with served() as (channel, made):
        first = asyncio.ensure_future(get(channel, timeout=0.2))
        old = await taken(made)
        old.write(frame(GOAWAY, payload=number(1) + number(NO_ERROR)))
        # Its answer may come yet, or not before the deadline; others do not wait for it.
        second = asyncio.ensure_future(get(channel))
        new = await taken(made)
        new.write(ANSWER, FINISH)
        assert await second == b"v"
        with pytest.raises(asyncio.TimeoutError):
            await first
        assert code(await old.end(), RST_STREAM) is not None


async def test_a_server_that_asks_and_reads_nothing() -> None:
    async with served() as (channel, made):
        call = asyncio.ensure_future(get(channel))
        wire = await taken(made)
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises(GRPCError) as raised:
            while not call.done():
                wire.write(frame(PING, payload=bytes(8)) * 100)
                await asyncio.sleep(0)
            await call
        assert raised.value.status is Status.UNAVAILABLE


# A hostile client


class Servicer(KVServicer):
    """Counts the calls that wait at the key "wait"."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = self.begun = 0
        self.ended = asyncio.Event()

    async def _do(self, name: str, argument: str) -> bytes:
        if name != "wait":
            return await super()._do(name, argument)
        self.waiting += 1
        self.begun += 1
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.waiting -= 1
            if not self.waiting:
                self.ended.set()
        return b""


@dataclass
class Target:
    """A server under attack.

    Attributes:
        servicer: What it serves.
        server: The server.
        channel: Of somebody who behaves.
    """

    servicer: Servicer
    server: PluginServer
    channel: PluginChannel
    wires: list[Wire] = field(default_factory=list)

    async def connect(self, opening: bytes = PREFACE + frame(SETTINGS)) -> Wire:
        reader, writer = await asyncio.open_unix_connection(str(self.channel._path))
        self.wires.append(Wire(reader, writer))
        self.wires[-1].write(opening)
        return self.wires[-1]


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    """A server; in the end it serves somebody else still, and nobody but them."""
    listener = open_listener(PluginEnvironment())
    servicer = Servicer()
    server = PluginServer([servicer], logger=LOGGER)
    await server.serve_on(listener, tls=None)
    try:
        async with channel_to(listener.address) as channel:
            it = Target(servicer, server, channel)
            assert await get(channel, "bytes:1") == b"\0"
            (its,) = server._connections
            try:
                yield it
                assert await get(channel, "bytes:1") == b"\0"
            finally:
                for wire in it.wires:
                    await wire.close()
            await asyncio.gather(*(c.lost for c in server._connections if c is not its))
            assert await get(channel, "bytes:1") == b"\0"
            assert servicer.waiting == 0
    finally:
        server.close()
        await server.wait_closed()


CLIENTS = [
    Attack("HTTP/1", opening=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack("another preface", opening=PREFACE[:-1] + b"x"),
    Attack("garbage at once", opening=GARBAGE),
    Attack("garbage", GARBAGE, FRAME_SIZE),
    Attack("no SETTINGS", opening=PREFACE + request()),
    Attack("SETTINGS flood", frame(SETTINGS) * 100_000, CALM),
    Attack("PING flood", frame(PING, payload=bytes(8)) * 100_000, CALM),
    Attack("flood of faults", b"".join(frame(HEADERS, 4, 2 * n + 3) for n in range(2000)), CALM),
    Attack("CONTINUATION flood", frame(HEADERS, 0, 3) + frame(CONTINUATION, 0, 3) * 100_000, CALM),
    Attack("HPACK of nothing", frame(HEADERS, END_HEADERS, 3, b"\xff\x7f"), COMPRESSION),
    Attack("too large a table", frame(HEADERS, END_HEADERS, 3, b"\x3f\xe2\x1f"), COMPRESSION),
    Attack("a window beyond all", frame(UPDATE, payload=number(2**31 - 1)), FLOW_CONTROL),
    Attack("DATA of an idle stream", frame(DATA, 0, 7, b"x")),
    Attack("a stream of the server's", frame(HEADERS, END_HEADERS, 2, block(*REQUEST))),
    Attack("a stream that comes late", request(2001) + request(5)),
    Attack("a reset of an idle stream", frame(RST_STREAM, 0, 7, number(8))),
    Attack("a frame of 16 KiB and one byte", b"\0\x40\1" + frame(DATA, 0, 1)[3:], FRAME_SIZE),
    Attack("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, number(2) + block(*REQUEST))),
    Attack("a setting that is not allowed", frame(SETTINGS, payload=b"\0\2\0\0\0\2")),
    Attack(
        "windows that grow too large together",
        frame(UPDATE, 0, 1, number(2**31 - 1 - 65535)) + frame(SETTINGS, payload=b"\0\4\0\1\0\0"),
        FLOW_CONTROL,
    ),
    of_stream("HPACK bomb", frame(HEADERS, END_HEADERS, 3, BOMB), CALM),
    of_stream("a stream's window beyond all", frame(UPDATE, 0, 1, number(2**31 - 1)), FLOW_CONTROL),
    of_stream("no :path", frame(HEADERS, END_HEADERS, 3, block(*REQUEST[:2], *REQUEST[3:]))),
    of_stream(
        "a header about the connection",
        frame(HEADERS, END_HEADERS, 3, block(*REQUEST, ("connection", "close"))),
    ),
    of_stream("DATA behind the end", frame(DATA, END_STREAM, 1) + frame(DATA, 0, 1, b"x"), 5),
    of_stream("a stream that depends on itself", frame(PRIORITY, 0, 1, number(1) + b"\0")),
]


@pytest.mark.parametrize("attack", CLIENTS, ids=[attack.name for attack in CLIENTS])
async def test_a_hostile_client(attack: Attack) -> None:
    async with target() as it:
        if attack.opening is not None:
            wire = await it.connect(attack.opening)
        else:
            wire = await it.connect()
            wire.write(request(1, "wait", flags=0), attack.answer)
        if attack.breaks:
            assert code(await wire.end(), GOAWAY) == attack.code
        else:
            assert (await wire.until(RST_STREAM)).payload == number(attack.code or 0)
            wire.write(request(9))
            assert (await wire.until(DATA)).stream == 9


async def test_data_that_nobody_reads_and_a_broken_rule_behind_it() -> None:
    async with target() as it:
        wire = await it.connect()
        wire.write(request(1, flags=0))
        await wire.until(HEADERS, flags=END_STREAM)
        wire.write(frame(DATA, 0, 1, b"x") + frame(DATA, 0, 7, b"x"))
        assert code(await wire.end(), GOAWAY) == PROTOCOL


async def test_ten_thousand_streams_opened_and_reset_at_once() -> None:
    # Short, so that more than are allowed are in what is read at once.
    encoder = Encoder()
    async with target() as it:
        wire = await it.connect()
        wire.write(
            *(
                frame(HEADERS, END_HEADERS, stream, encoder.encode(REQUEST))
                + frame(RST_STREAM, 0, stream, number(8))
                for stream in range(1, 20_001, 2)
            )
        )
        assert code(await wire.end(), GOAWAY) == CALM


async def test_ten_thousand_streams_opened_and_reset_in_pieces() -> None:
    async with target() as it:
        wire = await it.connect()
        for start in range(1, 20_001, 200):
            streams = range(start, start + 200, 2)
            wire.write(*(request(stream, "wait") for stream in streams))
            wire.write(*(frame(RST_STREAM, 0, stream, number(8)) for stream in streams))
            wire.write(frame(PING, payload=bytes(8)))
            await wire.until(PING)
        wire.write(request(20_001))
        await wire.until(HEADERS, flags=END_STREAM)
        streams_left = [len(c.processor.streams) for c in it.server._connections]
        assert streams_left == [0, 0]


async def test_a_client_that_hangs_up_on_a_thousand_calls() -> None:
    async with target() as it:
        wire = await it.connect()
        wire.write(*(request(stream, "wait") for stream in range(1, 2001, 2)))
        while it.servicer.waiting < 1000:
            wire.write(frame(PING, payload=bytes(8)))
            await wire.until(PING)
        await wire.close()
        await it.servicer.ended.wait()
        assert it.servicer.begun == 1000


async def test_a_client_that_lets_nothing_be_sent() -> None:
    async with target() as it:
        wire = await it.connect(PREFACE + frame(SETTINGS, payload=b"\0\4\0\0\0\0"))
        size = 100_000
        wire.write(*(request(stream, f"bytes:{size}") for stream in range(1, 201, 2)))
        for _ in range(100):
            await wire.until(HEADERS)
        # And then a byte at a time, to one of them.
        for _ in range(20):
            wire.write(frame(UPDATE, 0, 1, number(1)))
            assert len((await wire.until(DATA)).payload) == 1


async def test_a_client_that_asks_for_much_and_reads_nothing() -> None:
    async with target() as it:
        wire = await it.connect(PREFACE + frame(SETTINGS, payload=b"\0\4\x7f\xff\xff\xff"))
        wire.reader._transport.pause_reading()  # type: ignore[attr-defined]
        wire.write(frame(UPDATE, payload=number(2**31 - 1 - 65535)))
        wire.write(*(request(stream, f"bytes:{2**18}") for stream in range(1, 129, 2)))
        for _ in range(20):
            assert await get(it.channel, "bytes:1") == b"\0"
        assert all(c.transport.get_write_buffer_size() < 2**20 for c in it.server._connections)
