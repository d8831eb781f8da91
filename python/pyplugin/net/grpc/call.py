"""A call, as its caller has it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

import grpclib.client
import grpclib.protocol
from google.protobuf.message import DecodeError
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import decode_metadata, encode_metadata, encode_timeout
from h2.errors import ErrorCodes
from h2.exceptions import H2Error, ProtocolError, StreamClosedError, TooManyStreamsError

from .connection import EventsProcessor, Stream, encoded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .channel import PluginChannel

# Longest message that is taken apart of a stream whose messages are short.
_MAX_ENCODED_BYTES = 16 * 2**20
# By how much the clocks of both sides may tell a call's deadline apart, in seconds.
_DEADLINES_APART = 0.05

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


class ClientStream(Stream):
    """A call's stream that a peer may end, with an answer, before everything was sent."""

    def open(
        self, headers: Any, end_stream: bool, processor: grpclib.protocol.EventsProcessor
    ) -> Callable[[], None]:
        """Opens it, once there is room, and returns what releases it.

        Raises:
            TooManyStreamsError: It has to wait for others to end.
            ProtocolError: The connection takes no more.
        """
        stream_id = self._h2_connection.get_next_available_stream_id()
        self._h2_connection.send_headers(stream_id, headers, end_stream)
        self.init_stream(stream_id, self.connection)
        return processor.register(self)

    async def send_request(
        self,
        headers: Any,
        end_stream: bool = False,
        *,
        _processor: grpclib.protocol.EventsProcessor,
    ) -> Callable[[], None]:
        processor = cast("ClientEventsProcessor", _processor)
        if processor.draining or processor.is_closed:
            # It was lost, or went away, while a listener of grpclib's had the call.
            raise GRPCError(Status.UNAVAILABLE, "the connection was lost before the call")
        waiting = self.connection.waiting
        waiting.add(self)
        try:
            while True:
                await self.connection.room()
                if self.connection.closed:
                    raise GRPCError(Status.UNAVAILABLE, "the connection was lost before the call")
                try:
                    release = self.open(headers, end_stream, _processor)
                except TooManyStreamsError:
                    self.connection.stream_close_waiter.clear()
                    await self.connection.stream_close_waiter.wait()
                    continue
                # A message that follows takes it along.
                if not hasattr(self.wrapper, "has_message"):
                    self.connection.flush()
                return release
        except ProtocolError as error:
            # The peer has gone away while this call waited, or every stream id was used.
            waiting.discard(self)
            reason = f"the connection takes no more calls: {error}"
            processor.drain(reason)
            raise GRPCError(Status.UNAVAILABLE, reason) from error
        finally:
            waiting.discard(self)

    async def send_data(self, data: bytes, end_stream: bool = False, *, start: int = 0) -> None:
        try:
            await super().send_data(data, end_stream, start=start)
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


class ClientEventsProcessor(EventsProcessor):
    """Ends the calls of a lost connection in the way that callers of gRPC expect."""

    fail: Callable[[list[grpclib.protocol.Stream], str], None]
    draining: bool = False
    is_closed: bool = False

    def release(self, stream: Stream) -> None:
        super().release(stream)
        if self.draining and not self.streams:
            self.close("the peer went away")

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
        self.processors: dict[Any, Any] = {}
        ended = []
        for stream in self.streams.values():
            if _succeeded(stream):
                cast("ClientStream", stream).give_up()
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
            terminate(stream, _StreamReset(status, f"the peer {verb}: {name}"))
        self.connection.streams_failed += 1


# What grpclib raises for an answer that lacks its status, is cut, compressed or of another type.
_UNREADABLE = (AssertionError, DecodeError, KeyError, NotImplementedError, ValueError)


# With what almost every answer begins and ends, be it of a Go server or of ours.
_USUAL_HEADERS = [
    [(":status", "200"), ("content-type", content_type)]
    for content_type in ("application/grpc", "application/grpc+proto")
]
_USUAL_TRAILERS = [[("grpc-status", "0")], [("grpc-status", "0"), ("grpc-message", "")]]


class Call(grpclib.client.Stream[Any, Any]):
    """A call whose request leaves with its first message, and whose answer may be anything.

    What almost every call does takes a short way; grpclib's own remains for the rest.
    """

    _channel: PluginChannel
    _stream: ClientStream
    peer: grpclib.protocol.Peer | None
    initial_metadata: Any
    trailing_metadata: Any

    async def send_message(self, message: Any, *, end: bool = False) -> None:
        sent = self._send_at_once(message)
        if sent is None:
            vars(self._wrapper)["has_message"] = True
            await super().send_message(message, end=end)
        else:
            data, start = sent
            if start < len(data):
                with self._wrapper:
                    await self._stream.send_data(data, end_stream=True, start=start)
            self._send_message_done = True
            self._end_done = end

    def _send_at_once(self, message: Any) -> tuple[bytes, int] | None:
        """Sends a unary request without waiting; returns its data, and how much of it has left."""
        protocol = self._channel.live_protocol
        if (
            protocol is None
            or not protocol.connection.write_ready.is_set()
            or self._send_request_done
            or self._cardinality.client_streaming
            or not self._takes_short_way
        ):
            return None
        connection = protocol.connection
        data = encoded(self._codec.encode(message, self._send_type))
        headers = self._channel.headers_of(self._method_name)
        if self._deadline is not None:
            remaining = encode_timeout(self._deadline.time_remaining())
            headers = [*headers, ("grpc-timeout", remaining)]
        if self._metadata:
            headers = [*headers, *encode_metadata(self._metadata)]
        stream = cast("ClientStream", connection.create_stream(wrapper=self._wrapper))
        try:
            self._release_stream = stream.open(headers, False, protocol.processor)
        except ProtocolError:
            return None
        self._stream = stream
        self.peer = connection.get_peer()
        self._send_request_done = True
        self._messages_sent += 1
        connection.messages_sent += 1
        connection.last_message_sent = time.monotonic()
        return data, stream.send_now(data, end_stream=True)

    @property
    def _takes_short_way(self) -> bool:
        """Whether nobody listens to grpclib's events, and the call has not failed."""
        return not self._dispatch._listeners and self._wrapper._error is None

    async def recv_initial_metadata(self) -> None:
        if self._send_request_done and not self._recv_initial_metadata_done:
            if self._stream.headers is None:
                with self._wrapper:
                    await self._stream.recv_headers()
            if self._stream.headers in _USUAL_HEADERS and self._takes_short_way:
                self._recv_initial_metadata_done = True
                self.initial_metadata = decode_metadata(())
                return
            # Every task that has waited for them gets them, as from grpclib.
            self._recv_initial_metadata_done = False
        try:
            await super().recv_initial_metadata()
        except _UNREADABLE as error:
            raise _unreadable(error) from error

    async def recv_message(self) -> Any:
        if not self._recv_initial_metadata_done:
            await self.recv_initial_metadata()
        buffer = self._stream.buffer
        data = buffer.take_message() if self._takes_short_way else None
        try:
            if data is None:
                with self._wrapper:
                    data = await buffer.read_message()
            message = None if data is None else self._codec.decode(data, self._recv_type)
        except _UNREADABLE as error:
            raise _unreadable(error) from error
        if message is not None:
            if not self._takes_short_way:
                with self._wrapper:
                    (message,) = await self._dispatch.recv_message(message)
            self._messages_received += 1
            self._stream.connection.messages_received += 1
            self._stream.connection.last_message_received = time.monotonic()
            return message
        if self._cardinality is Cardinality.UNARY_UNARY and not self._messages_received:
            await self._maybe_finish()
            raise GRPCError(Status.INTERNAL, "the peer's answer has no message")
        return None

    async def recv_trailing_metadata(self) -> None:
        is_sent = self._end_done or (
            self._send_message_done and not self._cardinality.client_streaming
        )
        is_due = self._recv_initial_metadata_done and not self._recv_trailing_metadata_done
        if is_sent and is_due and not self._trailers_only:
            if self._stream.trailers is None:
                with self._wrapper:
                    await self._stream.recv_trailers()
            if self._stream.trailers in _USUAL_TRAILERS and self._takes_short_way:
                self._recv_trailing_metadata_done = True
                self.trailing_metadata = decode_metadata(())
                return
            self._recv_trailing_metadata_done = False
        try:
            await super().recv_trailing_metadata()
        except _UNREADABLE as error:
            raise _unreadable(error) from error

    async def _maybe_finish(self) -> None:
        # grpclib lets any call succeed whose connection is about to close. What has a traceback was
        # raised before, and the caller has dealt with it.
        error = self._wrapper._error
        is_told = error is not None and error.__traceback__ is not None
        is_known = is_told or _succeeded(self._stream)
        if not (self._cancel_done or (is_known and self._stream._transport.is_closing())):
            if not self._recv_initial_metadata_done:
                await self.recv_initial_metadata()
            if not self._recv_trailing_metadata_done:
                await self.recv_trailing_metadata()

    def _raise_for_grpc_status(self, status: Status, message: str | None, details: Any) -> None:
        # The peer's clock may win over this side's own by a moment.
        is_late = self._deadline and self._deadline.time_remaining() < _DEADLINES_APART
        if status is Status.DEADLINE_EXCEEDED and is_late:
            raise asyncio.TimeoutError("Deadline exceeded")
        super()._raise_for_grpc_status(status, message, details)


def _unreadable(error: Exception) -> GRPCError:
    return GRPCError(Status.INTERNAL, f"the peer's answer cannot be read: {error!r}")


async def read_encoded(stream: grpclib.client.Stream[Any, Any]) -> AsyncIterator[list[bytes]]:
    """The messages of an answer, encoded, each time as many as have come.

    Raises:
        GRPCError: The call ended with a status that is not OK, or a message is too long.
    """
    await stream.recv_initial_metadata()
    buffer = cast("ClientStream", stream._stream).buffer
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


def _final_status(stream: grpclib.protocol.Stream) -> str | None:
    """The ``grpc-status`` that has arrived, None while there is none."""
    for headers in (stream.trailers, stream.headers):
        for name, value in headers or ():
            if name == "grpc-status":
                return value
    return None


def _succeeded(stream: grpclib.protocol.Stream) -> bool:
    return _final_status(stream) == "0"


def terminate(stream: grpclib.protocol.Stream, error: GRPCError) -> None:
    """Ends the call on ``stream`` with ``error``, or with the status that came before it."""
    if _final_status(stream) is not None and not isinstance(error, StreamTerminatedError):
        # With this class grpclib raises the status that the peer sent before it went away.
        stream.__terminated__(str(error.message))
    elif stream.wrapper is not None:
        stream.wrapper.cancel(error)
