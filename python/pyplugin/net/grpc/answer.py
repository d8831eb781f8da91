"""A call, as its handler has it, and the handlers of a connection's calls."""

from __future__ import annotations

import time
import types
from typing import TYPE_CHECKING, Any, cast

import grpclib.protocol
import grpclib.server
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import decode_metadata
from grpclib.utils import Wrapper
from h2.errors import ErrorCodes
from h2.exceptions import H2Error

from ..tasks import new_task
from ..threads import in_thread, is_blocking
from .connection import EventsProcessor, Stream, encoded

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Callable, Coroutine, Generator

# Longest status message sent: a header, which peers bound.
_MAX_STATUS_MESSAGE_CHARACTERS = 4096


class ServerStream(Stream):
    """A stream whose answer leaves at once, where its handler does not wait in between.

    Attributes:
        is_unary: Whether the answer is one message, which is of no use without its status.
        is_answered: Whether the answer is complete.
        is_handled: Whether the handler runs at this moment; it flushes before it waits.
    """

    is_unary: bool = False
    is_answered: bool = False
    is_handled: bool = False

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


class ServerEventsProcessor(EventsProcessor):
    """Cancels the calls of a closing server once: their handlers may be cleaning up."""

    def close(self, reason: str = "Connection closed") -> None:
        if cast("ServerHandler", self.handler).closing:
            # Answers that are complete may wait for the loop's next turn.
            self.connection.flush()
            self.connection.close()
        else:
            super().close(reason)
        # Handlers that clean up may send, to no effect, and do not wait for a peer that is gone.
        self.connection.resume_writing()
        self.processors: dict[Any, Any] = {}

    def process_stream_reset(self, event: Any) -> None:
        if not cast("ServerHandler", self.handler).closing:
            super().process_stream_reset(event)


_HEADERS = [(":status", "200"), ("content-type", "application/grpc+proto")]
_TRAILERS = [("grpc-status", "0")]


class ServerCall(grpclib.server.Stream[Any, Any]):
    """A call as its handler has it. What almost every call does takes a short way."""

    _stream: ServerStream

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
        is_plain = status is Status.OK and status_message is None and status_details is None
        is_due = (
            self._send_initial_metadata_done
            and (self._send_message_done or self._cardinality.server_streaming)
            and not self._send_trailing_metadata_done
        )
        if is_plain and is_due and not (metadata or self._dispatch._listeners):
            await self._stream.send_headers(_TRAILERS, end_stream=True)
            self._send_trailing_metadata_done = True
        else:
            await super().send_trailing_metadata(
                status=status,
                status_message=status_message,
                status_details=status_details,
                metadata=metadata,
            )


# What a request consists of that has nothing of its own: neither metadata nor a deadline.
_PLAIN_FIELDS = {
    ":method",
    ":scheme",
    ":path",
    ":authority",
    "te",
    "content-type",
    "user-agent",
    # Of clients that could read compressed answers, as C++'s.
    "grpc-accept-encoding",
}
_CONTENT_TYPES = ("application/grpc", "application/grpc+proto")


class ServerHandler(grpclib.server.Handler):
    """The calls of one connection to a server."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._releases: dict[grpclib.protocol.Stream, Callable[[], Any]] = {}

    def accept(
        self,
        stream: grpclib.protocol.Stream,
        headers: Any,
        release_stream: Callable[[], Any],
    ) -> None:
        self._releases[stream] = release_stream
        task = new_task(self._handle(cast("ServerStream", stream), headers))
        if not task.done():  # as one of an eager task factory may be
            self._tasks[stream] = task
        if self.closing:
            # It came on a connection that is about to be closed, and nobody would cancel it later.
            self.cancel(stream)

    async def _handle(self, stream: ServerStream, headers: Any) -> None:
        try:
            fields = dict(headers)
            if self._is_plain(fields) and not self.dispatch._listeners:
                await self._answer(stream, fields)
            else:
                await grpclib.server.request_handler(
                    self.mapping,
                    stream,
                    headers,
                    self.codec,
                    self.status_details_codec,
                    self.dispatch,
                    lambda: None,
                )
        finally:
            self._end(stream)

    def _is_plain(self, fields: dict[str, str]) -> bool:
        return (
            fields.keys() <= _PLAIN_FIELDS
            and fields.get(":path") in self.mapping
            and fields.get(":method") == "POST"
            and fields.get("te") == "trailers"
            and fields.get("content-type") in _CONTENT_TYPES
        )

    async def _answer(self, stream: ServerStream, fields: dict[str, str]) -> None:
        """What grpclib does for a request, where that is plain."""
        path = fields[":path"]
        method = self.mapping[path]
        try:
            call = ServerCall(
                stream,
                path,
                method.cardinality,
                method.request_type,
                method.reply_type,
                codec=self.codec,
                status_details_codec=self.status_details_codec,
                dispatch=self.dispatch,
                user_agent=fields.get("user-agent"),
            )
            call.metadata = decode_metadata(())
            stream.wrapper = Wrapper()
            async with call:
                with stream.wrapper:
                    await method.func(call)
        except Exception:
            grpclib.server.log.exception("cannot answer")

    def cancel(self, stream: grpclib.protocol.Stream) -> None:
        if (task := self._tasks.pop(stream, None)) is None:
            return

        def end(_: asyncio.Task[None]) -> None:
            self._cancelled.discard(task)
            # A task that is cancelled before it began never comes to its own end.
            self._end(cast("ServerStream", stream))

        task.cancel()
        self._cancelled.add(task)
        task.add_done_callback(end)

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            for stream in list(self._tasks):
                self.cancel(stream)

    def _end(self, stream: ServerStream) -> None:
        self._tasks.pop(stream, None)
        if (release := self._releases.pop(stream, None)) is None:
            return
        release()
        # grpclib leaves a request with metadata that is none without an answer.
        if not (stream.is_answered or self.closing) and stream.closable:
            stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)


def reporting(path: str, handler: Any, logger: logging.Logger) -> Any:
    """Grpclib's ``Handler``, whose exceptions become statuses, each with one log record."""
    handle = handler.func
    if is_blocking(handle):
        handle = in_thread(handle, handler.cardinality, logger)
    is_unary = not handler.cardinality.server_streaming

    async def handle_and_report(call: grpclib.server.Stream[Any, Any]) -> None:
        # Of grpclib's own class where the request was not plain; of another's behind a listener.
        if type(call) is grpclib.server.Stream:
            call.__class__ = ServerCall
        stream = cast("ServerStream", call._stream)
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
def _flushing(work: Coroutine[Any, Any, None], stream: ServerStream) -> Generator[Any, Any, None]:
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


def _status_message(error: Exception) -> str:
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    text = text[:_MAX_STATUS_MESSAGE_CHARACTERS]
    return text.encode("utf-8", "backslashreplace").decode()


def _has_no_answer(call: grpclib.server.Stream[Any, Any]) -> bool:
    wrapper = call._stream.wrapper
    return not (
        call._cardinality.server_streaming
        or call._send_message_done
        or call._send_trailing_metadata_done
        or call._cancel_done
        # It was cancelled, and has made nothing of that.
        or (wrapper and wrapper.cancelled)
    )


async def send_encoded(stream: grpclib.server.Stream[Any, Any], messages: bytes) -> None:
    """Sends messages of a server stream that are encoded, each with its head, already."""
    if not stream._send_initial_metadata_done:
        await stream.send_initial_metadata()
    await stream._stream.send_data(messages)
