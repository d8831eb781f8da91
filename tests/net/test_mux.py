"""Two ends of a multiplexed connection over real sockets, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import socket
import struct
from typing import TYPE_CHECKING, Any, cast

import pytest

from pyplugin._compat import timeout
from pyplugin._rust import MuxSession
from pyplugin.environment import PluginEnvironment
from pyplugin.errors import MuxClosed, MuxError, MuxProtocolError
from pyplugin.net.mux import MuxConnection, MuxStream, accept, connect
from pyplugin.net.transport import open_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LOGGER = logging.getLogger("tests.mux")
# Seconds for a test: pytest's own limit does not reach into uvloop.
LIMIT = 15
DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
FIRST_WINDOW_BYTES = 2**18
WINDOW_BYTES = 2**20
HIGH_BYTES = 2**17


class Recorder(asyncio.Protocol):
    """Keeps what it is told; what it has seen can be waited for."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.calls: list[str] = []
        self.is_full = False
        self.error: Exception | None = None
        self._changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._saw("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        self._saw("data")

    def eof_received(self) -> bool | None:
        self._saw("eof")
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.error = exc
        self._saw("lost")

    def pause_writing(self) -> None:
        self.is_full = True
        self._saw("full")

    def resume_writing(self) -> None:
        self.is_full = False
        self._saw("writable")

    @property
    def is_lost(self) -> bool:
        return "lost" in self.calls

    async def until(self, is_so: Callable[[], object]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    async def until_received(self, count: int) -> bytes:
        await self.until(lambda: len(self.received) >= count or self.is_lost)
        return bytes(self.received)

    async def until_lost(self) -> Exception | None:
        await self.until(lambda: self.is_lost)
        return self.error

    def _saw(self, call: str) -> None:
        if call != "data" or self.calls[-1:] != ["data"]:
            self.calls.append(call)
        self._changed.set()


class Echo(Recorder):
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)


class HalfOpen(Recorder):
    def eof_received(self) -> bool:
        super().eof_received()
        return True


class Accepting:
    """Keeps the streams that the peer opens, and gives them protocols if told so."""

    def __init__(self) -> None:
        self.factory: Callable[[], Recorder] | None = Recorder
        self.streams: asyncio.Queue[MuxStream] = asyncio.Queue()
        self.protocols: asyncio.Queue[Recorder] = asyncio.Queue()

    def __call__(self, stream: MuxStream) -> None:
        self.streams.put_nowait(stream)
        if self.factory is not None:
            protocol = self.factory()
            stream.start(protocol)
            self.protocols.put_nowait(protocol)


class End:
    """One end of a connection."""

    def __init__(self, *, is_host: bool) -> None:
        self.accepting = Accepting()
        self.connection = MuxConnection(is_host=is_host, on_stream=self.accepting, logger=LOGGER)

    def open(self, protocol: Recorder | None = None) -> Recorder:
        protocol = protocol or Recorder()
        self.connection.open_stream().start(protocol)
        return protocol

    async def accepted(self) -> Recorder:
        return await self.accepting.protocols.get()

    @property
    def stream_count(self) -> int:
        return self.connection._session.stream_count


@contextlib.contextmanager
def no_complaints() -> Any:
    """Fails a test during which the loop had an exception to report."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    yield contexts
    loop.set_exception_handler(None)
    assert contexts == []


def stream_sockets(*, tcp: bool = False) -> tuple[socket.socket, socket.socket]:
    if not tcp:
        pair = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            left = socket.create_connection(listener.getsockname())
            pair = left, listener.accept()[0]
    for sock in pair:
        sock.setblocking(False)
    return pair


async def attach(sock: socket.socket, protocol: asyncio.Protocol) -> None:
    loop = asyncio.get_running_loop()
    if sock.family == socket.AF_UNIX:
        await loop.create_unix_connection(lambda: protocol, sock=sock)
    else:
        await loop.create_connection(lambda: protocol, sock=sock)


@contextlib.asynccontextmanager
async def joined(*, tcp: bool = False) -> AsyncIterator[tuple[End, End]]:
    """A host's and a plugin's end of one connection."""
    host, plugin = End(is_host=True), End(is_host=False)
    with no_complaints():
        async with timeout(LIMIT):
            for sock, end in zip(stream_sockets(tcp=tcp), (host, plugin), strict=True):
                await attach(sock, end.connection)
            try:
                yield host, plugin
            finally:
                await host.connection.aclose()
                await plugin.connection.aclose()


class RawPeer:
    """The other end as bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._pending = b""
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._sock, data)

    async def next_frame(self) -> tuple[int, int, int, int, bytes] | None:
        """Kind, flags, stream, length and payload; None at the end."""
        head = await self._take(12)
        if not head:
            return None
        version, kind, flags, stream, length = struct.unpack(">BBHII", head)
        assert version == 0
        return kind, flags, stream, length, await self._take(length if kind == DATA else 0)

    async def frames(self) -> list[tuple[int, int, int, int, bytes]]:
        """All that come until the end."""
        found = []
        while frame := await self.next_frame():
            found.append(frame)
        return found

    async def _take(self, count: int) -> bytes:
        while len(self._pending) < count:
            try:
                data = await self._loop.sock_recv(self._sock, 2**16)
            except ConnectionResetError:
                data = b""
            if not data:
                assert self._pending == b"", "the connection ended within a frame"
                return b""
            self._pending += data
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken


@contextlib.asynccontextmanager
async def against_raw_peer() -> AsyncIterator[tuple[End, RawPeer]]:
    """A host's end, and the bytes of a peer that can do anything."""
    end = End(is_host=True)
    ours, theirs = stream_sockets()
    with no_complaints(), theirs:
        async with timeout(LIMIT):
            await attach(ours, end.connection)
            try:
                yield end, RawPeer(theirs)
            finally:
                await end.connection.aclose()


def frame(
    kind: int, flags: int, stream: int, length: int, payload: bytes = b"", version: int = 0
) -> bytes:
    return struct.pack(">BBHII", version, kind, flags, stream, length) + payload


def data(stream: int, payload: bytes, flags: int = 0) -> bytes:
    return frame(DATA, flags, stream, len(payload), payload)


def pattern(seed: int, size: int) -> bytes:
    """Bytes of which no part is like another of the same length."""
    return hashlib.shake_128(seed.to_bytes(4, "big")).digest(size)


async def stream_pair(
    stream: MuxStream,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    stream.start(protocol)
    return reader, asyncio.StreamWriter(stream, protocol, reader, loop)


# Streams


async def test_streams_opened_from_both_sides() -> None:
    async with joined() as (host, plugin):
        for opener, other in ((host, plugin), (plugin, host)):
            ours = opener.open()
            ours.transport.write(b"there")
            theirs = await other.accepted()
            assert await theirs.until_received(5) == b"there"
            theirs.transport.write(b"and back")
            assert await ours.until_received(8) == b"and back"
            assert ours.calls == ["made", "data"]


async def test_a_stream_that_is_only_opened_reaches_the_peer() -> None:
    async with joined() as (host, plugin):
        host.open()
        await plugin.accepted()


async def test_what_comes_before_start_waits_for_it() -> None:
    async with joined() as (host, plugin):
        plugin.accepting.factory = None
        ours = host.open()
        ours.transport.write(b"early")
        ours.transport.close()
        stream = await plugin.accepting.streams.get()
        await echo_once(host, plugin)
        theirs = Recorder()
        stream.start(theirs)
        assert theirs.calls == ["made", "data", "eof"]
        assert theirs.received == b"early"
        assert await theirs.until_lost() is None


async def echo_once(opener: End, other: End) -> None:
    """Returns when everything sent so far, apart from what waits for a window, has come."""
    factory, other.accepting.factory = other.accepting.factory, Echo
    ours = opener.open()
    ours.transport.write(b"echo")
    theirs = await other.accepted()
    other.accepting.factory = factory
    assert await ours.until_received(4) == b"echo"
    ours.transport.close()
    await ours.until_lost()
    await theirs.until_lost()


async def until_empty(*ends: End) -> None:
    """Returns when the sessions have no streams left, which nothing tells."""
    while any(end.stream_count for end in ends):  # noqa: ASYNC110
        await asyncio.sleep(0)


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
async def test_megabytes_each_way(tcp: bool) -> None:
    there, back = pattern(1, 2**22), pattern(2, 2**22)
    async with joined(tcp=tcp) as (host, plugin):
        ours = host.open()
        ours.transport.write(there)
        theirs = await plugin.accepted()
        theirs.transport.write(back)
        assert await theirs.until_received(2**22) == there
        assert await ours.until_received(2**22) == back


async def test_megabytes_each_way_on_many_streams_at_once() -> None:
    size = 2**22

    async def send(writer: asyncio.StreamWriter, content: bytes) -> None:
        for start in range(0, size, 2**17):
            writer.write(content[start : start + 2**17])
            await writer.drain()

    async def receive(reader: asyncio.StreamReader) -> bytes:
        digest, left = hashlib.sha1(), size
        while left:
            piece = await reader.read(2**18)
            assert piece, "it ended early"
            digest.update(piece)
            left -= len(piece)
        return digest.digest()

    content = pattern(3, size + 100)

    async def one(number: int) -> None:
        there, back = content[number : number + size], content[number + 50 : number + 50 + size]
        ours = await stream_pair(host.connection.open_stream())
        # In the order in which they were opened.
        theirs = await stream_pair(await plugin.accepting.streams.get())
        assert theirs[1].transport._number == ours[1].transport._number  # type: ignore[attr-defined]
        digests = await asyncio.gather(
            receive(theirs[0]), receive(ours[0]), send(ours[1], there), send(theirs[1], back)
        )
        assert digests[0] == hashlib.sha1(there).digest()
        assert digests[1] == hashlib.sha1(back).digest()
        for _, writer in (ours, theirs):
            writer.close()
            await writer.wait_closed()

    async with joined() as (host, plugin):
        plugin.accepting.factory = None
        await asyncio.gather(*(one(number) for number in range(50)))


# Flow control


async def fill(writer: Recorder, opener: End, other: End) -> int:
    """Writes for as long as it may. Returns how many bytes that were."""
    written = before = 0
    while True:
        while not writer.is_full:
            writer.transport.write(bytes(2**14))
            written += 2**14
        # Whatever can still go, goes meanwhile.
        await echo_once(opener, other)
        await echo_once(opener, other)
        if writer.is_full and written == before:
            return written
        before = written


@pytest.mark.parametrize("is_started", [False, True], ids=["not started", "paused"])
async def test_a_reader_that_pauses_stops_its_writer_alone(is_started: bool) -> None:
    async with joined() as (host, plugin):
        writer = host.open()
        plugin.accepting.factory = None
        stream = await plugin.accepting.streams.get()
        reader = Recorder()
        window = FIRST_WINDOW_BYTES
        if is_started:
            window = WINDOW_BYTES
            stream.start(reader)
            stream.pause_reading()
            assert not stream.is_reading()
        written = await fill(writer, host, plugin)
        assert reader.received == b""
        assert window < written <= window + HIGH_BYTES + 2**14
        assert 2**16 < writer.transport.get_write_buffer_size() <= HIGH_BYTES + 2**14
        assert len(b"".join(stream._inbox or ())) == window

        stream.resume_reading() if is_started else stream.start(reader)
        assert stream.is_reading()
        assert len(await reader.until_received(written)) == written
        await writer.until(lambda: not writer.is_full)
        assert writer.calls.count("full") == writer.calls.count("writable")


async def test_reading_may_pause_within_data_received() -> None:
    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async with joined() as (host, plugin):
        plugin.accepting.factory = OneAtATime
        sent = pattern(4, 2**20)
        ours = host.open()
        ours.transport.write(sent)
        ours.transport.close()
        theirs = await plugin.accepted()
        while not theirs.is_lost:
            seen = len(theirs.received)
            theirs.transport.resume_reading()
            await theirs.until_received(seen + 1)
        assert theirs.received == sent
        assert theirs.calls.count("eof") == 1


async def test_reading_may_be_paused_in_connection_made() -> None:
    class Hesitant(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async with joined() as (host, plugin):
        plugin.accepting.factory = Hesitant
        host.open().transport.write(b"data")
        theirs = await plugin.accepted()
        await echo_once(host, plugin)
        assert theirs.received == b""
        theirs.transport.resume_reading()
        assert await theirs.until_received(4) == b"data"


async def test_many_pieces_that_waited_are_read_one_after_the_other() -> None:
    """However a protocol pauses and resumes, it is never called from within itself."""

    class Careful(Recorder):
        depth = 0

        def data_received(self, data: bytes) -> None:
            assert self.depth == 0
            self.depth += 1
            self.transport.pause_reading()
            super().data_received(data)
            self.transport.resume_reading()
            self.depth -= 1

    async with against_raw_peer() as (end, peer):
        end.accepting.factory = None
        await peer.send(frame(WINDOW_UPDATE, SYN, 2, 0))
        stream = await end.accepting.streams.get()
        await peer.send(data(2, b".") * 5000 + frame(PING, SYN, 0, 1))
        while (await peer.next_frame()) != (PING, ACK, 0, 1, b""):
            pass
        reader = Careful()
        stream.start(reader)
        assert await reader.until_received(5000) == b"." * 5000


async def test_a_lower_limit_of_the_write_buffer() -> None:
    async with joined() as (host, plugin):
        writer = host.open()
        writer.transport.set_write_buffer_limits(high=0)
        writer.transport.write(b"now")
        await (await plugin.accepted()).until_received(3)
        await writer.until(lambda: not writer.is_full)


async def test_a_write_above_the_limit_that_leaves_at_once_holds_up_nothing() -> None:
    async with joined() as (host, plugin):
        writer = host.open()
        writer.transport.set_write_buffer_limits(high=2**16)
        writer.transport.write(bytes(2**17))
        assert not (writer.is_full or writer.transport.get_write_buffer_size())
        await (await plugin.accepted()).until_received(2**17)


async def test_a_higher_limit_of_the_write_buffer() -> None:
    async with joined() as (host, plugin):
        writer = host.open()
        writer.transport.set_write_buffer_limits(high=2**22)
        writer.transport.write(bytes(2**22))
        assert not writer.is_full
        sent = 2**22 - writer.transport.get_write_buffer_size()
        writer.transport.write(bytes(sent + 1))
        assert writer.is_full
        assert writer.transport.get_write_buffer_size() == 2**22 + 1
        reader = await plugin.accepted()
        await reader.until_received(2**22 + sent + 1)
        await writer.until(lambda: not writer.is_full)
        assert writer.transport.get_write_buffer_size() == 0


# Ends of streams


async def test_close_sends_all_that_was_queued_and_then_the_end() -> None:
    sent = pattern(5, 2**22)
    async with joined() as (host, plugin):
        ours = host.open()
        ours.transport.write(sent)
        ours.transport.close()
        ours.transport.close()
        assert ours.transport.is_closing()
        assert not ours.is_lost, "a protocol is told so from the loop"
        theirs = await plugin.accepted()
        assert await theirs.until_lost() is None
        assert theirs.received == sent
        assert theirs.calls == ["made", "data", "eof", "lost"]
        assert ours.calls == ["made", "full", "lost"]
        assert ours.error is None
        await until_empty(host, plugin)


async def test_abort_resets() -> None:
    async with joined() as (host, plugin):
        ours = host.open()
        theirs = await plugin.accepted()
        ours.transport.write(bytes(2**22))
        ours.transport.abort()
        ours.transport.abort()
        assert await ours.until_lost() is None
        assert isinstance(await theirs.until_lost(), ConnectionResetError)
        assert "eof" not in theirs.calls
        await until_empty(host, plugin)


async def test_what_is_written_after_the_end_is_ignored() -> None:
    async with joined() as (host, plugin):
        closed, aborted, reset = host.open(), host.open(), host.open()
        theirs = [await plugin.accepted() for _ in range(3)]
        closed.transport.close()
        aborted.transport.abort()
        theirs[2].transport.abort()
        await reset.until_lost()
        for protocol in (closed, aborted, reset):
            protocol.transport.write(b"late")
            protocol.transport.writelines([b"late"])
            protocol.transport.close()
            protocol.transport.abort()
            assert protocol.transport.is_closing()
            assert protocol.transport.get_write_buffer_size() == 0
        await echo_once(host, plugin)
        assert [bytes(protocol.received) for protocol in theirs] == [b"", b"", b""]
        assert closed.calls == aborted.calls == reset.calls == ["made", "lost"]


async def test_a_half_that_is_open_goes_on() -> None:
    async with against_raw_peer() as (end, peer):
        end.accepting.factory = HalfOpen
        await peer.send(data(2, b"question", SYN | FIN))
        ours = await end.accepted()
        await ours.until(lambda: "eof" in ours.calls)
        ours.transport.pause_reading()
        ours.transport.resume_reading()
        assert ours.calls.count("eof") == 1
        ours.transport.write(b"answer")
        ours.transport.close()
        await ours.until_lost()
        end.connection.close()
        frames = await peer.frames()
        assert b"".join(payload for *_, payload in frames) == b"answer"
        assert any(flags & FIN for _, flags, stream, _, _ in frames if stream == 2)


async def test_a_stream_that_nobody_wants_is_reset() -> None:
    async with joined() as (host, plugin):
        plugin.connection.on_stream = MuxStream.abort
        ours = host.open()
        assert isinstance(await ours.until_lost(), ConnectionResetError)
        await until_empty(host, plugin)


async def test_what_was_not_read_at_close_holds_up_no_peer() -> None:
    """A peer that has more to send than the window is not left waiting for it."""
    async with joined() as (host, plugin):
        writer = host.open(HalfOpen())
        plugin.accepting.factory = None
        stream = await plugin.accepting.streams.get()
        stream.start(Recorder())
        stream.pause_reading()
        await fill(writer, host, plugin)
        stream.close()
        await writer.until(lambda: not writer.is_full)


async def test_thousands_of_streams_leave_nothing() -> None:
    async with joined() as (host, plugin):
        before = asyncio.all_tasks()
        for _ in range(5):
            for opener, other in ((host, plugin), (plugin, host)):
                ours = [opener.open() for _ in range(100)]
                theirs = [await other.accepted() for _ in range(100)]
                for number, protocol in enumerate(ours):
                    protocol.transport.write(b"data")
                    protocol.transport.abort() if number % 2 else protocol.transport.close()
                for protocol in (*ours, *theirs):
                    await protocol.until_lost()
        await until_empty(host, plugin)
        assert host.connection._streams == plugin.connection._streams == {}
        assert asyncio.all_tasks() == before


async def test_streams_that_wait_to_be_taken_are_bounded() -> None:
    async with joined() as (host, plugin):
        plugin.accepting.factory = None
        for _ in range(256):
            host.open()
        with pytest.raises(MuxError, match="wait"):
            host.open()
        (await plugin.accepting.streams.get()).start(Recorder())
        await echo_once(plugin, host)
        host.open()


# Streams that fail


async def test_a_protocol_that_raises_harms_its_own_stream_alone() -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            raise ValueError("of the test")

    async with joined() as (host, plugin):
        with no_complaints() as contexts:
            plugin.accepting.factory = Broken
            ours = host.open()
            ours.transport.write(b"data")
            theirs = await plugin.accepted()
            # As of asyncio's own transports: fatal to this one.
            assert isinstance(await theirs.until_lost(), ValueError)
            assert isinstance(await ours.until_lost(), ConnectionResetError)
            await echo_once(host, plugin)
            assert [str(context["exception"]) for context in contexts] == ["of the test"]
            contexts.clear()


async def test_a_protocol_that_fails_to_begin_harms_its_own_stream_alone() -> None:
    class Broken(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ValueError("of the test")

    async with joined() as (host, plugin):
        with no_complaints() as contexts:
            plugin.accepting.factory = Broken
            ours = host.open()
            await ours.until_lost()
            plugin.accepting.factory = Recorder
            await echo_once(host, plugin)
            assert [str(context["exception"]) for context in contexts] == ["of the test"]
            contexts.clear()


@pytest.mark.parametrize("way", ["write", "close", "abort"])
async def test_streams_that_are_lost_may_use_each_other(way: str) -> None:
    """A proxy, for one, hands on the end of the one to the other."""

    class Proxy(Recorder):
        other: Proxy

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            getattr(self.other.transport, way)(*([b"bye"] if way == "write" else []))

    async with against_raw_peer() as (end, peer):
        pair = [Proxy(), Proxy()]
        pair[0].other, pair[1].other = pair[1], pair[0]
        for protocol in pair:
            end.open(protocol)
        await peer.send(b"\xff" * 12)
        assert isinstance(await pair[0].until_lost(), MuxProtocolError)
        # By the first one's doing, or for the same reason.
        assert isinstance(await pair[1].until_lost(), MuxProtocolError | None)
        assert isinstance(await end.connection.lost, MuxProtocolError)


# Ends of connections


@pytest.mark.parametrize("has_data", [False, True], ids=["idle", "busy"])
async def test_a_connection_that_is_cut_loses_every_stream(has_data: bool) -> None:
    async with joined() as (host, plugin):
        ours = [host.open() for _ in range(10)]
        theirs = [await plugin.accepted() for _ in range(10)]
        if has_data:
            for protocol in (*ours, *theirs):
                protocol.transport.write(bytes(2**20))
        host.connection.abort()
        for protocol in (*ours, *theirs):
            assert isinstance(await protocol.until_lost(), MuxClosed | OSError)
        assert await host.connection.lost is None
        assert isinstance(await plugin.connection.lost, OSError | None)
        with pytest.raises(MuxClosed):
            host.open()
        with pytest.raises(MuxClosed):
            plugin.open()


async def test_what_cut_a_connection_is_known() -> None:
    async with joined(tcp=True) as (host, plugin):
        theirs = plugin.open()
        await host.accepted()
        sock = host.connection.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        host.connection.abort()
        assert isinstance(await theirs.until_lost(), ConnectionResetError)
        assert isinstance(await plugin.connection.lost, ConnectionResetError)


async def test_close_ends_the_streams_in_order_and_tells_the_peer() -> None:
    async with joined() as (host, plugin):
        ours = host.open()
        theirs = await plugin.accepted()
        ours.transport.write(b"last words")
        host.connection.close()
        host.connection.close()
        with pytest.raises(MuxClosed):
            host.open()
        assert await ours.until_lost() is None
        assert await theirs.until_lost() is None
        assert theirs.received == b"last words"
        assert theirs.calls == ["made", "data", "eof", "lost"]
        assert await host.connection.lost is None
        # What the peer still had to say may have broken its pipe.
        assert isinstance(await plugin.connection.lost, OSError | None)


async def test_close_on_the_wire() -> None:
    async with against_raw_peer() as (end, peer):
        end.open().transport.write(b"data")
        end.connection.close()
        frames = await peer.frames()
        assert (GO_AWAY, 0, 0, 0, b"") in frames
        kinds = [(kind, flags & FIN) for kind, flags, stream, _, _ in frames if stream == 1]
        assert kinds[-1][1] == FIN
        assert b"".join(payload for *_, payload in frames) == b"data"


@pytest.mark.parametrize("size", [2**19, 2**22], ids=["window", "more"])
async def test_close_sends_what_was_queued_on_every_stream(size: int) -> None:
    async with joined() as (host, plugin):
        ours = host.open()
        theirs = await plugin.accepted()
        await echo_once(host, plugin)
        sent = pattern(6, size)
        ours.transport.write(sent)
        await host.connection.aclose()
        await theirs.until_lost()
        assert len(theirs.received) == size
        assert theirs.received == sent


async def test_aclose_cuts_a_connection_that_cannot_be_flushed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyplugin.net.mux._CLOSE_TIMEOUT", 0.05)
    async with against_raw_peer() as (end, _):
        # The window of one stream is less than what a socket takes.
        for _ in range(20):
            end.open().transport.write(bytes(2**18))
        await end.connection.aclose()
        assert end.connection.lost.done()


async def test_aclose_may_be_cancelled() -> None:
    async with against_raw_peer() as (end, _):
        for _ in range(20):
            end.open().transport.write(bytes(2**18))
        closing = asyncio.ensure_future(end.connection.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not end.connection.lost.done()


async def test_a_peer_that_goes_away_gets_no_new_streams_but_serves_the_old() -> None:
    async with against_raw_peer() as (end, peer):
        ours = end.open()
        await peer.send(frame(GO_AWAY, 0, 0, 0) + data(1, b"still here", ACK))
        assert await ours.until_received(10) == b"still here"
        with pytest.raises(MuxClosed):
            end.open()


# Peers that break the rules

VIOLATIONS = {
    "version": frame(DATA, SYN, 2, 0, version=1),
    "kind": frame(9, 0, 0, 0),
    "parity": frame(WINDOW_UPDATE, SYN, 1, 0),
    "twice": frame(WINDOW_UPDATE, SYN, 2, 0) * 2,
    "window": frame(DATA, SYN, 2, 2 * WINDOW_BYTES),
    "credit": frame(WINDOW_UPDATE, SYN, 2, 2**32 - 1),
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("1603010200010001fc0303") + bytes(64),
}


@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS.keys())
async def test_a_peer_that_breaks_the_rules_is_told_and_left(
    violation: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with against_raw_peer() as (end, peer):
        ours = end.open()
        await peer.send(violation)
        assert isinstance(await ours.until_lost(), MuxProtocolError)
        assert isinstance(await end.connection.lost, MuxProtocolError)
        frames = await peer.frames()
        assert (GO_AWAY, 0, 0, 1, b"") in frames
        with pytest.raises(MuxError):
            end.open()
    (record,) = [record for record in caplog.records if record.name == LOGGER.name]
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("a multiplexed connection failed: ")


@pytest.mark.parametrize(
    "before",
    [
        data(2, b"data", SYN),
        data(2, b"data", SYN | FIN),
        frame(WINDOW_UPDATE, SYN, 2, 0),
        data(1, b"data", ACK),
        frame(WINDOW_UPDATE, RST, 1, 0),
    ],
    ids=["data", "end", "open", "answer", "reset"],
)
async def test_what_came_in_the_same_piece_as_a_violation(
    before: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with against_raw_peer() as (end, peer):
        ours = end.open()
        await peer.send(before + b"\xff" * 12)
        assert isinstance(await end.connection.lost, MuxProtocolError)
        await ours.until_lost()
        assert (GO_AWAY, 0, 0, 1, b"") in await peer.frames()
    assert [record.levelname for record in caplog.records if record.name == LOGGER.name] == [
        "WARNING"
    ]


async def test_a_peer_that_gives_up_ends_the_connection() -> None:
    async with against_raw_peer() as (end, peer):
        ours = end.open()
        await peer.send(frame(GO_AWAY, 0, 0, 2))
        assert isinstance(await ours.until_lost(), MuxError)
        assert isinstance(await end.connection.lost, MuxError)


async def test_a_failed_connection_goes_though_its_peer_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyplugin.net.mux._CLOSE_TIMEOUT", 0.05)
    async with against_raw_peer() as (end, peer):
        for _ in range(20):
            end.open().transport.write(bytes(2**18))
        await asyncio.sleep(0)
        await peer.send(b"\xff" * 12)
        assert isinstance(await asyncio.wait_for(end.connection.lost, 5), MuxProtocolError)


async def test_a_peer_that_answers_no_pings_is_left(caplog: pytest.LogCaptureFixture) -> None:
    end = End(is_host=True)
    ours, theirs = stream_sockets()
    loop = asyncio.get_running_loop()
    end.connection._session = MuxSession(True, loop.time(), keep_alive=0.01, ping_timeout=0.05)
    with no_complaints(), theirs:
        await attach(ours, end.connection)
        peer = RawPeer(theirs)
        for _ in range(3):
            kind, flags, stream, number, _ = await next_of(peer)
            assert (kind, flags, stream) == (PING, SYN, 0)
            await peer.send(frame(PING, ACK, 0, number))
        assert isinstance(await end.connection.lost, MuxError)
    assert "a multiplexed connection failed: " in caplog.text


async def next_of(peer: RawPeer) -> tuple[int, int, int, int, bytes]:
    found = await peer.next_frame()
    assert found is not None
    return found


async def test_a_ping_is_answered() -> None:
    async with against_raw_peer() as (_, peer):
        await peer.send(frame(PING, SYN, 0, 4711))
        assert await peer.next_frame() == (PING, ACK, 0, 4711, b"")


# The interface of a transport


async def test_a_stream_is_a_transport() -> None:
    async with joined() as (host, plugin):
        ours = host.open()
        stream = ours.transport
        assert isinstance(stream, asyncio.Transport)
        assert stream.get_protocol() is ours
        assert stream.is_reading()
        assert not stream.is_closing()
        assert not stream.can_write_eof()
        assert stream.get_extra_info("socket").family == socket.AF_UNIX
        assert stream.get_extra_info("no such", "default") == "default"
        stream.write(b"")
        stream.write(bytearray(b"a"))
        stream.write(memoryview(b"xbx")[1:2])
        stream.writelines([b"c", bytearray(b"d"), memoryview(b"e")])
        theirs = await plugin.accepted()
        assert await theirs.until_received(5) == b"abcde"
        assert stream.get_write_buffer_size() == 0
        other = Recorder()
        stream.set_protocol(other)
        theirs.transport.write(b"to the other")
        assert await other.until_received(1) == b"to the other"
        stream.close()
        assert not stream.is_reading()


async def test_what_is_written_later_does_not_change_what_was() -> None:
    async with joined() as (host, plugin):
        ours = host.open()
        buffer = bytearray(b"before")
        ours.transport.write(buffer)
        buffer[:] = b"after!"
        assert await (await plugin.accepted()).until_received(6) == b"before"


@pytest.mark.parametrize("force_tcp", [False, True], ids=["unix", "tcp"])
async def test_connect_and_accept(force_tcp: bool) -> None:
    with no_complaints():
        listener = open_listener(PluginEnvironment(), force_tcp=force_tcp)
        plugin = End(is_host=False)
        accepting = asyncio.ensure_future(accept(listener, plugin.connection))
        host = await connect(listener.address, LOGGER)
        await accepting
        stream = host.open_stream()
        stream.start(ours := Echo())
        theirs = await plugin.accepted()
        theirs.transport.write(b"data")
        assert await theirs.until_received(4) == b"data"
        assert ours.received == b"data"
        # A host takes no streams of the plugin until its broker is there.
        assert isinstance(await plugin.open().until_lost(), ConnectionResetError)
        with pytest.raises(OSError):
            await connect(listener.address, LOGGER)
        await host.aclose()
        await plugin.connection.aclose()


async def test_a_cancelled_accept_takes_nobody() -> None:
    listener = open_listener(PluginEnvironment())
    plugin = End(is_host=False)
    accepting = asyncio.ensure_future(accept(listener, plugin.connection))
    await asyncio.sleep(0)
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    listener.close()
    await plugin.connection.aclose()
