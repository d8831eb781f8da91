"""A server: the calls that others make."""

from __future__ import annotations

import asyncio
import contextlib
import time
import types
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import grpclib.events
import grpclib.protocol
import grpclib.server
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import decode_metadata
from grpclib.utils import Wrapper
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from ..._compat import timeout
from ...constants import NETWORK_UNIX
from ..tasks import new_task
from ..threads import in_thread, is_blocking
from .connection import (
    CLOSE_TIMEOUT,
    CONFIGURATION,
    TLS_HANDSHAKE_TIMEOUT,
    EventsProcessor,
    Protocol,
    Stream,
    encoded,
    wait_lost,
)

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import (
        Callable,
        Collection,
        Coroutine,
        Generator,
    )

    from grpclib.config import Configuration

    from ..mux import MuxStream
    from ..tls import TLSTransport
    from ..transport import Listener

# Longest status message sent: a header, which peers bound.
_MAX_STATUS_MESSAGE_CHARACTERS = 4096


class _ServerStream(Stream):
    """A stream whose answer leaves at once, where its handler does not wait in between.

    Attributes:
        is_unary: Whether the answer is one message, which is of no use without its status.
        is_answered: Whether the answer is complete.
        is_handled: Whether the handler runs at this moment; it flushes before it waits.
    """

    is_unary = False
    is_answered = False
    is_handled = False

    async def send_headers(self, headers: Any, end_stream: bool = False) -> None:
        if not self.connection.write_ready.is_set():
            await self.connection.room()
        self._h2_connection.send_headers(self.id, headers, end_stream)
        self.is_answered = end_stream
        if end_stream:
            self.connection.flush_message()
        elif not self.is_handled:
            self.connection.flush()

    def _let_go(self) -> None:
        if not (self.is_unary and self.is_handled):
            super()._let_go()


class _ServerEventsProcessor(EventsProcessor):
    def close(self, reason: str = "Connection closed") -> None:
        if cast("_ServerHandler", self.handler).closing:
            # Its calls were cancelled before, and once is enough: they may be cleaning up.
            self.connection.close()
        else:
            super().close(reason)
        # Handlers that clean up may send, to no effect, and do not wait for a peer that is gone.
        self.connection.resume_writing()
        self.processors = {}


class _ServerProtocol(Protocol):
    processor_class = _ServerEventsProcessor
    stream_class = _ServerStream

    def __init__(self, server: PluginServer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.is_closed:
            # It was accepted before, and its TLS handshake took until now.
            self.processor.close("the server was closed")


_HEADERS = [(":status", "200"), ("content-type", "application/grpc+proto")]
_TRAILERS = [("grpc-status", "0")]


class _ServerCall(grpclib.server.Stream[Any, Any]):
    """A call as its handler has it. What almost every call does takes a short way."""

    _stream: _ServerStream

    async def recv_message(self) -> Any:
        buffer = self._stream.buffer
        if (data := buffer.take_message()) is None and (
            data := await buffer.read_message()
        ) is None:
            return None
        message = self._codec.decode(data, self._recv_type)
        if self._dispatch._listeners:
            (message,) = await self._dispatch.recv_message(message)
        self._messages_received += 1
        self._stream.connection.messages_received += 1
        self._stream.connection.last_message_received = time.monotonic()
        return message

    async def send_initial_metadata(self, *, metadata: Any = None) -> None:
        if metadata or self._send_initial_metadata_done or self._dispatch._listeners:
            await super().send_initial_metadata(metadata=metadata)
        else:
            await self._stream.send_headers(_HEADERS)
            self._send_initial_metadata_done = True

    async def send_message(self, message: Any) -> None:
        is_second = self._send_message_done and not self._cardinality.server_streaming
        if self._dispatch._listeners or is_second:
            await super().send_message(message)
            return
        if not self._send_initial_metadata_done:
            await self.send_initial_metadata()
        await self._stream.send_data(encoded(self._codec.encode(message, self._send_type)))
        self._send_message_done = True
        self._messages_sent += 1
        self._stream.connection.messages_sent += 1
        self._stream.connection.last_message_sent = time.monotonic()

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Any = None,
    ) -> None:
        is_usual = (
            status is Status.OK
            and self._send_initial_metadata_done
            and (self._send_message_done or self._cardinality.server_streaming)
            and not self._send_trailing_metadata_done
        )
        if (
            status_message
            or status_details
            or metadata
            or self._dispatch._listeners
            or not is_usual
        ):
            await super().send_trailing_metadata(
                status=status,
                status_message=status_message,
                status_details=status_details,
                metadata=metadata,
            )
        else:
            await self._stream.send_headers(_TRAILERS, end_stream=True)
            self._send_trailing_metadata_done = True


# How many different requests without anything of their own are remembered of a connection, and how
# long their headers may be.
_MAX_KNOWN = 256
_MAX_KNOWN_CHARACTERS = 1024
_PLAIN_FIELDS = {"te", "content-type", "user-agent"}


class _Request(NamedTuple):
    """A request with nothing of its own: neither metadata nor a deadline."""

    path: str
    method: Handler
    user_agent: str | None


class _ServerHandler(grpclib.server.Handler):
    """The calls of one connection to a server."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._releases: dict[grpclib.protocol.Stream, Callable[[], Any]] = {}
        self._known: dict[tuple[tuple[str, str], ...], _Request] = {}

    def accept(
        self,
        stream: grpclib.protocol.Stream,
        headers: Any,
        release_stream: Callable[[], Any],
    ) -> None:
        self._releases[stream] = release_stream
        self._tasks[stream] = new_task(self._handle(cast("_ServerStream", stream), headers))
        if self.closing:
            # It came on a connection that is about to be closed, and nobody would cancel it later.
            self.cancel(stream)

    async def _handle(self, stream: _ServerStream, headers: Any) -> None:
        try:
            request = None if self.dispatch._listeners else self._usual(tuple(headers))
            if request is None:
                await grpclib.server.request_handler(
                    self.mapping,
                    stream,
                    headers,
                    self.codec,
                    self.status_details_codec,
                    self.dispatch,
                    lambda: None,
                )
            else:
                await self._answer(stream, request)
        finally:
            self._end(stream)

    def _usual(self, headers: tuple[tuple[str, str], ...]) -> _Request | None:
        try:
            return self._known[headers]
        except KeyError:
            request = self._examined(dict(headers))
            size = sum(len(name) + len(value) for name, value in headers)
            if request and len(self._known) < _MAX_KNOWN and size < _MAX_KNOWN_CHARACTERS:
                self._known[headers] = request
            return request

    def _examined(self, fields: dict[str, str]) -> _Request | None:
        path = fields.get(":path", "")
        is_plain = (
            fields.get(":method") == "POST"
            and fields.get("te") == "trailers"
            and fields.get("content-type") in ("application/grpc", "application/grpc+proto")
            and "grpc-timeout" not in fields
            and all(name.startswith((":", "grpc-")) or name in _PLAIN_FIELDS for name in fields)
        )
        if not is_plain or path not in self.mapping:
            return None
        return _Request(path, self.mapping[path], fields.get("user-agent"))

    async def _answer(self, stream: _ServerStream, request: _Request) -> None:
        path, method, user_agent = request
        call = _ServerCall(
            stream,
            path,
            method.cardinality,
            method.request_type,
            method.reply_type,
            codec=self.codec,
            status_details_codec=self.status_details_codec,
            dispatch=self.dispatch,
            user_agent=user_agent,
        )
        call.metadata = decode_metadata(())
        stream.wrapper = Wrapper()
        try:
            async with call:
                with stream.wrapper:
                    await method.func(call)
        except Exception:
            grpclib.server.log.exception("cannot answer")

    def cancel(self, stream: grpclib.protocol.Stream) -> None:
        task = self._tasks[stream]

        def end(_: asyncio.Task[None]) -> None:
            self._cancelled.discard(task)
            # A task that is cancelled before it began never comes to its own end.
            self._end(cast("_ServerStream", stream))

        task.add_done_callback(end)
        super().cancel(stream)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            for stream in list(self._tasks):
                self.cancel(stream)

    def _end(self, stream: _ServerStream) -> None:
        self._tasks.pop(stream, None)
        if (release := self._releases.pop(stream, None)) is None:
            return
        release()
        # grpclib leaves a request with metadata that is none without an answer.
        if not (stream.is_answered or self.closing) and stream.closable:
            stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)


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
        configuration: Configuration = CONFIGURATION,
    ) -> None:
        super().__init__(handlers, config=configuration)
        self._mapping = _Methods(
            (path, _reporting(path, handler, logger)) for path, handler in self._mapping.items()
        )
        self._logger = logger
        self._connections: set[Protocol] = set()
        self._securing: set[TLSTransport] = set()
        self._on_close: Callable[[], object] = lambda: None

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
            ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT if tls else None,
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
        from ..tls import TLSTransport

        secured = TLSTransport(
            protocol, self._tls, server_hostname=None, handshake_timeout=TLS_HANDSHAKE_TIMEOUT
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
            _, stuck = await asyncio.wait(cancelled, timeout=CLOSE_TIMEOUT)
            for task in stuck:
                self._logger.warning("a handler ignores its cancellation: %r", task.get_coro())
        connections = list(self._connections)
        for protocol in connections:
            protocol.processor.close("the server was closed")
        await wait_lost(connections)
        # From 3.12 on this waits for clients too, and there may be some that never began TLS.
        if hasattr(self._server, "abort_clients"):
            self._server.abort_clients()
        with contextlib.suppress(TimeoutError):
            async with timeout(CLOSE_TIMEOUT):
                await self._server.wait_closed()

    def _protocol_factory(self) -> _ServerProtocol:
        handler = _ServerHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        self.__gc_step__()
        self._handlers.add(handler)
        return _ServerProtocol(self, self._connections, handler, self._config, self._h2_config)


def _reporting(path: str, handler: Handler, logger: logging.Logger) -> Handler:
    """``handler``, whose exceptions become statuses, each with one log record."""
    handle = handler.func
    if is_blocking(handle):
        handle = in_thread(handle, handler.cardinality, logger)
    is_unary = not handler.cardinality.server_streaming

    async def handle_and_report(call: grpclib.server.Stream[Any, Any]) -> None:
        # grpclib made it of its own class, where it did.
        call.__class__ = _ServerCall
        stream = cast("_ServerStream", call._stream)
        stream.is_unary = is_unary
        try:
            await _flushing(handle(call), stream)
        except GRPCError:
            raise
        except H2Error as error:
            # The peer is gone or cancelled the call; nobody is there to be told.
            raise GRPCError(Status.CANCELLED, str(error)) from error
        except Exception as error:
            logger.exception("%s raised", path)
            raise GRPCError(Status.UNKNOWN, _status_message(error)) from error
        if _has_no_answer(call):
            text = (
                f"{path} returned without sending a message: it must "
                "`await stream.send_message(...)`"
            )
            logger.error("%s", text)
            raise GRPCError(Status.UNKNOWN, text)

    return handler._replace(func=handle_and_report)


@types.coroutine
def _flushing(work: Coroutine[Any, Any, None], stream: _ServerStream) -> Generator[Any, Any, None]:
    """Awaits ``work``, and flushes whenever that is about to wait for something."""
    step: Callable[[Any], Any] = work.send
    argument: Any = None
    flush = stream.connection.flush
    while True:
        stream.is_handled = True
        try:
            awaited = step(argument)
        except StopIteration:
            return
        finally:
            stream.is_handled = False
        flush()
        try:
            argument = yield awaited
            step = work.send
        except BaseException as error:
            step, argument = work.throw, error


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
