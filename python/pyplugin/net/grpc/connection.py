"""What channels and servers have in common: configuration, streams, connections."""

from __future__ import annotations

import asyncio
import dataclasses
import struct
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpclib.protocol
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error, ProtocolError

from ..._rust import Http2Event
from ...constants import TLS_SERVER_NAME
from ..buffer import Buffer
from ..http2 import new_connection
from ..reading import ReadingProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from grpclib.utils import Wrapper

_HEAD = struct.Struct(">?I")
_STREAM_WINDOW_BYTES = 4 * 2**20
_CONNECTION_WINDOW_BYTES = 2**31 - 1
# How many messages leave together at most.
_MAX_HELD_MESSAGES = 8
# What comes of a usual answer: headers, data, trailers and the end.
_EVENTS_OF_A_CALL = 4
# How long a closing connection may take to flush and to end TLS, in seconds.
CLOSE_TIMEOUT = 1.0
# How long a client of a server may take to begin, in seconds.
TLS_HANDSHAKE_TIMEOUT = 10.0

CONFIGURATION = Configuration(
    http2_connection_window_size=_CONNECTION_WINDOW_BYTES,
    http2_stream_window_size=_STREAM_WINDOW_BYTES,
    ssl_target_name_override=TLS_SERVER_NAME,
)


def configured(options: object) -> Configuration:
    """How connections are made: ``options``, where they are a ``Configuration``, over our own.

    What has grpclib's default in them was not set.
    """
    if not isinstance(options, Configuration):
        return CONFIGURATION
    changed = {
        field.name: value
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) != field.default
    }
    return dataclasses.replace(CONFIGURATION, **changed)


def encoded(message: bytes) -> bytes:
    """A message with its head: that it is not compressed, and its length (gRPC over HTTP/2)."""
    return _HEAD.pack(False, len(message)) + message


# What sending on a stream raises when the call or the connection is over.
CALL_ERRORS = (GRPCError, StreamTerminatedError, H2Error)


class Stream(grpclib.protocol.Stream):
    """A stream that hands on a message as a whole, and not frame by frame.

    Whoever waits for something of it is woken by whatever comes, and looks again.
    """

    id: int
    connection: Connection
    headers: list[tuple[str, str]] | None
    trailers: list[tuple[str, str]] | None
    window_updated: asyncio.Event
    headers_received: asyncio.Event
    trailers_received: asyncio.Event
    buffer: Buffer  # type: ignore[assignment]  # in the place of grpclib's
    _h2_connection: Any

    def __init__(
        self,
        connection: Connection,
        h2_connection: Any,
        transport: asyncio.Transport,
        *,
        stream_id: int | None = None,
        wrapper: Wrapper | None = None,
    ) -> None:
        self.connection = connection
        self._h2_connection = h2_connection
        self._transport = transport
        self.wrapper = wrapper
        self.headers = self.trailers = None
        self.window_updated = self.headers_received = self.trailers_received = asyncio.Event()
        if stream_id is not None:
            self.init_stream(stream_id, connection)

    async def changed(self) -> None:
        """Waits until something comes."""
        self.window_updated.clear()
        await self.window_updated.wait()

    async def recv_headers(self) -> list[tuple[str, str]]:
        while self.headers is None:
            await self.changed()
        return self.headers

    async def recv_trailers(self) -> list[tuple[str, str]]:
        while self.trailers is None:
            await self.changed()
        return self.trailers

    def init_stream(self, stream_id: int, connection: grpclib.protocol.Connection) -> None:
        self.id = stream_id
        self.buffer = Buffer(partial(connection.ack, stream_id))

    async def send_data(self, data: bytes, end_stream: bool = False, *, start: int = 0) -> None:
        while True:
            if not self.connection.write_ready.is_set():
                await self.connection.room()
            sent = self.send_now(data, end_stream, start=start)
            if sent == len(data) or self.connection.closed:
                return
            if sent == start:
                await self.changed()
            start = sent

    def send_now(self, data: bytes, end_stream: bool, *, start: int = 0) -> int:
        """Sends of ``data``, from ``start`` on, what may leave now; returns up to where that is."""
        sent: int = start + self._h2_connection.send_data(self.id, data, end_stream, start=start)
        # Else there are no keepalive pings after the first ones.
        self.connection.data_send_process()
        if sent == len(data):
            self._let_go()
        else:
            self.connection.flush()
        return sent

    def _let_go(self) -> None:
        self.connection.flush_message()

    @property
    def closable(self) -> bool:
        return not self._transport.is_closing() and self._h2_connection.is_open(self.id)


class Connection(grpclib.protocol.Connection):
    """A connection that may still be used, to no effect, after it was closed.

    Attributes:
        waiting: Streams of calls that wait for their turn to be opened.
        calls: Streams of those that are under way, by their numbers.
        is_crowded: Whether several calls came on by what was last received.
        on_close: What else is to be done when grpclib closes it, to whose ping no answer came.
    """

    _connection: Any
    closed: bool = False
    is_crowded: bool = False
    on_close: Callable[[], object] | None = None

    def __init__(
        self,
        connection: Any,
        transport: asyncio.Transport,
        config: Configuration,
        stream_class: type[Stream],
    ) -> None:
        # grpclib would ask h2's streams whether there are calls.
        any_time = dataclasses.replace(config, _keepalive_permit_without_calls=True)
        super().__init__(connection, transport, config=any_time)
        self._pings_without_calls = config._keepalive_permit_without_calls
        self.calls: Mapping[int, grpclib.protocol.Stream] = {}
        self.waiting: set[grpclib.protocol.Stream] = set()
        self._stream_class = stream_class
        self._loop = asyncio.get_running_loop()
        self._is_flush_due = False
        self._held_messages = 0

    def create_stream(
        self, *, stream_id: int | None = None, wrapper: Wrapper | None = None
    ) -> Stream:
        if self.closed:
            raise GRPCError(Status.UNAVAILABLE, "the connection was lost at once")
        return self._stream_class(
            self, self._connection, self._transport, stream_id=stream_id, wrapper=wrapper
        )

    def _is_need_send_ping(self) -> bool:
        is_wanted = self._pings_without_calls or bool(self.calls)
        return is_wanted and super()._is_need_send_ping()

    async def room(self) -> None:
        """Waits until more may be written; others that waited may have written since."""
        while not self.write_ready.is_set():
            await self.write_ready.wait()

    def ack(self, stream_id: int, size: int) -> None:
        # What broke the connection may have come at once with the data, and is dealt with next.
        if size and not self.closed:
            try:
                self._connection.acknowledge_received_data(size, stream_id)
            except ProtocolError:
                return
            self.flush_soon()

    def flush(self) -> None:
        # What waits for a peer that reads nothing is in one place, which has bounds.
        self._held_messages = 0
        if not self.closed and self.write_ready.is_set():
            self.flush_anyway()

    def flush_anyway(self) -> None:
        """Hands on what is to be sent, however much the transport holds by now."""
        if data := self._connection.data_to_send():
            self._transport.write(data)

    def flush_message(self) -> None:
        """Flushes, where several calls have just come on, a few messages of them together.

        Not all: the peer begins with the first ones while the last are made.
        """
        self._held_messages += 1
        if self.is_crowded and self._held_messages < _MAX_HELD_MESSAGES:
            self.flush_soon()
        else:
            self.flush()

    def flush_soon(self) -> None:
        """Flushes in the loop's next turn, after those who were woken in this one.

        What they send takes along what only acknowledges.
        """
        if self._connection.wants_write and not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush_due)

    def _flush_due(self) -> None:
        self._is_flush_due = False
        self.flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            super().close()
            on_close, self.on_close = self.on_close, None
            if on_close is not None:
                on_close()


class EventsProcessor(grpclib.protocol.EventsProcessor):
    """What becomes of the events of a connection."""

    connection: Connection
    processors: dict[Any, Any]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection.calls = self.streams
        self.processors = {
            Http2Event.REQUEST: self.process_request_received,
            Http2Event.RESPONSE: self.process_response_received,
            Http2Event.DATA: self.process_data_received,
            Http2Event.TRAILERS: self.process_trailers_received,
            Http2Event.ENDED: self.process_stream_ended,
            Http2Event.RESET: self.process_stream_reset,
            Http2Event.WRITABLE: self.process_window_updated,
            Http2Event.SETTINGS: self.process_remote_settings_changed,
            Http2Event.PONG: self.process_ping_ack_received,
            Http2Event.GO_AWAY: self.process_connection_terminated,
            Http2Event.FAILED: self.process_failure,
        }

    def process_all(self, events: Iterable[Any]) -> None:
        """Deals with ``events``, in their order."""
        for event in events:
            # After close() there are none left.
            if process := self.processors.get(event.kind):
                process(event)

    def register(self, stream: grpclib.protocol.Stream) -> Callable[[], None]:
        self.streams[cast("Stream", stream).id] = stream
        return partial(self.release, cast("Stream", stream))

    def release(self, stream: Stream) -> None:
        """Nobody wants anything of ``stream`` any more."""
        del self.streams[stream.id]
        # Whoever still waits to send on it finds out.
        stream.window_updated.set()
        self.connection.stream_close_waiter.set()
        self.connection.ack(stream.id, stream.buffer.unacked_size())

    def process_remote_settings_changed(self, event: Any) -> None:
        # More may be sent, and more streams opened, than before.
        for stream in self.streams.values():
            stream.window_updated.set()
        self.connection.stream_close_waiter.set()

    def process_connection_terminated(self, event: Any) -> None:
        """Lets the streams of a peer that goes away come to their ends; it will hang up."""

    def process_failure(self, event: Any) -> None:
        """Tells a peer what it did wrong, and closes the connection."""
        # Whoever waits to write goes on waiting, to be told why the connection is gone.
        self.connection.flush_anyway()
        self.close(f"the peer broke the HTTP/2 protocol: {event.reason}")


class Protocol(ReadingProtocol, grpclib.protocol.H2Protocol):
    """One connection, of either side.

    Args:
        connections: Holds this one from the moment it is made to the moment it is lost.
        arguments: H2Protocol's.

    Attributes:
        lost: Resolves, when the connection is lost, to what broke it; None for an orderly end.
    """

    processor_class: type[EventsProcessor]
    stream_class: type[Stream]
    transport: asyncio.Transport
    connection: Connection

    def __init__(self, connections: set[Protocol], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[BaseException | None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        connection: Any = new_connection(
            bool(self.h2_config.client_side),
            stream_window=self.config.http2_stream_window_size,
            connection_window=self.config.http2_connection_window_size,
        )
        self.connection = Connection(connection, self.transport, self.config, self.stream_class)
        self.processor: EventsProcessor = self.processor_class(self.handler, self.connection)
        self.connection.flush()
        self.connection.initialize()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.connection.closed:
            return
        events = self.connection.feed(data)
        self.connection.is_crowded = len(events) > _EVENTS_OF_A_CALL
        self.processor.process_all(events)
        self.connection.flush_soon()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        reason = "the connection was closed" if exc is None else f"the connection was lost: {exc}"
        self.processor.close(reason)
        if not self.lost.done():
            self.lost.set_result(exc)


async def wait_lost(connections: Sequence[Protocol]) -> None:
    """Waits until all of ``connections`` are lost, and cuts those that linger."""
    pending = [protocol.lost for protocol in connections if not protocol.lost.done()]
    if pending and (await asyncio.wait(pending, timeout=CLOSE_TIMEOUT))[1]:
        for protocol in connections:
            protocol.transport.abort()
        await asyncio.wait(pending)
