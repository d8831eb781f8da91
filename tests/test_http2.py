"""``Http2Connection``: what Python sees of it, that grpclib finds all it needs, and that it tells
what h2 tells."""

from __future__ import annotations

import ast
import inspect
import logging
import textwrap
from functools import partial
from typing import TYPE_CHECKING, Any

import grpclib.protocol
import pytest
from h2.exceptions import (
    NoAvailableStreamIDError,
    ProtocolError,
    StreamClosedError,
    TooManyStreamsError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pyplugin._rust import Http2Connection, Http2Event
from pyplugin.constants import ENV_HTTP2
from pyplugin.net.grpc.answer import ServerEventsProcessor, ServerStream
from pyplugin.net.grpc.call import ClientEventsProcessor, ClientStream
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.grpc.connection import Connection, Protocol
from pyplugin.net.http2 import _H2Connection, new_connection
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address
from tests.garbage import collected_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/kv/Get"), ("te", "trailers")]
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]
NAMES = {
    getattr(Http2Event, name): name
    for name in dir(Http2Event)
    if isinstance(getattr(Http2Event, name), int)
}


def carry(source: Http2Connection, target: Http2Connection) -> list[Http2Event]:
    return target.receive_data(source.data_to_send())


def pair(**config: Any) -> tuple[Http2Connection, Http2Connection]:
    client, server = Http2Connection(True, **config), Http2Connection(False, **config)
    carry(client, server)
    carry(server, client)
    carry(client, server)
    return client, server


def kinds(events: list[Http2Event]) -> list[str]:
    return [NAMES[event.kind] for event in events]


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    length = len(payload).to_bytes(3, "big")
    return length + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + payload


def test_kinds_have_numbers_of_their_own() -> None:
    assert sorted(NAMES) == list(range(11))


def test_a_call_from_its_beginning_to_its_end() -> None:
    client, server = pair()
    stream_id = client.get_next_available_stream_id()
    client.send_headers(stream_id, REQUEST)
    assert client.send_data(stream_id, b"question", end_stream=True) == 8
    request, data, ended = carry(client, server)
    assert kinds([request, data, ended]) == ["REQUEST", "DATA", "ENDED"]
    assert (request.stream_id, request.headers, request.data) == (1, REQUEST, None)
    assert (data.stream_id, data.data, data.flow_controlled_length) == (1, b"question", 8)
    assert repr(data) == "Http2Event(kind=2, stream_id=1)"
    server.acknowledge_received_data(8, 1)
    server.send_headers(1, RESPONSE)
    server.send_data(1, b"answer")
    server.send_headers(1, TRAILERS, end_stream=True)
    events = carry(server, client)
    assert kinds(events) == ["RESPONSE", "DATA", "TRAILERS", "ENDED"]
    assert events[2].headers == TRAILERS
    assert client.stream_count == server.stream_count == 0
    assert not client.is_open(1)
    assert client.data_to_send() == b""


def test_data_of_one_stream_is_one_piece_and_of_two_are_two() -> None:
    client, server = pair(stream_window=2**20, connection_window=2**20)
    for stream_id in (1, 3):
        client.send_headers(stream_id, REQUEST)
    message = bytes(range(256)) * 2000
    assert client.send_data(1, message) == 256 * 1024
    assert client.send_data(1, message, True, start=256 * 1024) == len(message) - 256 * 1024
    client.send_data(3, b"other")
    client.send_data(3, b"!", end_stream=True)
    events = [event for event in carry(client, server) if event.kind == Http2Event.DATA]
    assert [(event.stream_id, event.data) for event in events] == [(1, message), (3, b"other!")]


def test_finalizers_find_the_connection_that_runs_them() -> None:
    client, server = pair(max_streams=500)
    # More lists of headers than Python keeps for the next ones.
    for stream_id in range(1, 1001, 2):
        client.send_headers(stream_id, REQUEST)
    events, answers = collected_in(
        partial(server.receive_data, client.data_to_send()), partial(server.is_open, 1)
    )
    assert (len(events), len(answers)) == (500, 1)


def test_bytes_that_are_no_ascii_are_characters_of_their_own() -> None:
    client, server = pair()
    client.send_headers(1, [*REQUEST, ("name", "\xe9")])
    (request,) = carry(client, server)
    assert request.headers is not None
    assert request.headers[-1] == ("name", "Ã©")


def test_resets_pings_and_goodbyes_say_why() -> None:
    client, server = pair()
    client.send_headers(1, REQUEST)
    client.send_headers(3, REQUEST)
    client.reset_stream(1, error_code=8)
    client.ping(b"12345678")
    reset = carry(client, server)[-1]
    assert (reset.stream_id, reset.error_code, reset.remote_reset) == (1, 8, True)
    (pong,) = carry(server, client)
    assert (pong.kind, pong.data) == (Http2Event.PONG, b"12345678")
    # A window that grows by nothing is the stream's fault.
    (reset,) = server.receive_data(frame(8, 0, 3, bytes(4)))
    assert (reset.stream_id, reset.error_code, reset.remote_reset) == (3, 1, False)
    (goodbye,) = client.receive_data(frame(7, 0, 0, b"\0\0\0\1\0\0\0\2"))
    assert (goodbye.last_stream_id, goodbye.error_code) == (1, 2)
    with pytest.raises(ProtocolError, match="takes no new streams"):
        client.send_headers(5, REQUEST)


def test_a_peer_that_breaks_a_rule_is_told_and_named() -> None:
    client, server = pair()
    client.send_headers(1, REQUEST)
    events = server.receive_data(client.data_to_send() + frame(0, 0, 0, b"x"))
    assert kinds(events) == ["REQUEST", "FAILED"]
    assert (events[1].reason, events[1].error_code) == ("data of no stream", 1)
    for call in (
        lambda: server.receive_data(b""),
        lambda: server.send_headers(1, RESPONSE),
        lambda: server.send_data(1, b""),
        lambda: server.end_stream(1),
        lambda: server.reset_stream(1),
        lambda: server.acknowledge_received_data(0, 1),
        lambda: server.local_flow_control_window(1),
        lambda: server.ping(bytes(8)),
    ):
        with pytest.raises(ProtocolError, match="data of no stream"):
            call()
    assert not server.is_open(1)
    (goodbye,) = carry(server, client)
    assert (goodbye.kind, goodbye.last_stream_id) == (Http2Event.GO_AWAY, 1)


def test_misuse_is_h2s_or_pythons() -> None:
    client, server = pair(max_streams=1)
    client.send_headers(1, REQUEST, end_stream=True)
    with pytest.raises(TooManyStreamsError, match="no more than 1 streams"):
        client.send_headers(3, REQUEST)
    with pytest.raises(ProtocolError, match="stream 1 is finished"):
        client.send_data(1, b"x")
    with pytest.raises(StreamClosedError) as raised:
        client.end_stream(99)
    assert raised.value.stream_id == 99
    with pytest.raises(NoAvailableStreamIDError):
        server.get_next_available_stream_id()
    with pytest.raises(ValueError, match="more was acknowledged"):
        client.acknowledge_received_data(1, 1)
    for data in (bytearray(1), memoryview(b"x"), "x"):
        with pytest.raises(TypeError):
            client.send_data(1, data)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            client.receive_data(data)  # type: ignore[arg-type]
    for size in (-1, 1 << 32):
        with pytest.raises(OverflowError):
            Http2Connection(True, stream_window=size)
    with pytest.raises(ValueError, match="8"):
        client.ping(b"short")


@pytest.mark.parametrize(("value", "kind"), [("h2", _H2Connection), ("", Http2Connection)])
def test_the_environment_can_choose_h2(
    monkeypatch: pytest.MonkeyPatch, value: str, kind: type
) -> None:
    monkeypatch.setenv(ENV_HTTP2, value)
    connection = new_connection(True, stream_window=2**20, connection_window=2**20)
    assert isinstance(connection, kind)


# What grpclib asks of a connection and of its events, in the methods of its that are not replaced

REPLACED: list[tuple[type, list[type]]] = [
    (grpclib.protocol.Connection, [Connection]),
    (grpclib.protocol.Stream, [ServerStream, ClientStream]),
    (grpclib.protocol.EventsProcessor, [ServerEventsProcessor, ClientEventsProcessor]),
    (grpclib.protocol.H2Protocol, [Protocol]),
]
# Looked for before it is used; of keep-alive pings, which our configuration has none of.
UNUSED = {"_frame_dispatch_table", "streams"}


def methods(original: type, replacements: list[type]) -> Iterator[ast.AST]:
    for name, function in vars(original).items():
        target = function.fget if isinstance(function, property) else function
        if not inspect.isfunction(target):
            continue
        if any(getattr(kind, name) is function for kind in replacements):
            yield ast.parse(textwrap.dedent(inspect.getsource(target)))


def asked(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Whom a method asks, and for what: ``self._connection.ping``, ``event.data``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            match node.value:
                case ast.Name("event"):
                    yield "event", node.attr
                case ast.Attribute(ast.Name("self"), "_connection" | "_h2_connection" as owner):
                    yield owner, node.attr


def test_grpclib_finds_what_it_asks_for() -> None:
    found = {
        (owner, name)
        for original, replacements in REPLACED
        for tree in methods(original, replacements)
        for owner, name in asked(tree)
    }
    assert {("_connection", "receive_data"), ("_h2_connection", "reset_stream")} <= found
    for owner, name in sorted(found):
        kind = Http2Event if owner == "event" else Http2Connection
        assert hasattr(kind, name) or name in UNUSED, (
            f"this grpclib asks for {owner}.{name}, which {kind.__name__} does not have: add it to "
            "rust/src/py/http2.rs, replace the method that asks in pyplugin/net/grpc, or narrow "
            "the range of grpclib in pyproject.toml"
        )


async def test_there_are_no_keep_alive_pings() -> None:
    tasks = TaskScope("test", logging.getLogger("tests.http2"))
    channel = PluginChannel(Address("unix", "/none"), tls=None, tasks=tasks)
    assert channel._config._keepalive_time is None
    channel.close()
    await tasks.aclose()


# The same valid traffic through every pairing with h2


class Traffic:
    """Two ends, joined: operations that neither has a reason to refuse, and what each is told."""

    def __init__(self, make_client: Callable[..., Any], make_server: Callable[..., Any]) -> None:
        self.ends = [make_client(True), make_server(False)]
        self.told: list[list[tuple[Any, ...]]] = [[], []]
        # By stream: what the client may send next, and the server.
        self.streams: dict[int, list[str]] = {}
        self.carry()

    def carry(self) -> None:
        is_idle = False
        while not is_idle:
            is_idle = True
            for index, (source, target) in enumerate([self.ends, self.ends[::-1]]):
                if data := source.data_to_send():
                    is_idle = False
                    for event in target.receive_data(data):
                        self.note(1 - index, event)

    def note(self, index: int, event: Any) -> None:
        told = self.told[index]
        kind = NAMES.get(event.kind)
        number, headers = getattr(event, "stream_id", 0), None
        if kind in {"REQUEST", "RESPONSE", "TRAILERS"}:
            headers = [tuple(field) for field in event.headers]
        if kind == "DATA":
            self.ends[index].acknowledge_received_data(event.flow_controlled_length, number)
            if told and told[-1][:2] == (kind, number):
                told[-1] = (kind, number, told[-1][2] + event.data)
            elif event.data:
                told.append((kind, number, event.data))
        elif kind == "RESET":
            assert event.remote_reset
            told.append((kind, number, int(event.error_code)))
        elif kind not in {"WRITABLE", "SETTINGS", None}:
            told.append((kind, number, headers))

    def run(self, operation: str, side: int, choice: int, size: int) -> None:
        here = self.ends[side]
        if operation == "open":
            number = self.ends[0].get_next_available_stream_id()
            self.ends[0].send_headers(number, [*REQUEST, ("n", str(size))], size % 5 == 0)
            self.streams[number] = ["ended" if size % 5 == 0 else "data", "headers"]
        elif operation == "ping":
            here.ping(size.to_bytes(8, "big"))
        elif self.streams:
            number = list(self.streams)[choice % len(self.streams)]
            self.on_stream(operation, side, number, size)
        self.carry()

    def on_stream(self, operation: str, side: int, number: int, size: int) -> None:
        here, state = self.ends[side], self.streams[number]
        if operation == "reset":
            here.reset_stream(number, error_code=size % 20)
            del self.streams[number]
        elif operation == "headers" and state[side] == "headers":
            here.send_headers(number, [*RESPONSE, ("x", "y" * (size * 7))], size % 5 == 0)
            state[side] = "ended" if size % 5 == 0 else "data"
        elif operation == "data" and state[side] == "data":
            data = bytes([size % 256]) * size
            is_last = size % 7 == 0
            start = 0
            while start < len(data) or (not data and is_last):
                start += (sent := here.send_data(number, data, is_last, start=start))
                self.carry()
                if not data:
                    break
                assert sent
            state[side] = "ended" if is_last else "data"
        elif operation == "trailers" and state[side] == "data":
            here.send_headers(number, TRAILERS, end_stream=True)
            state[side] = "ended"
        if self.streams.get(number) == ["ended", "ended"]:
            del self.streams[number]


def ours(is_client: bool) -> Any:
    return Http2Connection(is_client, max_header_list=2**20)


def h2s(is_client: bool) -> Any:
    return _H2Connection(is_client, 65535, 2**20)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["open", "headers", "data", "data", "trailers", "reset", "ping"]),
            st.integers(0, 1),
            st.integers(0, 5),
            st.integers(0, 3000) | st.integers(0, 40_000),
        ),
        max_size=40,
    )
)
def test_every_pairing_with_h2_tells_the_same(
    operations: list[tuple[str, int, int, int]],
) -> None:
    all_told = []
    for make_client in (h2s, ours):
        for make_server in (h2s, ours):
            traffic = Traffic(make_client, make_server)
            for operation in operations:
                traffic.run(*operation)
            all_told.append(traffic.told)
    for told in all_told[1:]:
        assert told == all_told[0]
