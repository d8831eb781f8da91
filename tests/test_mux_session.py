"""``MuxSession``: what Python sees of the session, and that it does what the oracle does."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyplugin._rust import MuxSession
from pyplugin.errors import MuxClosed, MuxError, MuxProtocolError
from tests.garbage import collected_in
from tests.reference import yamux as reference
from tests.reference.yamux import ACK, FIN, RST, SYN, frame

NOW = 1000.5
NAMES = {
    MuxSession.STREAM_OPENED: "opened",
    MuxSession.STREAM_ACKED: "acked",
    MuxSession.DATA: "data",
    MuxSession.STREAM_FINISHED: "finished",
    MuxSession.STREAM_RESET: "reset",
    MuxSession.WRITABLE: "writable",
    MuxSession.PONG: "pong",
    MuxSession.GO_AWAY: "go_away",
    MuxSession.SESSION_FAILED: "failed",
}


def pair(**config: Any) -> tuple[MuxSession, MuxSession]:
    return MuxSession(True, NOW, **config), MuxSession(False, NOW, **config)


def carry(source: MuxSession, target: MuxSession) -> list[tuple[int, int, Any]]:
    return target.receive(source.take_out(1 << 20, NOW), NOW)


def test_kinds_have_numbers_of_their_own() -> None:
    assert sorted(NAMES) == list(range(9))


def test_a_stream_from_open_to_end() -> None:
    client, server = pair()
    stream = client.open_stream(NOW)
    assert client.send(stream, b"question") == client.queued(stream) == 8
    assert carry(client, server) == [
        (MuxSession.STREAM_OPENED, stream, None),
        (MuxSession.DATA, stream, b"question"),
    ]
    server.accept(stream)
    server.consume(stream, 8)
    server.finish(stream)
    assert carry(server, client) == [
        (MuxSession.STREAM_ACKED, stream, None),
        (MuxSession.STREAM_FINISHED, stream, None),
    ]
    client.finish(stream)
    assert carry(client, server) == [(MuxSession.STREAM_FINISHED, stream, None)]
    assert client.stream_count == server.stream_count == 0
    assert client.take_out(100, NOW) == b""


def test_frames_of_a_stream_that_come_next_to_each_other_are_one_piece() -> None:
    client, server = pair()
    first, second = client.open_stream(NOW), client.open_stream(NOW)
    sent = []
    for stream, data in ((first, b"a"), (first, b"b"), (second, b"c"), (first, b"d")):
        client.send(stream, data)
        sent.append(client.take_out(1 << 20, NOW))
    events = server.receive(b"".join(sent), NOW)
    data_events = [event[1:] for event in events if event[0] == MuxSession.DATA]
    assert data_events == [(first, b"ab"), (second, b"c"), (first, b"d")]


def test_finalizers_find_the_session_that_runs_them() -> None:
    client, server = pair()
    # More events than Python keeps tuples for.
    for _ in range(3000):
        client.send(client.open_stream(NOW), b"data")
        server.accept(carry(client, server)[0][1])
        carry(server, client)
    said = b"".join(frame(0, 0, stream, 1, b"x") for stream in range(1, 6001, 2))
    events, answers = collected_in(partial(server.receive, said, NOW), partial(server.queued, 1))
    assert (len(events), answers) == (3000, [0])


def test_a_writer_is_told_that_it_may_go_on() -> None:
    client, _ = pair(low_mark=100)
    stream = client.open_stream(NOW)
    assert client.send(stream, bytes(101)) == 101
    assert client.events() == []
    client.take_out(1000, NOW)
    assert client.events() == [(MuxSession.WRITABLE, stream, None)]


def test_a_reset_ends_both() -> None:
    client, server = pair()
    stream = client.open_stream(NOW)
    carry(client, server)
    server.reset(stream)
    assert carry(server, client) == [(MuxSession.STREAM_RESET, stream, None)]
    with pytest.raises(MuxClosed, match=f"stream {stream} is gone"):
        client.send(stream, b"x")


def test_misuse_is_pythons() -> None:
    client, _ = pair()
    stream = client.open_stream(NOW)
    client.finish(stream)
    with pytest.raises(RuntimeError, match=f"stream {stream} is finished"):
        client.send(stream, b"x")
    with pytest.raises(ValueError, match="no more than 0 bytes"):
        client.consume(stream, 1)
    for data in (bytearray(1), memoryview(b"x"), "x"):
        with pytest.raises(TypeError):
            client.send(stream, data)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            client.receive(data, NOW)  # type: ignore[arg-type]
    for now in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="not a time in seconds"):
            client.handle_timeout(now)
    for size in (-1, 1 << 32):
        with pytest.raises(OverflowError):
            MuxSession(True, NOW, receive_window=size)


def test_only_so_many_streams_wait() -> None:
    client, _ = pair(accept_backlog=1)
    client.open_stream(NOW)
    with pytest.raises(MuxError, match="too many streams wait"):
        client.open_stream(NOW)


def test_a_side_that_goes_away_takes_no_streams() -> None:
    client, server = pair()
    server.go_away()
    assert carry(server, client) == [(MuxSession.GO_AWAY, 0, None)]
    for session in (client, server):
        with pytest.raises(MuxClosed, match="takes no new streams"):
            session.open_stream(NOW)


def test_a_ping_is_answered_in_seconds() -> None:
    client, server = pair()
    client.ping(NOW)
    carry(client, server)
    events = client.receive(server.take_out(100, NOW), NOW + 0.25)
    assert events == [(MuxSession.PONG, 0, 0.25)]


def test_timers_are_of_the_clock_that_was_given() -> None:
    client, _ = pair(keep_alive=5.0, ping_timeout=0.5)
    assert client.next_timeout() == NOW + 5
    assert client.handle_timeout(NOW + 4) == []
    assert client.handle_timeout(NOW + 5) == []
    assert client.next_timeout() == NOW + 5.5
    assert client.handle_timeout(NOW + 5.5) == [(MuxSession.SESSION_FAILED, 0, None)]
    assert client.next_timeout() is None
    assert isinstance(client.failure(), MuxClosed)
    assert pair(keep_alive=None)[0].next_timeout() is None


def test_the_end_of_the_connection_is_told_once() -> None:
    client, _ = pair()
    assert client.failure() is None
    assert client.receive_eof() == [(MuxSession.SESSION_FAILED, 0, None)]
    assert client.receive_eof() == []
    assert str(client.failure()) == "the connection is closed"


def test_a_broken_rule_is_told_and_then_raised() -> None:
    _, server = pair()
    events = server.receive(frame(1, SYN, 1, 0) * 2 + b"more", NOW)
    assert [NAMES[kind] for kind, _, _ in events] == ["opened", "failed"]
    calls = [
        lambda: server.receive(b"", NOW),
        lambda: server.open_stream(NOW),
        lambda: server.accept(1),
        lambda: server.send(1, b""),
        lambda: server.consume(1, 0),
        lambda: server.finish(1),
        lambda: server.reset(1),
        server.go_away,
        lambda: server.ping(NOW),
        lambda: server.handle_timeout(NOW),
    ]
    for call in calls:
        with pytest.raises(MuxProtocolError, match="opened stream 1, which is open"):
            call()
    assert server.queued(1) == server.stream_count == 0
    assert server.take_out(100, NOW) == frame(3, 0, 0, 1)
    assert server.take_out(100, NOW) == b""


# Against the oracle

FLAGS = st.sampled_from([0, 0, 0, 0, ACK, FIN, RST, ACK | FIN])
STREAMS = st.integers(1, 7)
SIZES = st.integers(0, 300) | st.integers(0, 300_000)
# What the peer sends: kind, flags, stream, size, and whether it cares for the rules.
FRAMES = st.tuples(
    st.sampled_from([0, 0, 0, 1, 1, 1, 2]),
    FLAGS,
    STREAMS,
    SIZES,
    st.integers(0, 40).map(lambda number: number != 40),
)
# Steps of which most do something: the peer's frames, and calls on streams that there are.
STEPS = st.one_of(
    st.tuples(st.just("receive"), FRAMES),
    st.tuples(st.just("receive"), FRAMES),
    st.tuples(st.just("open"), st.none()),
    st.tuples(st.just("accept"), STREAMS),
    st.tuples(st.just("send"), st.tuples(STREAMS, SIZES)),
    st.tuples(st.just("consume"), st.tuples(STREAMS, SIZES)),
    st.tuples(st.just("consume"), st.tuples(STREAMS, st.just(2**32))),
    st.tuples(st.just("finish"), STREAMS),
    st.tuples(st.just("reset"), STREAMS),
    st.tuples(st.just("take_out"), st.none()),
    st.tuples(st.just("take_out"), st.none()),
    st.tuples(st.just("go_away"), st.none()) | st.tuples(st.just("take_out"), st.none()),
)
GARBAGE = st.builds(
    lambda *fields: ("garbage", frame(*fields)),
    st.integers(0, 5),
    st.integers(0, 31),
    st.integers(0, 2**32 - 1),
    SIZES | st.integers(0, 2**32 - 1),
    st.binary(max_size=5),
)


def frame_by_the_rules(state: reference.Session, fields: tuple[int, int, int, int, bool]) -> bytes:
    """A frame of a peer that opens what it does not know, and keeps the rules if it cares."""
    kind, flags, stream, size, cares = fields
    known = state.streams.get(stream)
    if kind == 2:
        return frame(kind, SYN, 0, size)
    if not cares:
        flags |= SYN if size % 2 else FIN
    elif known is not None:
        size = min(size, known.may_receive) if kind == 0 else size
        flags &= ~FIN if known.has_ended else ~0
    elif (stream % 2 == 0) == state.is_client:
        flags |= SYN
        size = min(size, reference.INITIAL_WINDOW)
    return frame(kind, flags, stream, size, bytes(size) if kind == 0 else b"")


def drain(session: MuxSession) -> bytes:
    return b"".join(iter(lambda: session.take_out(1 << 30, NOW), b""))


def merged(events: list[Any]) -> list[tuple[str, int, Any]]:
    """Events without ``WRITABLE``, and data of a stream in one piece."""
    all_: list[tuple[str, int, Any]] = []
    for name, stream, payload in events:
        if name == "data" and all_ and all_[-1][:2] == (name, stream):
            all_[-1] = (name, stream, all_[-1][2] + payload)
        elif name != "writable":
            all_.append((name, stream, payload))
    return all_


@settings(max_examples=300, deadline=None)
@given(
    is_client=st.booleans(),
    steps=st.lists(STEPS, min_size=10, max_size=80),
    garbage=st.none() | GARBAGE,
    cut=st.integers(1, 2000),
)
def test_it_does_what_the_oracle_does(
    is_client: bool, steps: list[tuple[str, Any]], garbage: tuple[str, bytes] | None, cut: int
) -> None:
    window, backlog, limit = 300_000, 2, 5
    ours = MuxSession(
        is_client, NOW, receive_window=window, accept_backlog=backlog, stream_limit=limit
    )
    theirs = reference.Session(is_client, window, backlog, limit)
    for name, argument in [*steps, *([garbage] if garbage else [])]:
        if theirs.has_failed:
            break
        if name in ("receive", "garbage"):
            data = argument if name == "garbage" else frame_by_the_rules(theirs, argument)
            told = []
            for piece in (data[:cut], data[cut:]):
                if not ours.failure():
                    told += ours.receive(piece, NOW)
            expected = merged(theirs.receive(data))
            assert merged([(NAMES[kind], *rest) for kind, *rest in told]) == expected
        elif name == "open":
            try:
                stream = ours.open_stream(NOW)
            except MuxError:
                assert theirs.open() is None
            else:
                assert theirs.open() == stream
        elif name == "send":
            stream, size = argument
            try:
                queued = ours.send(stream, bytes(size))
            except (MuxClosed, RuntimeError):
                assert not theirs.send(stream, bytes(size))
            else:
                assert theirs.send(stream, bytes(size))
                assert queued == len(theirs.streams[stream].queue)
        elif name == "consume":
            stream, size = argument
            state = theirs.streams.get(stream)
            size = min(size, state.held if state else 0)
            ours.consume(stream, size)
            theirs.consume(stream, size)
        elif name == "take_out":
            assert drain(ours) == theirs.take_out()
        elif name == "go_away":
            ours.go_away()
            theirs.go_away()
        else:
            getattr(ours, name)(argument)
            getattr(theirs, name)(argument)
        assert ours.stream_count == len(theirs.streams)
    assert drain(ours) == theirs.take_out()
    assert bool(ours.failure()) == theirs.has_failed
