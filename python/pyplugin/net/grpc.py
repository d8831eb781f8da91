"""grpclib made fit for plugins: the one module that knows its private names.

What differs from stock grpclib, in channels and servers made here only:

* As many streams at once as the peer likes, and a connection window that a few hundred unread
  streams do not fill, so that neither a burst of calls nor a slow reader holds up a health check.
* A lost connection ends calls with a ``GRPCError`` of status ``UNAVAILABLE``, never with a bare
  ``StreamTerminatedError``, ``ConnectionRefusedError`` or a hang; calls whose answer is complete
  succeed. A stream that the peer reset ends with the status that gRPC assigns to its error code.
* A stream that ends without trailers, and an answer that cannot be read, are ``INTERNAL`` errors.
* An answer that comes before everything was sent stands, as does one beside a GOAWAY.
* A peer that says GOAWAY still answers the calls it has taken; the next call connects anew.
* Frames of unknown kinds do no harm, and an answer that is none ends its call with ``INTERNAL``.
* An unknown method is ``UNIMPLEMENTED``, to clients of any kind.
* A handler's exception becomes status ``UNKNOWN`` with the exception's text, and one log record.
* Closing a server or a channel closes its connections, and can be awaited.
* Both run over the streams of a multiplexed connection as well, TLS inside them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import types
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpclib.client
import grpclib.events
import grpclib.protocol
import grpclib.server
from google.protobuf.message import DecodeError
from grpclib.config import Configuration
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError, StreamClosedError, TooManyStreamsError

from .._compat import timeout
from .._rust import Http2Event
from ..constants import NETWORK_UNIX, TLS_SERVER_NAME
from ..errors import BrokerError, MuxError
from .buffer import Buffer
from .http2 import new_connection
from .threads import in_thread, is_blocking
from .transport import Address

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Coroutine,
        Generator,
        Iterator,
        Mapping,
        Sequence,
    )

    from grpclib.utils import Wrapper

    from .._rust import Http2Connection
    from .mux import MuxStream
    from .tasks import TaskScope
    from .tls import TLSTransport
    from .transport import Listener

    Open = Callable[[], Coroutine[Any, Any, MuxStream]]
    ErrorFactory = Callable[[], GRPCError]
    Explain = Callable[[str], Coroutine[Any, Any, ErrorFactory]]

_STREAM_WINDOW_BYTES = 4 * 2**20
_CONNECTION_WINDOW_BYTES = 2**31 - 1
# Longest status message sent: a header, which peers bound.
_MAX_STATUS_MESSAGE_CHARACTERS = 4096
# Longest message that is taken apart of a stream whose messages are short.
_MAX_ENCODED_BYTES = 16 * 2**20
# By how much the clocks of both sides may tell a call's deadline apart, in seconds.
_DEADLINES_APART = 0.05
# How long a closing connection may take to flush and to end TLS, in seconds.
_CLOSE_TIMEOUT = 1.0
# How long a client of a server may take to begin, in seconds.
_TLS_HANDSHAKE_TIMEOUT = 10.0

_CONFIGURATION = Configuration(
    http2_connection_window_size=_CONNECTION_WINDOW_BYTES,
    http2_stream_window_size=_STREAM_WINDOW_BYTES,
    ssl_target_name_override=TLS_SERVER_NAME,
)


def configured(options: object) -> Configuration:
    """How connections are made: ``options``, where they are a ``Configuration``, over our own.

    What has grpclib's default in them was not set.
    """
    if not isinstance(options, Configuration):
        return _CONFIGURATION
    changed = {
        field.name: value
        for field in dataclasses.fields(options)
        if (value := getattr(options, field.name)) != field.default
    }
    return dataclasses.replace(_CONFIGURATION, **changed)


_ERROR_CODES = frozenset(ErrorCodes)
# gRPC over HTTP/2, "Errors": what the code of a RST_STREAM means for the call
_STATUS_OF_RESET = {
    ErrorCodes.REFUSED_STREAM: Status.UNAVAILABLE,
    ErrorCodes.CANCEL: Status.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: Status.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: Status.PERMISSION_DENIED,
}


class _StreamReset(GRPCError, StreamTerminatedError):
    """The peer reset one stream. Also the class that stock grpclib raises for it."""


# What sending on a stream raises when the call or the connection is over.
CALL_ERRORS = (GRPCError, StreamTerminatedError, H2Error)


class _Stream(grpclib.protocol.Stream):
    """A stream that hands on a message as a whole, and not frame by frame."""

    id: int
    connection: _Connection
    _h2_connection: Http2Connection  # type: ignore[assignment]  # in the place of h2's
    buffer: Buffer  # type: ignore[assignment]  # in the place of grpclib's

    def init_stream(self, stream_id: int, connection: grpclib.protocol.Connection) -> None:
        self.id = stream_id
        self.buffer = Buffer(partial(connection.ack, stream_id))

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        start = 0
        while True:
            await self.connection.room()
            sent = self._h2_connection.send_data(self.id, data, end_stream, start=start)
            # Else there are no keepalive pings after the first ones.
            self.connection.data_send_process()
            start += sent
            if start == len(data):
                self._let_go()
                return
            self.connection.flush()
            if not sent:
                self.window_updated.clear()
                await self.window_updated.wait()

    def _let_go(self) -> None:
        self.connection.flush()

    @property
    def closable(self) -> bool:
        return not self._transport.is_closing() and self._h2_connection.is_open(self.id)


class _ServerStream(_Stream):
    """A stream whose answer leaves at once, where its handler does not wait in between.

    Attributes:
        task: What handles the call, and calls ``flush`` before it waits for anything.
        is_unary: Whether the answer is one message, which is of no use without its status.
        is_answered: Whether the answer is complete.
    """

    task: asyncio.Task[Any] | None = None
    is_unary = False
    is_answered = False

    async def send_headers(self, headers: Any, end_stream: bool = False) -> None:
        await self.connection.room()
        self._h2_connection.send_headers(self.id, headers, end_stream)
        self.is_answered = end_stream
        if end_stream or asyncio.current_task() is not self.task:
            self.connection.flush()

    def _let_go(self) -> None:
        if not self.is_unary or asyncio.current_task() is not self.task:
            self.connection.flush()


class _ClientStream(_Stream):
    """A call's stream that a peer may end, with an answer, before everything was sent."""

    async def send_request(
        self,
        headers: Any,
        end_stream: bool = False,
        *,
        _processor: grpclib.protocol.EventsProcessor,
    ) -> Callable[[], None]:
        while True:
            await self.connection.room()
            if self.connection.closed:
                raise GRPCError(Status.UNAVAILABLE, "the connection was lost before the call")
            try:
                stream_id = self._h2_connection.get_next_available_stream_id()
                self._h2_connection.send_headers(stream_id, headers, end_stream)
            except TooManyStreamsError:
                self.connection.stream_close_waiter.clear()
                await self.connection.stream_close_waiter.wait()
                continue
            except ProtocolError as error:
                # The peer has gone away while this call waited, or every stream id was used.
                self.connection.waiting.discard(self)
                reason = f"the connection takes no more calls: {error}"
                cast("_ClientEventsProcessor", _processor).drain(reason)
                raise GRPCError(Status.UNAVAILABLE, reason) from error
            self.init_stream(stream_id, self.connection)
            release = _processor.register(self)
            # A message that follows takes it along.
            if not hasattr(self.wrapper, "has_message"):
                self.connection.flush()
            return release

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        try:
            await super().send_data(data, end_stream)
        except H2Error as error:
            self._ended_early(error)

    async def end(self) -> None:
        assert self.wrapper is not None
        with self.wrapper:
            try:
                await super().end()
            except H2Error as error:
                self._ended_early(error)

    async def reset(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        with contextlib.suppress(StreamClosedError):
            await super().reset(error_code)

    def give_up(self) -> None:
        """Lets whoever waits to send find out that nothing more is wanted."""
        with contextlib.suppress(H2Error):
            self._h2_connection.reset_stream(self.id)
        self.connection.resume_writing()
        self.window_updated.set()

    def _ended_early(self, error: H2Error) -> None:
        # RFC 9113 §8.1: a complete answer stands, and what was still to be sent is not wanted.
        if not _succeeded(self):
            raise _StreamReset(Status.UNAVAILABLE, f"the stream has ended: {error}") from error


class _Connection(grpclib.protocol.Connection):
    """A connection that may still be used, to no effect, after it was closed.

    Attributes:
        waiting: Streams of calls that wait for their turn to be opened.
        calls: Streams of those that are under way, by their numbers.
        on_close: What else is to be done when grpclib closes it, to whose ping no answer came.
    """

    closed: bool = False
    on_close: Callable[[], object] | None = None

    def __init__(
        self, connection: Any, transport: asyncio.Transport, config: Configuration
    ) -> None:
        # grpclib would ask h2's streams whether there are calls.
        any_time = dataclasses.replace(config, _keepalive_permit_without_calls=True)
        super().__init__(connection, transport, config=any_time)
        self._pings_without_calls = config._keepalive_permit_without_calls
        self.calls: Mapping[int, grpclib.protocol.Stream] = {}
        self.waiting: weakref.WeakSet[grpclib.protocol.Stream] = weakref.WeakSet()

    def create_stream(
        self, *, stream_id: int | None = None, wrapper: Wrapper | None = None
    ) -> grpclib.protocol.Stream:
        if self.closed:
            raise GRPCError(Status.UNAVAILABLE, "the connection was lost at once")
        if wrapper is None:
            return _ServerStream(self, self._connection, self._transport, stream_id=stream_id)
        stream = _ClientStream(self, self._connection, self._transport, wrapper=wrapper)
        self.waiting.add(stream)
        return stream

    def _is_need_send_ping(self) -> bool:
        is_wanted = self._pings_without_calls or bool(self.calls)
        return is_wanted and super()._is_need_send_ping()

    async def room(self) -> None:
        """Waits until more may be written; others that waited may have written since."""
        while not self.write_ready.is_set():
            await self.write_ready.wait()

    def ack(self, stream_id: int, size: int) -> None:
        # What broke the connection may have come at once with the data, and is dealt with next.
        if not self.closed:
            with contextlib.suppress(ProtocolError):
                super().ack(stream_id, size)

    def flush(self) -> None:
        # What waits for a peer that reads nothing is in one place, which has bounds.
        if not self.closed and self.write_ready.is_set():
            super().flush()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            super().close()
            on_close, self.on_close = self.on_close, None
            if on_close is not None:
                on_close()


class _EventsProcessor(grpclib.protocol.EventsProcessor):
    connection: _Connection

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.connection.calls = self.streams
        self.processors: dict[Any, Any] = {
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

    def process(self, event: Any) -> None:
        # After close() there are none left.
        if process := self.processors.get(event.kind):
            process(event)

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
        grpclib.protocol.Connection.flush(self.connection)
        self.close(f"the peer broke the HTTP/2 protocol: {event.reason}")


class _ServerEventsProcessor(_EventsProcessor):
    def close(self, reason: str = "Connection closed") -> None:
        if cast("_ServerHandler", self.handler).closing:
            # Its calls were cancelled before, and once is enough: they may be cleaning up.
            self.connection.close()
        else:
            super().close(reason)
        # Handlers that clean up may send, to no effect, and do not wait for a peer that is gone.
        self.connection.resume_writing()
        self.processors = {}


class _ClientEventsProcessor(_EventsProcessor):
    """Ends the calls of a lost connection in the way that callers of gRPC expect."""

    fail: Callable[[list[grpclib.protocol.Stream], str], None]
    draining = False
    is_closed = False

    def register(self, stream: grpclib.protocol.Stream) -> Callable[[], None]:
        self.connection.waiting.discard(stream)
        release = super().register(stream)

        def release_and_close() -> None:
            release()
            if self.draining and not self.streams:
                self.close("the peer went away")

        return release_and_close

    def drain(self, reason: str) -> None:
        """Lets the next call connect anew, and closes when no call is left."""
        self.handler.close()
        self.draining = True
        if not self.streams:
            self.close(reason)

    def close(self, reason: str = "Connection closed") -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.connection.close()
        self.handler.close()
        self.processors = {}
        ended = []
        for stream in self.streams.values():
            if _succeeded(stream):
                cast("_ClientStream", stream).give_up()
            else:
                ended.append(stream)
        self.fail([*ended, *self.connection.waiting], reason)

    def process_stream_ended(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and stream.trailers is None and _final_status(stream) is None:
            # grpclib would wait for them for ever.
            status = str(Status.INTERNAL.value)
            text = "the peer ended the stream without trailers"
            stream.trailers = [("grpc-status", status), ("grpc-message", text)]
            stream.trailers_received.set()
        super().process_stream_ended(event)

    def process_connection_terminated(self, event: Any) -> None:
        # RFC 9113 §6.8: streams above the last id were not processed.
        last = event.last_stream_id or 0
        unprocessed = [stream for number, stream in self.streams.items() if number > last]
        reason = f"the peer went away, HTTP/2 error code {event.error_code}"
        self.fail([*unprocessed, *self.connection.waiting], reason)
        self.drain(reason)

    def process_stream_reset(self, event: Any) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is not None and _succeeded(stream):
            # It wants no more of what this side sends; whoever waits to send finds out.
            stream.window_updated.set()
        elif stream is not None:
            code = event.error_code
            status = _STATUS_OF_RESET.get(code, Status.INTERNAL)
            name = ErrorCodes(code).name if code in _ERROR_CODES else code
            verb = "reset the stream" if event.remote_reset else "broke HTTP/2 on the stream"
            _terminate(stream, _StreamReset(status, f"the peer {verb}: {name}"))
        self.connection.streams_failed += 1


class _Protocol(grpclib.protocol.H2Protocol):
    """One connection, of either side.

    Args:
        connections: Holds this one from the moment it is made to the moment it is lost.
        arguments: H2Protocol's.

    Attributes:
        lost: Resolves, when the connection is lost, to what broke it; None for an orderly end.
    """

    processor_class: type[_EventsProcessor]
    transport: asyncio.Transport
    connection: _Connection

    def __init__(self, connections: set[_Protocol], *arguments: Any) -> None:
        super().__init__(*arguments)
        self._connections = connections
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        connection: Any = new_connection(
            bool(self.h2_config.client_side),
            stream_window=self.config.http2_stream_window_size,
            connection_window=self.config.http2_connection_window_size,
        )
        self.connection = _Connection(connection, self.transport, self.config)
        self.processor: _EventsProcessor = self.processor_class(self.handler, self.connection)
        self.connection.flush()
        self.connection.initialize()
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        if self.connection.closed:
            return
        process = self.processor.process
        for event in self.connection.feed(data):
            process(event)
        self.connection.flush()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.connection.flush()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        reason = "the connection was closed" if exc is None else f"the connection was lost: {exc}"
        self.processor.close(reason)
        if not self.lost.done():
            self.lost.set_result(exc)


class _ClientProtocol(_Protocol):
    processor_class: type[_EventsProcessor] = _ClientEventsProcessor

    def __init__(self, channel: PluginChannel, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._channel = channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        processor = cast("_ClientEventsProcessor", self.processor)
        processor.fail = self._channel.fail_calls
        self.connection.on_close = partial(
            processor.close, "the peer did not answer a keepalive ping"
        )
        self._channel.live = self


class _ServerProtocol(_Protocol):
    processor_class: type[_EventsProcessor] = _ServerEventsProcessor

    def __init__(self, server: PluginServer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.is_closed:
            # It was accepted before, and its TLS handshake took until now.
            self.processor.close("the server was closed")


class _ServerHandler(grpclib.server.Handler):
    """The calls of one connection to a server."""

    def accept(
        self,
        stream: grpclib.protocol.Stream,
        headers: Any,
        release_stream: Callable[[], Any],
    ) -> None:
        is_released = False

        def release() -> None:
            nonlocal is_released
            if not is_released:
                is_released = True
                release_stream()

        super().accept(stream, headers, release)

        def end(_: asyncio.Task[None]) -> None:
            # A task that is cancelled before it began never comes to its own release.
            release()
            # grpclib leaves a request with metadata that is none without an answer.
            if not (self.closing or cast("_ServerStream", stream).is_answered) and stream.closable:
                stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)

        self._tasks[stream].add_done_callback(end)
        if self.closing:
            # It came on a connection that is about to be closed, and nobody would cancel it later.
            self._tasks[stream].cancel()
            self._cancelled.add(self._tasks[stream])

    def close(self) -> None:
        if not self.closing:
            super().close()


# What grpclib raises for an answer that lacks its status, is cut, compressed or of another type.
_UNREADABLE = (AssertionError, DecodeError, KeyError, NotImplementedError, ValueError)


class _Call(grpclib.client.Stream[Any, Any]):
    """A call whose request leaves with its first message, and whose answer may be anything."""

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        vars(self._wrapper)["has_message"] = True
        await super().send_message(message, end=end)

    async def recv_initial_metadata(self) -> None:
        with _readable():
            await super().recv_initial_metadata()

    async def recv_message(self) -> Any:
        with _readable():
            message = await super().recv_message()
        is_due = self._cardinality is Cardinality.UNARY_UNARY and not self._messages_received
        if message is None and is_due:
            await self._maybe_finish()
            raise GRPCError(Status.INTERNAL, "the peer's answer has no message")
        return message

    async def recv_trailing_metadata(self) -> None:
        with _readable():
            await super().recv_trailing_metadata()

    def _raise_for_grpc_status(self, status: Status, message: str | None, details: Any) -> None:
        # The peer's clock may win over this side's own by a moment.
        is_late = self._deadline and self._deadline.time_remaining() < _DEADLINES_APART
        if status is Status.DEADLINE_EXCEEDED and is_late:
            raise asyncio.TimeoutError("Deadline exceeded")
        super()._raise_for_grpc_status(status, message, details)


@contextlib.contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        reason = f"the peer's answer cannot be read: {error!r}"
        raise GRPCError(Status.INTERNAL, reason) from error


class PluginChannel(grpclib.client.Channel):
    """A grpclib channel with this module's behaviour.

    Args:
        target: The address to connect to, or what opens a stream of a multiplexed connection.
        tls: Secures the connection; None leaves it in the clear.
        tasks: Owns what finds out why a connection is gone.
        configuration: What ``configured`` gave.

    Attributes:
        explain: Finds out, given a short reason, why the connection is gone; returns what makes the
            error for each call. None until the owner can tell: then the reason is the error's text.
        live: The newest connection, lost or not.
        owner: What it belongs to, for the error of a call after ``close()``.
    """

    owner = "the channel"

    def __init__(
        self,
        target: Address | Open,
        *,
        tls: ssl.SSLContext | None,
        tasks: TaskScope,
        configuration: Configuration = _CONFIGURATION,
    ) -> None:
        self._open = None if isinstance(target, Address) else target
        if not isinstance(target, Address):
            super().__init__(ssl=tls, config=configuration)
        elif target.network == NETWORK_UNIX:
            super().__init__(path=target.address, ssl=tls, config=configuration)
        else:
            host, port = target.host_and_port()
            super().__init__(host, port, ssl=tls, config=configuration)
        self.explain: Explain | None = None
        self._tasks = tasks
        self._is_closed = False
        self.live: _ClientProtocol | None = None
        # More than one while calls of an older connection come to their end.
        self._connections: set[_Protocol] = set()

    def request(self, *arguments: Any, **options: Any) -> grpclib.client.Stream[Any, Any]:
        """A call, of which stubs are made."""
        call = super().request(*arguments, **options)
        call.__class__ = _Call
        return call

    async def connect(self) -> None:
        """Connects, TLS included, unless it is connected.

        Raises:
            GRPCError: ``UNAVAILABLE``; its ``__cause__`` is the ``OSError`` or ``ssl.SSLError``.
        """
        await self.__connect__()

    def loss(self) -> BaseException | None:
        """What broke the newest connection, where that is known."""
        if self.live is None or not self.live.lost.done():
            return None
        return self.live.lost.result()

    def close(self) -> None:
        """Closes the connection for good; calls in flight end with ``UNAVAILABLE``."""
        self._is_closed = True
        super().close()
        for protocol in list(self._connections):
            protocol.processor.close()

    async def wait_closed(self) -> None:
        """Waits until the connection has been closed, after ``close()``; at most a second."""
        await _wait_lost(list(self._connections))

    def fail_calls(self, streams: list[grpclib.protocol.Stream], reason: str) -> None:
        """Ends the calls on ``streams``, whose connection is gone."""
        if not streams:
            return
        if self.explain is None or self._is_closed:
            error = self._unavailable(reason)
            for stream in streams:
                _terminate(stream, error())
            return
        unexplained = self._unavailable(reason)

        def terminate(task: asyncio.Task[ErrorFactory]) -> None:
            is_explained = not task.cancelled() and task.exception() is None
            error = task.result() if is_explained else unexplained
            for stream in streams:
                _terminate(stream, error())

        # In a callback, since a task that is cancelled before it began runs no code of its own.
        task = self._tasks.spawn(self.explain(reason), "explain a lost connection")
        task.add_done_callback(terminate)

    def _protocol_factory(self) -> _ClientProtocol:
        return _ClientProtocol(
            self, self._connections, grpclib.client.Handler(), self._config, self._h2_config
        )

    async def _create_connection(self) -> grpclib.protocol.H2Protocol:
        if self._is_closed:
            raise self._unavailable("")()
        try:
            if self._open is None:
                protocol = await super()._create_connection()
            else:
                protocol = await self._connect_stream(await self._open())
        except (OSError, ValueError, BrokerError, MuxError) as error:
            # ValueError: a host name that cannot be looked up.
            reason = f"cannot connect: {error}"
            if self.explain is None:
                raise self._unavailable(reason)() from error
            raise (await self.explain(reason))() from error
        if self._is_closed:
            protocol.processor.close()
            raise self._unavailable("")()
        return protocol

    async def _connect_stream(self, stream: MuxStream) -> grpclib.protocol.H2Protocol:
        protocol = self._protocol_factory()
        if self._ssl is None:
            stream.start(protocol)
            return protocol
        from .tls import TLSTransport

        try:
            secured = TLSTransport(
                protocol,
                self._ssl,
                server_hostname=self._config.ssl_target_name_override,
                handshake_timeout=_TLS_HANDSHAKE_TIMEOUT,
            )
            stream.start(secured)
            await secured.ready
        except BaseException:
            stream.abort()
            raise
        return protocol

    def _unavailable(self, reason: str) -> ErrorFactory:
        if self._is_closed:
            reason = f"{self.owner} was closed: make a new one"
        return lambda: GRPCError(Status.UNAVAILABLE, reason)


class _NoListener:
    """What stands for asyncio's server where streams are the connections."""

    def close(self) -> None:
        """There is nothing to close."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class _Methods(dict[str, Handler]):
    """The methods of a server by path, with an answer for those it does not have.

    grpclib's own lacks a content type, so that clients take it for no answer of gRPC at all.
    """

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(path) or Handler(
            partial(self._refuse, path), Cardinality.STREAM_STREAM, object, object
        )

    async def _refuse(self, path: str, _: grpclib.server.Stream[Any, Any]) -> None:
        raise GRPCError(
            Status.UNIMPLEMENTED, f"unknown method {path}: none of the servicers here has it"
        )


def _asynchronous(handler: Handler, logger: logging.Logger) -> Handler:
    if not is_blocking(handler.func):
        return handler
    return handler._replace(func=in_thread(handler.func, handler.cardinality, logger))


class PluginServer(grpclib.server.Server):
    """A grpclib server with this module's behaviour.

    Args:
        handlers: The servicers. Their methods are coroutine functions, as grpclib's, or run in
            threads, see ``in_thread``.
        logger: Where exceptions of handlers are logged.
        configuration: What ``configured`` gave.

    Attributes:
        is_closed: Whether ``close()`` was called.
    """

    is_closed: bool = False

    def __init__(
        self,
        handlers: Collection[Any],
        *,
        logger: logging.Logger,
        configuration: Configuration = _CONFIGURATION,
    ) -> None:
        super().__init__(handlers, config=configuration)
        self._mapping = _Methods(
            (path, _asynchronous(handler, logger)) for path, handler in self._mapping.items()
        )
        self._logger = logger
        self._connections: set[_Protocol] = set()
        self._securing: set[TLSTransport] = set()
        self._on_close: Callable[[], object] = lambda: None
        grpclib.events.listen(self, grpclib.events.RecvRequest, self._on_request)

    async def serve_on(self, listener: Listener, *, tls: ssl.SSLContext | None) -> None:
        """Serves on ``listener``, which it closes at ``close()``."""
        if listener.address.network == NETWORK_UNIX:
            create: Any = self._loop.create_unix_server
        else:
            create = self._loop.create_server
        self._server = await create(
            self._protocol_factory,
            sock=listener.sock,
            ssl=tls,
            ssl_handshake_timeout=_TLS_HANDSHAKE_TIMEOUT if tls else None,
        )
        self._server_closed_fut = self._loop.create_future()
        self._on_close = listener.close

    def serve_streams(self, *, tls: ssl.SSLContext | None, on_close: Callable[[], object]) -> None:
        """Serves what is handed to ``accept()``; calls ``on_close`` at ``close()``."""
        self._server = cast("asyncio.AbstractServer", _NoListener())
        self._server_closed_fut = self._loop.create_future()
        self._tls = tls
        self._on_close = on_close

    def accept(self, stream: MuxStream) -> None:
        """Serves one more connection, a stream."""
        if self.is_closed:
            stream.abort()
            return
        protocol = self._protocol_factory()
        if self._tls is None:
            stream.start(protocol)
            return
        from .tls import TLSTransport

        secured = TLSTransport(
            protocol, self._tls, server_hostname=None, handshake_timeout=_TLS_HANDSHAKE_TIMEOUT
        )
        self._securing.add(secured)
        secured.ready.add_done_callback(lambda _: self._securing.discard(secured))
        stream.start(secured)

    def close(self) -> None:
        """Stops listening, removes the socket's file and cancels the handlers."""
        self.is_closed = True
        super().close()
        self._on_close()
        for secured in list(self._securing):
            secured.abort()

    async def wait_closed(self) -> None:
        """Waits, after ``close()``, for handlers to end and connections to close.

        Handlers that do not end within a second of their cancellation are left behind, connections
        that do not are cut.
        """
        if self._server is None or self._server_closed_fut is None:
            raise RuntimeError("Server is not started")
        await self._server_closed_fut
        cancelled = {task for handler in self._handlers for task in handler._cancelled}
        if cancelled:
            _, stuck = await asyncio.wait(cancelled, timeout=_CLOSE_TIMEOUT)
            for task in stuck:
                self._logger.warning("a handler ignores its cancellation: %r", task.get_coro())
        connections = list(self._connections)
        for protocol in connections:
            protocol.processor.close("the server was closed")
        await _wait_lost(connections)
        # From 3.12 on this waits for clients too, and there may be some that never began TLS.
        if hasattr(self._server, "abort_clients"):
            self._server.abort_clients()
        with contextlib.suppress(TimeoutError):
            async with timeout(_CLOSE_TIMEOUT):
                await self._server.wait_closed()

    def _protocol_factory(self) -> _ServerProtocol:
        handler = _ServerHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        self.__gc_step__()
        self._handlers.add(handler)
        return _ServerProtocol(self, self._connections, handler, self._config, self._h2_config)

    async def _on_request(self, event: grpclib.events.RecvRequest) -> None:
        # The event itself would hold what holds it.
        handle, name = event.method_func, event.method_name

        async def handle_and_report(stream: grpclib.server.Stream[Any, Any]) -> None:
            protocol_stream = cast("_ServerStream", stream._stream)
            protocol_stream.task = asyncio.current_task()
            protocol_stream.is_unary = not stream._cardinality.server_streaming
            try:
                await _flushing(handle(stream), protocol_stream.connection.flush)
            except GRPCError:
                raise
            except H2Error as error:
                # The peer is gone or cancelled the call; nobody is there to be told.
                raise GRPCError(Status.CANCELLED, str(error)) from error
            except Exception as error:
                self._logger.exception("%s raised", name)
                raise GRPCError(Status.UNKNOWN, _status_message(error)) from error
            if _has_no_answer(stream):
                text = (
                    f"{name} returned without sending a message: it must "
                    "`await stream.send_message(...)`"
                )
                self._logger.error("%s", text)
                raise GRPCError(Status.UNKNOWN, text)

        event.method_func = handle_and_report


@types.coroutine
def _flushing(
    work: Coroutine[Any, Any, None], flush: Callable[[], None]
) -> Generator[Any, Any, None]:
    """Awaits ``work``, and calls ``flush`` whenever that is about to wait for something."""
    step: Callable[[Any], Any] = work.send
    argument: Any = None
    while True:
        try:
            awaited = step(argument)
        except StopIteration:
            return
        flush()
        try:
            argument = yield awaited
            step = work.send
        except BaseException as error:
            step, argument = work.throw, error


async def read_encoded(stream: grpclib.client.Stream[Any, Any]) -> AsyncIterator[list[bytes]]:
    """The messages of an answer, encoded, each time as many as have come.

    Raises:
        GRPCError: The call ended with a status that is not OK, or a message is too long.
    """
    await stream.recv_initial_metadata()
    buffer = cast("_ClientStream", stream._stream).buffer
    rest = b""
    too_long: GRPCError | None = None
    while True:
        with stream._wrapper:
            data = await buffer.read_some()
        if not data:
            break
        data = rest + data
        messages, start = [], 0
        while (begin := start + 5) <= len(data):
            size = int.from_bytes(data[start + 1 : begin], "big")
            if size > _MAX_ENCODED_BYTES:
                too_long = GRPCError(Status.RESOURCE_EXHAUSTED, f"a message has {size} bytes")
                break
            end = begin + size
            if end > len(data):
                break
            messages.append(data[begin:end])
            start = end
        rest = data[start:]
        if messages:
            yield messages
        if too_long:
            raise too_long
    await stream.recv_trailing_metadata()


async def send_encoded(stream: grpclib.server.Stream[Any, Any], messages: bytes) -> None:
    """Sends messages of a server stream that are encoded, each with its head, already."""
    if not stream._send_initial_metadata_done:
        await stream.send_initial_metadata()
    await stream._stream.send_data(messages)


def _status_message(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = text[:_MAX_STATUS_MESSAGE_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()


def _has_no_answer(stream: grpclib.server.Stream[Any, Any]) -> bool:
    return not (
        stream._cardinality.server_streaming
        or stream._send_message_done
        or stream._send_trailing_metadata_done
        or stream._cancel_done
    )


def _final_status(stream: grpclib.protocol.Stream) -> str | None:
    """The ``grpc-status`` that has arrived, None while there is none."""
    for headers in (stream.trailers, stream.headers):
        for name, value in headers or ():
            if name == "grpc-status":
                return value
    return None


def _succeeded(stream: grpclib.protocol.Stream) -> bool:
    return _final_status(stream) == "0"


def _terminate(stream: grpclib.protocol.Stream, error: GRPCError) -> None:
    if _final_status(stream) is not None and not isinstance(error, StreamTerminatedError):
        # With this class grpclib raises the status that the peer sent before it went away.
        stream.__terminated__(str(error.message))
    elif stream.wrapper is not None:
        stream.wrapper.cancel(error)


async def _wait_lost(connections: Sequence[_Protocol]) -> None:
    """Waits until all of ``connections`` are lost, and cuts those that linger."""
    pending = [protocol.lost for protocol in connections if not protocol.lost.done()]
    if pending and (await asyncio.wait(pending, timeout=_CLOSE_TIMEOUT))[1]:
        for protocol in connections:
            protocol.transport.abort()
        await asyncio.wait(pending)
