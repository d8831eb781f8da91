"""Channels and servers over real sockets, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import ssl
from typing import TYPE_CHECKING, Any

import grpclib.client
import grpclib.protocol
import grpclib.server
import kv_grpc
import kv_pb2
import pytest
from grpclib.client import StreamUnaryMethod
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingReceived, RequestReceived, SettingsAcknowledged
from h2.exceptions import NoAvailableStreamIDError
from hyperframe.frame import GoAwayFrame, PingFrame

from pyplugin import mtls
from pyplugin.constants import ENV_HTTP2
from pyplugin.environment import PluginEnvironment
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.grpc.connection import configured
from pyplugin.net.grpc.server import PluginServer
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address, Listener, open_listener
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LOGGER = logging.getLogger("tests.grpc")


class Servicer(KVServicer):
    """Waits at the key "wait" until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = asyncio.Semaphore(0)
        self.go_on = asyncio.Event()

    async def _do(self, name: str, argument: str) -> bytes:
        if name == "wait":
            self.waiting.release()
            await self.go_on.wait()
            return b"waited"
        if name == "surrogate":
            raise RuntimeError("no ∞\ud800")
        return await super()._do(name, argument)


@contextlib.asynccontextmanager
async def pair(
    servicer: Any, *, tcp: bool = False, tls: bool = False
) -> AsyncIterator[tuple[PluginChannel, PluginServer]]:
    """A served servicer and a channel to it."""
    server_tls = client_tls = None
    if tls:
        ours, theirs = mtls.generate(), mtls.generate()
        server_tls = mtls.Identity(theirs.cert_pem, theirs.key_pem, ours.cert_pem).server_context
        client_tls = mtls.Identity(ours.cert_pem, ours.key_pem, theirs.cert_pem).client_context
    listener = open_listener(PluginEnvironment(), force_tcp=tcp)
    server = PluginServer([servicer], logger=LOGGER)
    await server.serve_on(listener, tls=server_tls)
    async with channel_to(listener, tls=client_tls) as channel:
        try:
            yield channel, server
        finally:
            server.close()
            await server.wait_closed()


@contextlib.asynccontextmanager
async def channel_to(
    listener: Listener, *, tls: ssl.SSLContext | None = None, **options: Any
) -> AsyncIterator[PluginChannel]:
    tasks = TaskScope("test", LOGGER)
    channel = PluginChannel(listener.address, tls=tls, tasks=tasks, **options)
    try:
        yield channel
    finally:
        channel.close()
        await channel.wait_closed()
        await tasks.aclose()


async def get(channel: PluginChannel, key: str, **options: Any) -> bytes:
    reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key=key), **options)
    return reply.value


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
async def test_calls(tcp: bool, tls: bool) -> None:
    async with pair(Servicer(), tcp=tcp, tls=tls) as (channel, _):
        assert await get(channel, "bytes:10") == bytes(10)


async def test_a_thousand_calls_at_once_and_one_that_does_not_queue_behind_them() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, _):
        calls = [asyncio.ensure_future(get(channel, "wait")) for _ in range(1000)]
        for _ in calls:
            await servicer.waiting.acquire()
        assert await get(channel, "bytes:1") == b"\0"
        servicer.go_on.set()
        assert await asyncio.gather(*calls) == [b"waited"] * 1000


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
async def test_messages_of_any_size(tls: bool) -> None:
    async with pair(Servicer(), tls=tls) as (channel, _):
        size = 24 * 2**20
        assert await get(channel, f"bytes:{size}") == bytes(size)
        value = bytes(range(256)) * (size // 256)
        await kv_grpc.KVStub(channel).Put(kv_pb2.PutRequest(key="k", value=value))
        assert await get(channel, "k") == value


async def test_streams_that_nobody_reads_hold_up_no_other() -> None:
    async with pair(Servicer()) as (channel, _), contextlib.AsyncExitStack() as stack:
        unread = []
        for _ in range(4):
            stream = await stack.enter_async_context(kv_grpc.KVStub(channel).Get.open())
            await stream.send_message(kv_pb2.GetRequest(key=f"bytes:{6 * 2**20}"))
            await stream.recv_initial_metadata()
            unread.append(stream)
        assert await get(channel, "bytes:1000000") == bytes(1000000)
        for stream in unread:
            await stream.cancel()


async def test_a_long_status_message_arrives() -> None:
    async with pair(Servicer()) as (channel, _):
        with pytest.raises(GRPCError) as raised:
            await get(channel, "fat-error:200000")
    assert raised.value.message == "x" * 200_000


async def test_an_exception_becomes_a_status_and_one_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair(Servicer()) as (channel, _):
        with pytest.raises(GRPCError) as raised:
            await get(channel, "surrogate")
    assert raised.value.status is Status.UNKNOWN
    assert raised.value.message == "RuntimeError: no ∞\\ud800"
    records = [record for record in caplog.records if record.name == LOGGER.name]
    assert [record.getMessage() for record in records] == ["/proto.KV/Get raised"]
    assert records[0].exc_info is not None


async def test_a_status_that_a_handler_chose_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with pair(Servicer()) as (channel, _):
        with pytest.raises(GRPCError) as raised:
            await get(channel, "missing")
    assert raised.value.status is Status.NOT_FOUND
    assert LOGGER.name not in {record.name for record in caplog.records}


async def test_a_deadline_reaches_the_handler() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, _):
        for _ in range(10):  # now this side's clock is the first, now the server's
            with pytest.raises(asyncio.TimeoutError):
                await get(channel, "wait", timeout=0.02)
        assert await get(channel, "bytes:1") == b"\0"


async def test_a_closed_server_ends_calls_and_connections() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, server):
        call = asyncio.ensure_future(get(channel, "wait"))
        await servicer.waiting.acquire()
        server.close()
        await server.wait_closed()
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is Status.UNAVAILABLE
        with pytest.raises(GRPCError, match="cannot connect") as raised:
            await get(channel, "k")
        assert raised.value.status is Status.UNAVAILABLE
        assert isinstance(raised.value.__cause__, FileNotFoundError | ConnectionRefusedError)


async def test_a_closed_channel_ends_calls_and_stays_closed() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, _):
        call = asyncio.ensure_future(get(channel, "wait"))
        await servicer.waiting.acquire()
        channel.close()
        for refused in (call, get(channel, "k")):
            with pytest.raises(GRPCError, match="was closed") as raised:
                await refused
            assert raised.value.status is Status.UNAVAILABLE


async def test_a_lost_connection_is_explained_to_each_call() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, _):
        reasons: list[str] = []

        async def explain(reason: str) -> Callable[[], GRPCError]:
            reasons.append(reason)
            return lambda: GRPCError(Status.DATA_LOSS, "explained")

        channel.explain = explain
        calls = [asyncio.ensure_future(get(channel, "wait")) for _ in range(3)]
        for _ in calls:
            await servicer.waiting.acquire()
        assert channel.live is not None
        channel.live.transport.abort()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(getattr(error, "message", error)) for error in errors] == ["explained"] * 3
        assert len({id(error) for error in errors}) == 3
        assert reasons == ["the connection was closed"]


async def test_the_next_call_connects_again() -> None:
    async with pair(Servicer()) as (channel, _):
        await get(channel, "bytes:1")
        assert channel.live is not None
        channel.live.transport.abort()
        await channel.wait_closed()
        assert await get(channel, "bytes:1") == b"\0"


async def test_the_wrong_certificate_is_refused_by_both_sides() -> None:
    ours, theirs, other = (mtls.generate() for _ in range(3))
    listener = open_listener(PluginEnvironment())
    server = PluginServer([Servicer()], logger=LOGGER)
    identity = mtls.Identity(theirs.cert_pem, theirs.key_pem, ours.cert_pem)
    await server.serve_on(listener, tls=identity.server_context)
    stranger = mtls.Identity(other.cert_pem, other.key_pem, theirs.cert_pem)
    deceived = mtls.Identity(ours.cert_pem, ours.key_pem, other.cert_pem)
    try:
        for who in (stranger, deceived):
            async with channel_to(listener, tls=who.client_context) as channel:
                with pytest.raises(GRPCError) as raised:
                    await get(channel, "bytes:1")
                assert raised.value.status is Status.UNAVAILABLE
        assert isinstance(raised.value.__cause__, ssl.SSLCertVerificationError)
    finally:
        server.close()
        await server.wait_closed()


# Peers that do odd things: a hand-driven h2 connection on the other side


class Peer:
    """The server's side of one connection, driven by hand."""

    def __init__(self) -> None:
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.accepted = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2.initiate_connection()
        self.send()
        self.accepted.set()

    def send(self, extra: bytes = b"") -> None:
        self.writer.write(self.h2.data_to_send() + extra)

    async def request(self) -> int:
        """Reads until a request has come, and returns its stream id."""
        await self.accepted.wait()
        while True:
            for event in self.h2.receive_data(await self.reader.read(65536)):
                if isinstance(event, RequestReceived):
                    assert event.stream_id is not None
                    return event.stream_id
            self.send()

    async def pinged(self) -> None:
        """Reads until a ping has come, and answers it."""
        pings = 0
        while not pings:
            events = self.h2.receive_data(await self.reader.read(65536))
            pings = sum(isinstance(event, PingReceived) for event in events)
            self.send()

    async def until_settings_count(self) -> None:
        """Reads until the client has taken in new settings."""
        while True:
            for event in self.h2.receive_data(await self.reader.read(65536)):
                if isinstance(event, SettingsAcknowledged) and event.changed_settings:
                    return

    def answer(self, stream_id: int, value: bytes, status: str = "0") -> None:
        message = kv_pb2.GetResponse(value=value).SerializeToString()
        self.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        self.h2.send_data(stream_id, b"\0" + len(message).to_bytes(4, "big") + message)
        self.h2.send_headers(stream_id, [("grpc-status", status)], end_stream=True)


@contextlib.asynccontextmanager
async def hand_driven(**options: Any) -> AsyncIterator[tuple[PluginChannel, Peer]]:
    listener = open_listener(PluginEnvironment())
    peer = Peer()
    server = await asyncio.start_unix_server(peer, sock=listener.sock)
    async with channel_to(listener, **options) as channel:
        try:
            yield channel, peer
        finally:
            peer.writer.close()
            with contextlib.suppress(OSError):
                await peer.writer.wait_closed()
            server.close()
            listener.close()


def go_away(last_stream_id: int = 1) -> bytes:
    frame = GoAwayFrame(0)
    frame.last_stream_id = last_stream_id
    return frame.serialize()


async def test_an_answer_that_arrives_with_a_goaway_counts() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        peer.answer(await peer.request(), b"v")
        peer.send(go_away() + go_away())
        assert await call == b"v"


async def test_an_error_that_arrives_with_a_goaway_counts() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        peer.h2.send_headers(
            stream_id,
            [(":status", "200"), ("content-type", "application/grpc"), ("grpc-status", "5")],
            end_stream=True,
        )
        peer.send(go_away())
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is Status.NOT_FOUND


async def test_a_peer_that_goes_away_answers_what_it_has_taken() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        peer.send(go_away() + PingFrame(0, opaque_data=b"12345678").serialize())
        peer.answer(stream_id, b"v")
        peer.send()
        assert await call == b"v"
        await peer.reader.read()
        assert peer.reader.at_eof()


async def test_a_call_that_a_leaving_peer_did_not_take_is_unavailable() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        await peer.request()
        peer.send(go_away(last_stream_id=0))
        with pytest.raises(GRPCError, match="went away") as raised:
            await call
        assert raised.value.status is Status.UNAVAILABLE


async def test_half_an_answer_and_a_hang_up_is_unavailable() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        peer.h2.send_headers(stream_id, [(":status", "200"), ("content-type", "application/grpc")])
        peer.h2.send_data(stream_id, b"\0\0\0")
        peer.send(go_away())
        peer.writer.close()
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is Status.UNAVAILABLE


async def test_frames_of_unknown_kinds_are_ignored() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        peer.send(b"\0\0\1\xfa\0\0\0\0\0?")
        peer.answer(stream_id, b"v")
        peer.send()
        assert await call == b"v"


async def test_a_peer_that_breaks_http2_is_told_and_named() -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        await peer.request()
        peer.writer.write(bytes(9))
        with pytest.raises(GRPCError, match="HTTP/2") as raised:
            await call
        assert raised.value.status is Status.UNAVAILABLE


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (7, Status.UNAVAILABLE),
        (8, Status.CANCELLED),
        (11, Status.RESOURCE_EXHAUSTED),
        (2, Status.INTERNAL),
        (999, Status.INTERNAL),
    ],
)
async def test_a_reset_stream_has_the_status_of_its_code(code: int, status: Status) -> None:
    async with hand_driven() as (channel, peer):
        call = asyncio.ensure_future(get(channel, "k"))
        peer.h2.reset_stream(await peer.request(), error_code=code)
        peer.send()
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is status
        assert isinstance(raised.value, StreamTerminatedError)


async def test_a_call_that_waits_for_a_stream_hears_of_the_loss() -> None:
    async with hand_driven() as (channel, peer):
        first = asyncio.ensure_future(get(channel, "k"))
        await peer.request()
        peer.h2.update_settings({3: 1})
        peer.send()
        await peer.until_settings_count()
        second = asyncio.ensure_future(get(channel, "k"))
        await asyncio.sleep(0)
        peer.writer.transport.abort()
        for call in (first, second):
            with pytest.raises(GRPCError) as raised:
                await call
            assert raised.value.status is Status.UNAVAILABLE


async def test_a_client_that_hangs_up_during_tls_leaves_nothing() -> None:
    async with pair(Servicer(), tls=True) as (channel, server):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(str(channel._path))
        sock.send(b"no TLS at all")
        sock.close()
        assert await get(channel, "bytes:1") == b"\0"
        assert len(server._connections) == 1


async def test_a_client_that_never_begins_tls_does_not_hold_up_closing() -> None:
    async with pair(Servicer(), tls=True) as (channel, server):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(channel._path))
            assert await get(channel, "bytes:1") == b"\0"
            server.close()
            await asyncio.wait_for(server.wait_closed(), 5)


async def test_a_call_that_is_cancelled_with_its_request_is_released() -> None:
    async with pair(Servicer()) as (channel, server):
        await get(channel, "bytes:1")
        reader, writer = await asyncio.open_unix_connection(str(channel._path))
        client = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        client.initiate_connection()
        path = [(":method", "POST"), (":path", "/proto.KV/Get"), (":scheme", "http")]
        for _ in range(50):
            stream_id = client.get_next_available_stream_id()
            client.send_headers(stream_id, [*path, (":authority", "x"), ("te", "trailers")])
            client.reset_stream(stream_id, error_code=8)
        client.ping(b"all read")
        writer.write(client.data_to_send())
        data = b""
        while b"all read" not in data:
            data += await reader.read(65536)
        assert [len(p.processor.streams) for p in server._connections] == [0, 0]
        writer.close()
        await writer.wait_closed()


class Tidy(Servicer):
    """Has to clean up when a handler is left: until it may go on, or does what it is given."""

    def __init__(self, clean_up: Callable[[], Awaitable[object]] | None = None) -> None:
        super().__init__()
        self.clean_up = clean_up or self.go_on.wait
        self.is_tidy = False

    async def _do(self, name: str, argument: str) -> bytes:
        try:
            return await super()._do(name, argument)
        finally:
            self.waiting.release()
            await self.clean_up()
            self.is_tidy = True


async def test_a_cancelled_handler_is_left_to_clean_up() -> None:
    servicer = Tidy(lambda: asyncio.sleep(0.05))
    async with pair(servicer) as (channel, server):
        call = asyncio.ensure_future(get(channel, "wait"))
        await servicer.waiting.acquire()
        server.close()
        await servicer.waiting.acquire()
        channel.close()
        with pytest.raises(GRPCError):
            await call
        await server.wait_closed()
    assert servicer.is_tidy


async def test_a_handler_that_sends_as_it_cleans_up_does_not_wait_for_a_peer_that_is_gone() -> None:
    class Insistent(Servicer):
        async def Get(self, stream: Any) -> None:
            await stream.recv_message()
            try:
                await self._do("wait", "")
            finally:
                await stream.send_message(kv_pb2.GetResponse())
                self.go_on.set()

    servicer = Insistent()
    async with pair(servicer) as (channel, server):
        call = asyncio.ensure_future(get(channel, "k"))
        await servicer.waiting.acquire()
        (served,) = server._connections
        served.pause_writing()
        assert channel.live is not None
        channel.live.transport.abort()
        await asyncio.gather(call, return_exceptions=True)
        await servicer.go_on.wait()


async def test_a_host_name_that_cannot_be_looked_up_is_unavailable() -> None:
    tasks = TaskScope("test", LOGGER)
    channel = PluginChannel(Address("tcp", f"{'a' * 70}:80"), tls=None, tasks=tasks)
    with pytest.raises(GRPCError, match="cannot connect") as raised:
        await get(channel, "k")
    assert raised.value.status is Status.UNAVAILABLE
    channel.close()


def streaming(channel: PluginChannel) -> Any:
    """A call of a method that takes many messages and answers with one."""
    method = StreamUnaryMethod(channel, "/proto.KV/Get", kv_pb2.GetRequest, kv_pb2.GetResponse)
    return method.open()


async def test_an_answer_before_everything_was_sent_stands() -> None:
    async with hand_driven() as (channel, peer), streaming(channel) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="one"))
        stream_id = await peer.request()
        peer.answer(stream_id, b"enough")
        peer.h2.reset_stream(stream_id, error_code=0)
        peer.send()
        assert (await stream.recv_message()).value == b"enough"
        await stream.send_message(kv_pb2.GetRequest(key="two"))
        await stream.end()


@pytest.mark.parametrize("is_paused", [False, True], ids=["window", "transport"])
async def test_an_answer_stands_when_the_rest_cannot_be_sent_any_more(is_paused: bool) -> None:
    async with hand_driven() as (channel, peer), streaming(channel) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="one"))
        stream_id = await peer.request()
        assert channel.live is not None
        if is_paused:
            channel.live.pause_writing()
        rest = asyncio.ensure_future(stream.send_message(kv_pb2.GetRequest(key="k" * 2**17)))
        await asyncio.sleep(0)
        peer.answer(stream_id, b"enough")
        peer.send()
        assert (await stream.recv_message()).value == b"enough"
        assert not rest.done()
        peer.writer.transport.abort()
        await rest


async def test_an_error_before_everything_was_sent_is_the_calls() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, _):
        with pytest.raises(GRPCError) as raised:
            async with streaming(channel) as stream:
                await stream.send_message(kv_pb2.GetRequest(key="missing"))
                await stream.recv_initial_metadata()
                await stream.end()
    assert raised.value.status is Status.NOT_FOUND


async def test_the_end_of_a_stream_that_cannot_be_sent_hears_of_the_loss() -> None:
    async with hand_driven() as (channel, peer), streaming(channel) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="one"))
        await peer.request()
        assert channel.live is not None
        channel.live.pause_writing()
        end = asyncio.ensure_future(stream.end())
        await asyncio.sleep(0)
        peer.writer.transport.abort()
        with pytest.raises(GRPCError) as raised:
            await end
        assert raised.value.status is Status.UNAVAILABLE
        with pytest.raises(GRPCError):
            await stream.recv_message()


async def explained(channel: PluginChannel) -> asyncio.Event:
    """Lets the channel find out why connections are lost, once the event is set."""
    go_on = asyncio.Event()

    async def explain(_: str) -> Callable[[], GRPCError]:
        await go_on.wait()
        return lambda: GRPCError(Status.UNAVAILABLE, "explained")

    channel.explain = explain
    return go_on


async def test_a_call_that_waits_to_be_sent_hears_why_the_connection_is_over() -> None:
    async with hand_driven() as (channel, peer):
        go_on = await explained(channel)
        connecting = asyncio.ensure_future(channel.connect())
        await peer.accepted.wait()
        await connecting
        assert channel.live is not None
        channel.live.pause_writing()
        call = asyncio.ensure_future(get(channel, "k"))
        await asyncio.sleep(0)
        peer.writer.write(bytes(9))
        await channel.live.lost
        go_on.set()
        with pytest.raises(GRPCError, match="explained"):
            await call


async def test_a_call_that_waits_for_a_stream_of_a_leaving_peer_is_unavailable() -> None:
    async with hand_driven() as (channel, peer):
        go_on = await explained(channel)
        first = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        peer.h2.update_settings({3: 1})
        peer.send()
        await peer.until_settings_count()
        second = asyncio.ensure_future(get(channel, "k"))
        await asyncio.sleep(0)
        peer.answer(stream_id, b"v")
        peer.send(go_away())
        assert await first == b"v"
        go_on.set()
        with pytest.raises(GRPCError) as raised:
            await second
        assert raised.value.status is Status.UNAVAILABLE


class Exhausted:
    """An HTTP/2 connection that has used every stream id."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)

    def __delattr__(self, name: str) -> None:
        delattr(self.connection, name)

    def get_next_available_stream_id(self) -> int:
        raise NoAvailableStreamIDError


async def test_a_connection_without_stream_ids_makes_way_for_another() -> None:
    async with pair(Servicer()) as (channel, _):
        await get(channel, "bytes:1")
        live: Any = channel.live
        live.connection._connection = Exhausted(live.connection._connection)
        with pytest.raises(GRPCError) as raised:
            await get(channel, "bytes:1")
        assert raised.value.status is Status.UNAVAILABLE
        assert await get(channel, "bytes:1") == b"\0"
        await live.lost


async def test_keepalive_pings_go_on_as_long_as_there_are_calls() -> None:
    keepalive = configured(
        Configuration(
            _keepalive_time=0.01,
            _keepalive_permit_without_calls=True,
            _http2_max_pings_without_data=1,
            _http2_min_sent_ping_interval_without_data=0.001,
        )
    )
    async with hand_driven(configuration=keepalive) as (channel, peer):
        for _ in range(3):
            call = asyncio.ensure_future(get(channel, "k"))
            peer.answer(await peer.request(), b"v")
            peer.send()
            assert await call == b"v"
            await peer.pinged()


# What leaves together, and when


class Writes:
    """A connection's transport that counts what is written to it."""

    def __init__(self, protocol: Any) -> None:
        self.connection, self.transport = protocol.connection, protocol.transport
        self.count = 0
        self.connection._transport = self

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        self.count += 1
        self.transport.write(data)


async def test_a_call_and_its_answer_are_a_write_each() -> None:
    async with pair(Servicer()) as (channel, server):
        await get(channel, "bytes:1")
        (served,) = server._connections
        writes = [Writes(channel.live), Writes(served)]
        for _ in range(10):
            assert await get(channel, "bytes:1000") == bytes(1000)
        assert [end.count for end in writes] == [10, 10]


async def test_calls_leave_no_garbage() -> None:
    async with pair(Servicer()) as (channel, _):
        await get(channel, "bytes:1")
        gc.collect()
        gc.disable()
        try:
            for _ in range(100):
                await get(channel, "bytes:1")
            assert gc.collect() < 100
        finally:
            gc.enable()


async def test_a_request_without_a_message_leaves_at_once() -> None:
    class Curious(Servicer):
        async def Get(self, stream: Any) -> None:
            self.waiting.release()
            await super().Get(stream)

    servicer = Curious()
    async with pair(servicer) as (channel, _):
        await get(channel, "bytes:1")
        await servicer.waiting.acquire()
        async with kv_grpc.KVStub(channel).Get.open() as stream:
            await stream.send_request()
            await servicer.waiting.acquire()
            await stream.send_message(kv_pb2.GetRequest(key="bytes:1"), end=True)


@pytest.mark.parametrize("is_beside", [False, True], ids=["handler", "beside"])
async def test_an_answer_leaves_before_its_handler_waits(is_beside: bool) -> None:
    class Lingering(Servicer):
        async def Get(self, stream: Any) -> None:
            await stream.recv_message()
            if is_beside:
                await asyncio.gather(self.answer(stream), self.go_on.wait())
            else:
                await self.answer(stream)
                await self.go_on.wait()

        async def answer(self, stream: Any) -> None:
            await stream.send_message(kv_pb2.GetResponse(value=b"early"))

    servicer = Lingering()
    async with pair(servicer) as (channel, _), kv_grpc.KVStub(channel).Get.open() as stream:
        await stream.send_message(kv_pb2.GetRequest(key="k"), end=True)
        reply = await stream.recv_message()
        assert reply is not None
        assert reply.value == b"early"
        servicer.go_on.set()


async def test_more_streams_than_before_are_opened_when_the_peer_allows_them() -> None:
    async with hand_driven() as (channel, peer):
        peer_is_there = asyncio.ensure_future(channel.connect())
        await peer.accepted.wait()
        await peer_is_there
        peer.h2.update_settings({3: 1})
        peer.send()
        await peer.until_settings_count()
        calls = [asyncio.ensure_future(get(channel, "k")) for _ in range(2)]
        first = await peer.request()
        peer.h2.update_settings({3: 2})
        peer.send()
        second = await peer.request()
        for stream_id in (first, second):
            peer.answer(stream_id, b"v")
        peer.send()
        assert await asyncio.gather(*calls) == [b"v", b"v"]


@pytest.mark.skipif(os.environ.get(ENV_HTTP2) == "h2", reason="h2 answers without bounds")
async def test_a_peer_that_asks_and_does_not_read_is_told_to_calm_down() -> None:
    async with pair(Servicer()) as (channel, server):
        await get(channel, "bytes:1")
        (served,) = server._connections
        pings = PingFrame(0, opaque_data=b"12345678").serialize() * 500
        for _ in range(4):
            served.data_received(pings)
            # They are answered in the next turn of the loop.
            await asyncio.sleep(0)
        assert not served.connection.closed
        served.pause_writing()
        for _ in range(3):
            served.data_received(pings)
        assert served.connection.closed
        with pytest.raises(GRPCError, match="error code 11"):
            await get(channel, "wait")


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (grpclib.client.Channel, "_create_connection"),
        (grpclib.client.Channel, "_protocol_factory"),
        (grpclib.client.Channel, "request"),
        (grpclib.protocol.Stream, "send_request"),
        (grpclib.server.Server, "_protocol_factory"),
        (grpclib.server.Stream, "_send_message_done"),
        (grpclib.server.Stream, "_send_trailing_metadata_done"),
        (grpclib.server.Stream, "_cancel_done"),
        (grpclib.protocol.EventsProcessor, "register"),
        (H2Connection, "_receive_goaway_frame"),
        (grpclib.protocol.Stream, "__terminated__"),
    ],
)
def test_the_private_names_of_grpclib_that_are_used_exist(owner: type, name: str) -> None:
    assert hasattr(owner, name), (
        f"this grpclib has no {owner.__name__}.{name}: adapt pyplugin/net/grpc, or narrow the "
        "range of grpclib in pyproject.toml"
    )
