"""One connection that carries many: a yamux session on its socket, a transport for each stream.

The session itself is Rust and does no I/O; this gives it bytes and time, and its streams an
``asyncio`` face with flow control in both directions (go-plugin ``internal/grpcmux``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from .._rust import MuxSession
from ..constants import NETWORK_UNIX
from ..errors import MuxClosed, MuxError
from .reading import ReadingProtocol

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from .transport import Address, Listener

# What is handed to the socket at once.
_SEND_BYTES = 256 * 1024
# What may wait for a stream's window before whoever writes to it is to pause.
_HIGH_BYTES = 128 * 1024
# And at which it may go on, the session's own.
_LOW_BYTES = 64 * 1024
# What the peer may send on a stream ahead of its reader.
_WINDOW_BYTES = 1024 * 1024
# Seconds that a closing connection may take to send the rest.
_CLOSE_TIMEOUT = 1.0


async def connect(address: Address, logger: logging.Logger) -> MuxConnection:
    """The host's end of the one connection to a plugin.

    Raises:
        OSError: Nobody listens there.
    """
    loop = asyncio.get_running_loop()
    connection = MuxConnection(is_host=True, on_stream=MuxStream.abort, logger=logger)
    if address.network == NETWORK_UNIX:
        await loop.create_unix_connection(lambda: connection, address.address)
    else:
        host, port = address.host_and_port()
        await loop.create_connection(lambda: connection, host, port)
    return connection


async def accept(listener: Listener, connection: MuxConnection) -> None:
    """Makes ``connection`` of the first to connect, and closes the listener: it takes no other."""
    loop = asyncio.get_running_loop()
    sock, _ = await loop.sock_accept(listener.sock)
    listener.close()
    try:
        await loop.connect_accepted_socket(lambda: connection, sock)
    except BaseException:
        sock.close()
        raise


class MuxConnection(ReadingProtocol, asyncio.Protocol):
    """The one owner of the socket.

    Args:
        is_host: The host is yamux's client, the plugin its server.
        on_stream: See the attribute.
        logger: Where a session that fails is told.

    Attributes:
        on_stream: Called with each stream that the peer opens: ``start()`` takes it, ``abort()``
            refuses it.
        lost: Ends when the connection is lost, with what broke it; None for an orderly end.
    """

    def __init__(
        self, *, is_host: bool, on_stream: Callable[[MuxStream], None], logger: logging.Logger
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._session = MuxSession(is_host, self._loop.time(), receive_window=_WINDOW_BYTES)
        self.on_stream = on_stream
        self._logger = logger
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, MuxStream] = {}
        # Of streams of ours that the peer has still to take, be they closed by now.
        self._unacknowledged: dict[int, asyncio.Future[None]] = {}
        self._is_flushing = False
        self._is_sending = False
        self._is_full = False
        self._is_closing = False
        self._error: MuxError | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self.lost: asyncio.Future[BaseException | None] = self._loop.create_future()

    # The protocol of the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        self._arm()

    def data_received(self, data: bytes) -> None:
        if self._error is None:
            try:
                events = self._session.receive(data, self._loop.time())
            except MuxError as error:
                self._fail(error)
            else:
                self._handle(events)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        self._is_closing = True
        for timer in (self._timer, self._deadline):
            if timer is not None:
                timer.cancel()
        error = self._error or exc
        self._lose_streams(error or MuxClosed("the connection that carried the stream was closed"))
        self.lost.set_result(error)

    def pause_writing(self) -> None:
        self._is_full = True

    def resume_writing(self) -> None:
        self._is_full = False
        self.flush()

    # Streams

    def open_stream(self) -> MuxStream:
        """A new stream to the peer, to be given a protocol by ``start()``.

        Raises:
            MuxClosed: The connection is closed or about to be.
            MuxError: Too many streams wait for the peer to take them.
        """
        if self._is_closing:
            raise self._error or MuxClosed("the connection to the peer is closed")
        number = self._session.open_stream(self._loop.time())
        stream = self._streams[number] = MuxStream(self, self._session, number)
        stream.acknowledged = self._unacknowledged[number] = self._loop.create_future()
        self._arm()
        self.flush()
        return stream

    def close(self) -> None:
        """Ends the streams, tells the peer, and closes the socket when all has been sent."""
        if self._is_closing:
            return
        self._is_closing = True
        for stream in list(self._streams.values()):
            stream.close()
        self._session.go_away()
        self._shut()

    def abort(self) -> None:
        """Closes the socket at once."""
        self._is_closing = True
        # asyncio's raise if they are aborted once they are closed.
        if self._transport is not None and not self.lost.done():
            self._transport.abort()

    async def aclose(self) -> None:
        """Closes, and waits until the socket is closed; one that cannot be flushed is cut."""
        self.close()
        if self._transport is not None and not self.lost.done():
            await asyncio.wait({self.lost}, timeout=_CLOSE_TIMEOUT)
            self.abort()
            await asyncio.wait({self.lost})

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As of the socket's transport."""
        return self._transport.get_extra_info(name, default) if self._transport else default

    def send(self) -> None:
        """Sends what is ready, so that the peer begins with it while others are to write."""
        if self._is_sending:
            # By a stream that was told that it may write again.
            self.flush()
            return
        self._is_sending = True
        try:
            self._send()
        finally:
            self._is_sending = False

    def flush(self) -> None:
        """Sends what is ready at the end of this turn of the loop, all of it at once."""
        if not self._is_flushing:
            self._is_flushing = True
            self._loop.call_soon(self._flush)

    def forget(self, number: int) -> None:
        """A stream has ended on this side; what is queued on it is still sent."""
        self._streams.pop(number, None)

    def _flush(self) -> None:
        self._is_flushing = False
        self.send()

    def _send(self) -> None:
        while not self._is_full and self._transport is not None:
            data = self._session.take_out(_SEND_BYTES, self._loop.time())
            if not data:
                break
            self._transport.write(data)
        for _, number, _ in self._session.events():
            # The only thing that sending can make happen.
            if stream := self._streams.get(number):
                stream.set_writable()
        is_over = self._error is not None or not self._session.stream_count
        if self._is_closing and is_over and not self._is_full and self._transport is not None:
            self._transport.close()

    def _handle(self, events: list[tuple[int, int, Any]]) -> None:
        for kind, number, payload in events:
            if kind == MuxSession.DATA:
                if stream := self._streams.get(number):
                    stream.take(payload)
                else:
                    with contextlib.suppress(MuxError):
                        self._session.consume(number, len(payload))
            elif kind == MuxSession.STREAM_OPENED:
                self._accept(number)
            elif kind == MuxSession.STREAM_ACKED:
                self._acknowledge(number)
            elif kind == MuxSession.STREAM_FINISHED:
                if stream := self._streams.get(number):
                    stream.take_eof()
            elif kind == MuxSession.STREAM_RESET:
                self._acknowledge(number)
                if stream := self._streams.pop(number, None):
                    stream.lose(ConnectionResetError("the peer reset the stream"))
            elif kind == MuxSession.SESSION_FAILED:
                self._fail(self._session.failure())
        self.flush()

    def _accept(self, number: int) -> None:
        stream = self._streams[number] = MuxStream(self, self._session, number)
        if self._is_closing:
            stream.abort()
        else:
            try:
                self.on_stream(stream)
            except Exception as error:
                stream.fail(error)

    def _fail(self, error: MuxError | None) -> None:
        if self._error is not None or error is None:
            return
        self._error = error
        self._is_closing = True
        self._logger.warning("a multiplexed connection failed: %s", error)
        self._lose_streams(error)
        self._shut()

    def _shut(self) -> None:
        # Whoever reads nothing, or finishes no stream, is cut.
        if self._deadline is None:
            self._deadline = self._loop.call_later(_CLOSE_TIMEOUT, self.abort)
        self.send()

    def _acknowledge(self, number: int) -> None:
        taken = self._unacknowledged.pop(number, None)
        if taken is not None and not taken.done():
            taken.set_result(None)

    def _lose_streams(self, error: BaseException) -> None:
        for number in list(self._unacknowledged):
            self._acknowledge(number)
        streams, self._streams = list(self._streams.values()), {}
        for stream in streams:
            stream.lose(error)

    def _arm(self) -> None:
        at = self._session.next_timeout()
        if at is None or (self._timer is not None and self._timer.when() <= at):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._error is None:
            self._handle(self._session.handle_timeout(self._loop.time()))
        if not self._is_closing:
            self._arm()


class MuxStream(asyncio.Transport):
    """One stream of a connection. What comes before ``start()`` waits for it.

    Attributes:
        acknowledged: Of a stream that this side opened: done when the peer has taken it, or cannot.
    """

    acknowledged: asyncio.Future[None]

    __slots__ = (
        "_connection",
        "_has_eof",
        "_high",
        "_inbox",
        "_is_closing",
        "_is_delivering",
        "_is_full",
        "_is_paused",
        "_number",
        "_protocol",
        "_session",
        "acknowledged",
    )

    def __init__(self, connection: MuxConnection, session: MuxSession, number: int) -> None:
        super().__init__()
        self._connection = connection
        self._session = session
        self._number = number
        self._protocol: asyncio.Protocol | None = None
        # None until something has to wait: most streams of many are idle.
        self._inbox: deque[bytes] | None = None
        self._has_eof = False
        self._is_paused = True
        self._is_delivering = False
        self._is_full = False
        self._is_closing = False
        self._high = _HIGH_BYTES

    def start(self, protocol: asyncio.Protocol) -> None:
        """Connects ``protocol`` to the stream, and takes the stream where the peer opened it."""
        self._protocol = protocol
        self._tell(self._session.accept)
        self._is_paused = False
        protocol.connection_made(self)
        self._deliver_inbox()

    # What the connection tells

    def take(self, data: bytes) -> None:
        """The peer sent ``data``."""
        if self._is_closing:
            self._consume(len(data))
            return
        if self._inbox or self._is_paused or self._is_delivering or self._protocol is None:
            if self._inbox is None:
                self._inbox = deque()
            self._inbox.append(data)
        else:
            self._deliver_inbox(data)

    def take_eof(self) -> None:
        """The peer sends no more."""
        self._has_eof = True
        self._deliver_inbox()

    def set_writable(self) -> None:
        """What was queued has been sent."""
        if self._is_full and self._protocol is not None:
            self._is_full = False
            self._protocol.resume_writing()

    def lose(self, error: BaseException | None) -> None:
        """The stream is gone."""
        was_closing, self._is_closing = self._is_closing, True
        self._inbox = None
        if not was_closing and self._protocol is not None:
            self._protocol.connection_lost(error if isinstance(error, Exception) else None)

    # What its protocol asks

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closing or not data:
            return
        try:
            queued = self._session.send(self._number, bytes(data))
        except MuxError:
            # The event that tells so is on its way.
            return
        self._connection.send()
        is_full = queued > self._high and self._session.queued(self._number) > self._high
        if is_full and not self._is_full and self._protocol is not None:
            self._is_full = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        if self._is_closing:
            return
        self._end()
        self._tell(self._session.finish)

    def abort(self) -> None:
        if self._is_closing:
            return
        self._end()
        self._tell(self._session.reset)

    def fail(self, error: Exception) -> None:
        """Its protocol raised: as for asyncio's own transports that is the end of the stream."""
        asyncio.get_running_loop().call_exception_handler(
            {
                "message": "the protocol of a stream of a multiplexed connection failed",
                "exception": error,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        if not self._is_closing:
            self._end(error)
            self._tell(self._session.reset)

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        # What is not consumed gives the peer no window to send more.
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        # Not from within itself, where its protocol does that in data_received.
        asyncio.get_running_loop().call_soon(self._deliver_inbox)

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def get_write_buffer_size(self) -> int:
        return self._session.queued(self._number)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = _HIGH_BYTES if high is None else max(high, _LOW_BYTES)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.get_extra_info(name, default)

    def _deliver_inbox(self, data: bytes | None = None) -> None:
        if self._is_delivering or self._protocol is None:
            return
        self._is_delivering = True
        try:
            data = data or self._next()
            while data:
                self._consume(len(data))
                self._protocol.data_received(data)
                data = self._next()
            if self._has_eof and not (self._inbox or self._is_paused or self._is_closing):
                self._has_eof = False
                if not self._protocol.eof_received():
                    self.close()
        except Exception as error:
            self.fail(error)
        finally:
            self._is_delivering = False

    def _next(self) -> bytes | None:
        return self._inbox.popleft() if self._inbox and not self._is_paused else None

    def _consume(self, length: int) -> None:
        with contextlib.suppress(MuxError):
            self._session.consume(self._number, length)
        self._connection.flush()

    def _tell(self, call: Callable[[int], None]) -> None:
        # A session that has failed raises why, and its streams need no more.
        with contextlib.suppress(MuxError):
            call(self._number)
        self._connection.flush()

    def _end(self, error: Exception | None = None) -> None:
        self._is_closing = True
        while self._inbox:
            self._consume(len(self._inbox.popleft()))
        self._connection.forget(self._number)
        if self._protocol is not None:
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, error)
