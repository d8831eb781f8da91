"""Calls whose every part may take a short way, beside what grpclib makes of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import grpclib.client
import kv_grpc
import kv_pb2
import pytest
from grpclib.client import UnaryStreamMethod
from grpclib.const import Status
from grpclib.events import (
    RecvInitialMetadata,
    RecvMessage,
    RecvTrailingMetadata,
    SendMessage,
    SendRequest,
    listen,
)
from grpclib.exceptions import GRPCError, ProtocolError
from h2.events import DataReceived, PingAckReceived, RequestReceived, StreamEnded
from hyperframe.frame import PingFrame, SettingsFrame

from pyplugin.net.reading import ReadingProtocol
from tests.fixtures.plugin import KVServicer
from tests.net.test_grpc import Servicer, Writes, get, go_away, hand_driven, pair, streaming

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.net.test_grpc import Peer

METADATA = [("text", "one"), ("text", "two"), ("raw-bin", b"\0\xff")]
HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


class Noting(KVServicer):
    """Notes what came with a call, and answers with metadata where it is to."""

    sends_metadata = False

    async def Get(self, stream: Any) -> None:
        self.metadata, self.deadline = stream.metadata, stream.deadline
        self.key = (await stream.recv_message()).key
        if self.sends_metadata:
            await stream.send_initial_metadata(metadata=METADATA)
        await stream.send_message(kv_pb2.GetResponse(value=b"v"))
        if self.sends_metadata:
            await stream.send_trailing_metadata(metadata=METADATA)


def message(value: bytes) -> bytes:
    encoded = kv_pb2.GetResponse(value=value).SerializeToString()
    return b"\0" + len(encoded).to_bytes(4, "big") + encoded


async def unary(channel: grpclib.client.Channel, **options: Any) -> tuple[Any, bytes]:
    """One call, and its value."""
    async with kv_grpc.KVStub(channel).Get.open(**options) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="k"), end=True)
        reply = await stream.recv_message()
        await stream.recv_trailing_metadata()
    assert reply is not None
    return stream, reply.value


def one(channel: grpclib.client.Channel) -> Any:
    """A call of a method that answers with one message."""
    return kv_grpc.KVStub(channel).Get.open()


def many(channel: grpclib.client.Channel) -> Any:
    """A call of a method that answers with many messages."""
    method = UnaryStreamMethod(channel, "/proto.KV/Get", kv_pb2.GetRequest, kv_pb2.GetResponse)
    return method.open()


# What grpclib tells of a call, and takes


async def on_send_request(event: SendRequest) -> None:
    assert event.method_name == "/proto.KV/Get"
    assert event.content_type == "application/grpc"
    assert event.deadline is not None
    event.metadata["who"] = "listener"


async def on_send_message(event: SendMessage) -> None:
    assert event.message == kv_pb2.GetRequest(key="k")
    event.message = kv_pb2.GetRequest(key="listener")


async def on_recv_initial_metadata(event: RecvInitialMetadata) -> None:
    event.metadata["who"] = "listener"


async def on_recv_message(event: RecvMessage) -> None:
    assert event.message == kv_pb2.GetResponse(value=b"v")
    event.message = kv_pb2.GetResponse(value=b"listener")


async def on_recv_trailing_metadata(event: RecvTrailingMetadata) -> None:
    assert event.status is Status.OK
    event.metadata["who"] = "listener"


LISTENERS: list[tuple[Any, Any]] = [
    (SendRequest, on_send_request),
    (SendMessage, on_send_message),
    (RecvInitialMetadata, on_recv_initial_metadata),
    (RecvMessage, on_recv_message),
    (RecvTrailingMetadata, on_recv_trailing_metadata),
]


@pytest.mark.parametrize(("event", "listener"), LISTENERS)
async def test_a_listener_changes_what_it_may(event: Any, listener: Any) -> None:
    servicer = Noting()
    async with pair(servicer) as (channel, _):
        await channel.connect()
        for is_heard in (False, True):
            stream, value = await unary(channel, timeout=60)
            seen = {
                SendRequest: servicer.metadata.get("who"),
                SendMessage: servicer.key,
                RecvInitialMetadata: stream.initial_metadata.get("who"),
                RecvMessage: value.decode(),
                RecvTrailingMetadata: stream.trailing_metadata.get("who"),
            }
            assert [kind for kind in seen if seen[kind] == "listener"] == [event] * is_heard
            listen(channel, event, listener)


async def test_a_listener_hears_of_an_error() -> None:
    seen = []

    async def note(event: RecvTrailingMetadata) -> None:
        seen.append(event.status)

    async with pair(Servicer()) as (channel, _):
        listen(channel, RecvTrailingMetadata, note)
        with pytest.raises(GRPCError):
            await get(channel, "missing")
    assert seen == [Status.NOT_FOUND]


async def test_metadata_and_a_deadline_go_along() -> None:
    servicer = Noting()
    async with pair(servicer) as (channel, _):
        await channel.connect()
        stream, _ = await unary(channel, metadata=METADATA)
        assert list(servicer.metadata.items()) == METADATA
        assert servicer.deadline is None
        assert stream.peer.addr() == channel._path
        await unary(channel, timeout=60)
        assert not servicer.metadata
        assert servicer.deadline is not None
        assert 50 < servicer.deadline.time_remaining() <= 60


async def test_metadata_of_the_servers_own_is_read() -> None:
    servicer = Noting()
    async with pair(servicer) as (channel, _):
        for servicer.sends_metadata in (True, False):
            stream, _ = await unary(channel)
            for metadata in (stream.initial_metadata, stream.trailing_metadata):
                assert list(metadata.items()) == (METADATA if servicer.sends_metadata else [])


@pytest.mark.parametrize(
    "metadata", [{"grpc-x": "reserved"}, {"Key": "upper"}, {"text": b"bytes"}, {"raw-bin": "text"}]
)
async def test_metadata_that_is_none_is_refused(metadata: Any) -> None:
    async with pair(Servicer()) as (channel, _):
        await channel.connect()
        with pytest.raises((TypeError, ValueError), match="Invalid metadata"):
            await get(channel, "bytes:1", metadata=metadata)
        assert await get(channel, "bytes:1") == b"\0"


MISUSES = [
    "end",
    "cancel",
    "recv_initial_metadata",
    "recv_message",
    "recv_trailing_metadata",
    "send_request send_request",
    "send_request end",
    "send_request recv_trailing_metadata",
    "send_message send_request",
    "send_message send_message",
    "send_message end end",
    "send_message recv_trailing_metadata",
    "send_message recv_message recv_initial_metadata",
    "send_message recv_message recv_trailing_metadata recv_trailing_metadata",
    "send_message cancel cancel",
]
MISUSES_OF_STREAMS = [
    "end",
    "send_message end end",
    "send_message end send_message",
    "send_message recv_message recv_trailing_metadata",
]


@pytest.mark.parametrize(
    ("opens", "steps"),
    [
        *((one, steps) for steps in MISUSES),
        *((streaming, steps) for steps in MISUSES_OF_STREAMS),
    ],
)
async def test_misuse_is_told_as_grpclib_does(opens: Callable[[Any], Any], steps: str) -> None:
    async with pair(Servicer()) as (channel, _):
        stock = grpclib.client.Channel(path=channel._path)
        texts = []
        for used in (stock, channel):
            await kv_grpc.KVStub(used).Get(kv_pb2.GetRequest(key="bytes:1"))
            names = steps.split()
            with pytest.raises(ProtocolError) as raised:
                async with opens(used) as stream:
                    while names:
                        name = names.pop(0)
                        request = [kv_pb2.GetRequest(key="bytes:1")] * (name == "send_message")
                        await getattr(stream, name)(*request)
            assert not names
            texts.append(str(raised.value))
        stock.close()
    assert texts[0] == texts[1]


async def test_two_tasks_wait_for_one_answer() -> None:
    async with hand_driven() as (channel, peer), many(channel) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="k"))
        stream_id = await peer.request()
        waiting = asyncio.gather(stream.recv_initial_metadata(), stream.recv_message())
        await asyncio.sleep(0)
        peer.h2.send_headers(stream_id, [*HEADERS, ("text", "one")])
        peer.h2.send_data(stream_id, message(b"v"))
        peer.send()
        _, reply = await waiting
        assert reply == kv_pb2.GetResponse(value=b"v")
        assert stream.initial_metadata["text"] == "one"
        waiting = asyncio.gather(stream.recv_trailing_metadata(), stream.recv_trailing_metadata())
        await asyncio.sleep(0)
        peer.h2.send_headers(stream_id, [("grpc-status", "0"), ("text", "one")], end_stream=True)
        peer.send()
        await waiting
        assert stream.trailing_metadata["text"] == "one"


async def test_a_message_whose_reader_was_cancelled_inside_of_it_is_the_next_ones() -> None:
    async with hand_driven() as (channel, peer), many(channel) as stream:
        await stream.send_message(kv_pb2.GetRequest(key="k"))
        stream_id = await peer.request()
        peer.h2.send_headers(stream_id, HEADERS)
        peer.h2.send_data(stream_id, message(b"first")[:6])
        await ponged(peer)
        reading = asyncio.ensure_future(stream.recv_message())
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        peer.h2.send_data(stream_id, message(b"first")[6:] + message(b"second"))
        peer.h2.send_headers(stream_id, [("grpc-status", "0")], end_stream=True)
        peer.send()
        assert [reply.value async for reply in stream] == [b"first", b"second"]


# Connections that end, that wait, and that have little room


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(None, Status.UNAVAILABLE), ("5", Status.NOT_FOUND), ("0", None)],
    ids=["none", "error", "ok"],
)
async def test_a_connection_that_closes_behind_a_message(
    status: str | None, outcome: Status | None
) -> None:
    async with hand_driven() as (channel, peer), contextlib.AsyncExitStack() as stack:
        raised = stack.enter_context(pytest.raises(GRPCError)) if outcome else None
        stream = await stack.enter_async_context(kv_grpc.KVStub(channel).Get.open())
        await stream.send_message(kv_pb2.GetRequest(key="k"), end=True)
        stream_id = await peer.request()
        peer.h2.send_headers(stream_id, HEADERS)
        peer.h2.send_data(stream_id, message(b"v"))
        if status:
            peer.h2.send_headers(stream_id, [("grpc-status", status)], end_stream=True)
        peer.send()
        peer.writer.close()
        reply = await stream.recv_message()
        assert reply == kv_pb2.GetResponse(value=b"v")
        assert channel.live is not None
        await channel.live.lost
    assert (raised.value.status if raised else None) is outcome


@pytest.mark.parametrize("is_waiting", [True, False], ids=["waiting", "later"])
async def test_a_loss_that_the_caller_has_dealt_with_is_not_told_again(is_waiting: bool) -> None:
    async with hand_driven() as (channel, peer), kv_grpc.KVStub(channel).Get.open() as stream:
        await stream.send_message(kv_pb2.GetRequest(key="k"), end=True)
        await peer.request()
        live: Any = channel.live
        reading = asyncio.ensure_future(stream.recv_message())
        if not is_waiting:
            reading.cancel()
        await asyncio.sleep(0)
        peer.writer.transport.abort()
        await live.lost
        with pytest.raises(GRPCError):
            await (reading if is_waiting else stream.recv_message())


async def ponged(peer: Peer) -> None:
    """Sends a ping, and reads until it is answered: what was sent before has been dealt with."""
    peer.h2.ping(b"12345678")
    peer.send()
    while True:
        for event in peer.h2.receive_data(await peer.reader.read(65536)):
            if isinstance(event, PingAckReceived):
                return


@pytest.mark.parametrize("is_paused", [False, True], ids=["at once", "when it may"])
async def test_a_ping_is_answered_though_nothing_else_is_sent(is_paused: bool) -> None:
    async with hand_driven() as (channel, peer):
        connecting = asyncio.ensure_future(channel.connect())
        await peer.accepted.wait()
        await connecting
        await ponged(peer)
        live: Any = channel.live
        writes = Writes(live)
        if is_paused:
            live.pause_writing()
        live.data_received(PingFrame(0, opaque_data=b"12345678").serialize())
        # It is answered in the next turn of the loop.
        await asyncio.sleep(0)
        assert writes.count == (not is_paused)
        live.resume_writing()
        assert writes.count == 1


@pytest.mark.parametrize("is_gone", [True, False], ids=["lost", "leaving"])
async def test_a_connection_that_ends_while_a_listener_has_the_call(is_gone: bool) -> None:
    async with hand_driven() as (channel, peer):
        first = asyncio.ensure_future(get(channel, "k"))
        stream_id = await peer.request()
        heard, go_on = asyncio.Event(), asyncio.Event()

        async def listener(_: SendRequest) -> None:
            heard.set()
            await go_on.wait()

        listen(channel, SendRequest, listener)
        second = asyncio.ensure_future(get(channel, "k"))
        await heard.wait()
        assert channel.live is not None
        if is_gone:
            channel.live.pause_writing()
            peer.writer.transport.abort()
            await channel.live.lost
        else:
            peer.writer.write(go_away(stream_id))
            await ponged(peer)
        go_on.set()
        with pytest.raises(GRPCError) as raised:
            await second
        assert raised.value.status is Status.UNAVAILABLE
        if is_gone:
            with pytest.raises(GRPCError):
                await first
        else:
            peer.answer(stream_id, b"v")
            peer.send()
            assert await first == b"v"


@pytest.mark.parametrize("window", [0, 1, 65535])
async def test_a_request_larger_than_the_window(window: int) -> None:
    async with hand_driven() as (channel, peer):
        connecting = asyncio.ensure_future(channel.connect())
        await peer.accepted.wait()
        await connecting
        peer.h2.update_settings({SettingsFrame.INITIAL_WINDOW_SIZE: window})
        peer.send()
        await peer.until_settings_count()
        request = kv_pb2.GetRequest(key="".join(map(str, range(40_000))))
        answer = asyncio.ensure_future(kv_grpc.KVStub(channel).Get(request))
        data, is_over, stream_id = b"", False, 1
        while not is_over:
            for event in peer.h2.receive_data(await peer.reader.read(65536)):
                if isinstance(event, RequestReceived) and not window:
                    peer.h2.increment_flow_control_window(1, stream_id)
                if isinstance(event, DataReceived):
                    data += event.data
                    size = event.flow_controlled_length
                    peer.h2.increment_flow_control_window(size)
                    peer.h2.increment_flow_control_window(size + 10_000, stream_id)
                is_over = is_over or isinstance(event, StreamEnded)
            peer.send()
        assert data[0] == 0
        assert int.from_bytes(data[1:5], "big") == len(data) - 5
        assert kv_pb2.GetRequest.FromString(data[5:]) == request
        peer.answer(stream_id, b"v")
        peer.send()
        assert (await answer).value == b"v"


# What connections read into


class Sink(ReadingProtocol):
    def __init__(self, inner: Sink | None = None) -> None:
        self.inner = inner
        self.data = b""

    def read(self, data: bytes) -> None:
        """Does as a loop of asyncio."""
        self.get_buffer(-1)[: len(data)] = data
        self.buffer_updated(len(data))

    def data_received(self, data: bytes) -> None:
        if self.inner:
            self.inner.read(data.upper())
        self.data += data


def test_a_connection_that_makes_another_read_keeps_what_is_its_own() -> None:
    inner = Sink()
    outer, third = Sink(inner), Sink()
    outer.read(b"outer")
    # As on Windows, and where there was nothing to read after all.
    third.get_buffer(-1)[:5] = b"third"
    outer.read(b"outer")
    third.buffer_updated(5)
    assert (outer.data, inner.data, third.data) == (b"outer" * 2, b"OUTER" * 2, b"third")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
async def test_connections_that_read_at_once_keep_their_own(tls: bool) -> None:
    async with contextlib.AsyncExitStack() as stack:
        calls = []
        for number in range(4):
            servicer = Servicer()
            servicer.values["k"] = bytes([number]) * 2**20
            channel, _ = await stack.enter_async_context(pair(servicer, tls=tls))
            calls.append(get(channel, "k"))
        for number, value in enumerate(await asyncio.gather(*calls)):
            assert value == bytes([number]) * 2**20
