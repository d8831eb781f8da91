"""Our yamux session against Go's, over a socket, in every kind of frame."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin._rust import MuxSession
from pyplugin.errors import MuxClosed, MuxProtocolError

from .peers import MARKS, PEER_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .peers import Peers

pytestmark = [
    *MARKS,
    pytest.mark.skipif(os.name == "nt", reason="a socket as stdin is not to be had"),
]

MIB = 1 << 20
BOTH = pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])


class Link:
    """A session joined to Go's.

    Attributes:
        session: Ours.
        got: What came, by stream.
        ends: How streams have ended.
        events: All the others.
    """

    def __init__(self, sock: socket.socket, session: MuxSession) -> None:
        self._sock = sock
        self._out = b""
        self.session = session
        self.got: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ends: dict[int, int] = {}
        self.events: list[tuple[int, int, Any]] = []
        self.consumes = True

    def note(self, events: list[tuple[int, int, Any]]) -> None:
        for event in events:
            kind, stream, payload = event
            if kind == MuxSession.DATA:
                self.got[stream] += payload
                if self.consumes:
                    self.session.consume(stream, len(payload))
            elif kind in (MuxSession.STREAM_FINISHED, MuxSession.STREAM_RESET):
                self.ends[stream] = kind
            else:
                self.events.append(event)

    def step(self, seconds: float) -> None:
        self._out = self._out or self.session.take_out(1 << 16, time.monotonic())
        ready = select.select([self._sock], [self._sock] if self._out else [], [], seconds)
        if ready[1]:
            self._out = self._out[self._sock.send(self._out) :]
        if ready[0]:
            data = self._sock.recv(1 << 16)
            if data:
                self.note(self.session.receive(data, time.monotonic()))
            else:
                self.note(self.session.receive_eof())

    def until(self, condition: Callable[[], object]) -> None:
        end = time.monotonic() + PEER_TIMEOUT
        while not condition():
            assert time.monotonic() < end, (self.events, self.ends, self.session.failure())
            self.step(0.1)

    def flush(self) -> None:
        self.step(0)
        while self._out:
            self.step(0.1)

    def open(self, text: bytes) -> int:
        stream = self.session.open_stream(time.monotonic())
        self.session.send(stream, text)
        return stream

    def ask(self, text: bytes) -> bytes:
        stream = self.open(text + b"\n")
        self.session.finish(stream)
        self.until(lambda: stream in self.ends)
        return bytes(self.got[stream])

    def has_streams(self, count: int) -> None:
        """Waits until Go counts as many, with the one that asks."""
        self.until(lambda: self.ask(b"streams") == b"%d\n" % count)


@pytest.fixture
def link(peers: Peers) -> Iterator[Callable[..., Link]]:
    running: list[tuple[subprocess.Popen[bytes], socket.socket]] = []

    def start(is_client: bool, *options: str, **config: Any) -> Link:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [peers.yamux_peer, *([] if is_client else ["-client"]), *options]
            process = subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE)
        running.append((process, ours))
        return Link(ours, MuxSession(is_client, time.monotonic(), **config))

    yield start
    for process, sock in running:
        sock.close()
        process.communicate(timeout=PEER_TIMEOUT)
        assert process.returncode == 0


@BOTH
def test_a_mebibyte_goes_both_ways(link: Callable[..., Link], is_client: bool) -> None:
    peer = link(is_client)
    text = bytes(range(256)) * (MIB // 256)
    stream = peer.open(b"echo\n")
    peer.session.send(stream, text)
    peer.session.finish(stream)
    peer.until(lambda: stream in peer.ends)
    assert peer.got[stream] == text
    assert peer.ends == {stream: MuxSession.STREAM_FINISHED}
    assert (MuxSession.STREAM_ACKED, stream, None) in peer.events
    assert (MuxSession.WRITABLE, stream, None) in peer.events + peer.session.events()
    assert peer.session.stream_count == 0
    peer.has_streams(1)


@pytest.mark.parametrize(("ours", "theirs"), [(262144, MIB), (MIB, 262144), (3 * MIB, 2 * MIB)])
@BOTH
def test_larger_windows_are_told_and_used(
    link: Callable[..., Link], is_client: bool, ours: int, theirs: int
) -> None:
    peer = link(is_client, f"-window={theirs}", receive_window=ours)
    peer.consumes = False
    stream = peer.open(b"echo\n")
    peer.until(lambda: (MuxSession.STREAM_ACKED, stream, None) in peer.events)
    peer.session.send(stream, b"x" * 8 * MIB)
    # Go's echo reads as long as it can write: what fills our window, its own, and one buffer.
    peer.until(lambda: len(peer.got[stream]) >= ours)
    assert len(peer.got[stream]) == ours
    peer.consumes = True
    peer.session.consume(stream, ours)
    peer.session.finish(stream)
    peer.until(lambda: stream in peer.ends)
    assert peer.got[stream] == b"x" * 8 * MIB


@BOTH
def test_go_opens_a_stream(link: Callable[..., Link], is_client: bool) -> None:
    peer = link(is_client)
    asking = peer.open(b"open 0123456789\n")
    peer.until(lambda: any(event[0] == MuxSession.STREAM_OPENED for event in peer.events))
    stream = next(event[1] for event in peer.events if event[0] == MuxSession.STREAM_OPENED)
    assert stream % 2 == (0 if is_client else 1)
    peer.session.accept(stream)
    sent = 0
    while stream not in peer.ends or sent < len(peer.got[stream]):
        peer.step(0.1)
        data = bytes(peer.got[stream][sent:])
        sent += len(data)
        peer.session.send(stream, data)
    peer.session.finish(stream)
    peer.until(lambda: asking in peer.ends)
    assert peer.got[asking] == b"opened\n"
    assert peer.ends[stream] == MuxSession.STREAM_FINISHED


@BOTH
def test_many_streams_at_once(link: Callable[..., Link], is_client: bool) -> None:
    peer = link(is_client)
    streams = {}
    for count in range(200):
        streams[peer.open(b"echo\n")] = text = b"%d " % count * 10_000
        peer.session.send(list(streams)[-1], text)
        peer.session.finish(list(streams)[-1])
    peer.until(lambda: len(peer.ends) == len(streams))
    assert {stream: peer.got[stream] for stream in streams} == streams
    assert peer.session.stream_count == 0


def test_go_need_not_acknowledge_a_stream_that_has_ended(link: Callable[..., Link]) -> None:
    peer = link(True, open_timeout=0.05, keep_alive=None)
    peer.has_streams(1)
    assert peer.session.next_timeout() is None


def test_both_are_pinged(link: Callable[..., Link]) -> None:
    peer = link(True)
    assert peer.ask(b"ping") == b"pong\n"
    peer.session.ping(time.monotonic())
    peer.until(lambda: MuxSession.PONG in [event[0] for event in peer.events])
    [(_, stream, seconds)] = [event for event in peer.events if event[0] == MuxSession.PONG]
    assert stream == 0
    assert 0 < seconds < PEER_TIMEOUT


def test_both_are_kept_alive(link: Callable[..., Link]) -> None:
    peer = link(True, "-keep-alive=20ms", keep_alive=0.02)
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        peer.step(0.01)
        deadline = peer.session.next_timeout()
        assert deadline is not None
        if deadline <= time.monotonic():
            assert peer.session.handle_timeout(time.monotonic()) == []
    assert sum(event[0] == MuxSession.PONG for event in peer.events) > 2
    peer.has_streams(1)


def test_go_goes_away(link: Callable[..., Link]) -> None:
    peer = link(True)
    assert peer.ask(b"goaway") == b"gone\n"
    assert (MuxSession.GO_AWAY, 0, None) in peer.events
    with pytest.raises(MuxClosed, match="takes no new streams"):
        peer.session.open_stream(time.monotonic())


def test_go_refuses_streams_when_it_goes_away(link: Callable[..., Link]) -> None:
    peer = link(True)
    # Told in one go, so that the second is on its way when Go answers the first.
    asking, late = peer.open(b"goaway\n"), peer.open(b"")
    peer.until(lambda: (MuxSession.GO_AWAY, 0, None) in peer.events)
    peer.until(lambda: asking in peer.ends)
    assert late not in peer.ends or peer.ends[late] == MuxSession.STREAM_RESET


def test_we_go_away(link: Callable[..., Link]) -> None:
    peer = link(True)
    stream = peer.open(b"open x\n")
    peer.session.go_away()
    peer.until(lambda: stream in peer.ends)
    assert b"remote end is not accepting connections" in peer.got[stream]


def test_go_resets_what_is_past_its_backlog(link: Callable[..., Link]) -> None:
    peer = link(True, "-accepts=false", "-backlog=1")
    streams = [peer.open(b"x") for _ in range(3)]
    peer.until(lambda: len(peer.ends) == 2)
    assert peer.ends == dict.fromkeys(streams[1:], MuxSession.STREAM_RESET)
    with pytest.raises(MuxClosed, match=f"stream {streams[1]} is gone"):
        peer.session.send(streams[1], b"x")


def test_go_resets_what_we_leave_half_open(link: Callable[..., Link]) -> None:
    peer = link(True, "-close-timeout=50ms")
    stream = peer.open(b"close\n")
    peer.until(lambda: peer.ends.get(stream) == MuxSession.STREAM_RESET)
    peer.has_streams(1)


def test_we_reset_a_stream(link: Callable[..., Link]) -> None:
    peer = link(True)
    stream = peer.open(b"echo\n")
    peer.until(lambda: (MuxSession.STREAM_ACKED, stream, None) in peer.events)
    peer.has_streams(2)
    peer.session.reset(stream)
    peer.has_streams(1)


def test_we_reset_what_go_leaves_half_open(link: Callable[..., Link]) -> None:
    peer = link(True, close_timeout=0.05, keep_alive=None)
    stream = peer.open(b"hold\n")
    peer.session.finish(stream)
    peer.flush()
    deadline = peer.session.next_timeout()
    assert deadline is not None
    events = peer.session.handle_timeout(deadline)
    assert events == [(MuxSession.STREAM_RESET, stream, None)]
    peer.has_streams(1)


def test_go_hears_that_it_broke_the_rules(link: Callable[..., Link]) -> None:
    peer = link(True)
    peer.has_streams(1)
    events = peer.session.receive(b"\x01" * 12, time.monotonic())
    assert events == [(MuxSession.SESSION_FAILED, 0, None)]
    assert isinstance(peer.session.failure(), MuxProtocolError)
    peer.flush()


def test_go_says_that_we_broke_the_rules(link: Callable[..., Link]) -> None:
    peer = link(True)
    stream = peer.open(b"echo\n")
    peer.until(lambda: (MuxSession.STREAM_ACKED, stream, None) in peer.events)
    # A second SYN for it.
    peer._out = b"\0\1\0\1" + stream.to_bytes(4, "big") + bytes(4)
    peer.until(peer.session.failure)
    assert isinstance(peer.session.failure(), MuxClosed)
    # Go does not wait until its go-away is written.
    texts = ["the peer reports a protocol error of ours", "the connection is closed"]
    assert str(peer.session.failure()) in texts
