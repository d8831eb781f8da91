"""The Rust core of pyplugin.

Functions are safe to call from any thread. Lengths are in bytes. Bytes come in as ``bytes`` only;
``bytearray`` and ``memoryview`` are a ``TypeError``. Objects are safe to use from any thread; those
of the log pump belong to one event loop nevertheless, which calls sinks and handlers, and a
``MuxSession`` or ``Http2Connection`` does not wait: two calls of it at once are a ``RuntimeError``.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, SupportsIndex, final, overload

from .errors import MuxError

__all__ = [
    "__version__",
    "Http2Connection",
    "Http2Event",
    "LogBatch",
    "LogEntry",
    "LogQueue",
    "LogReader",
    "LogSource",
    "LogTarget",
    "MuxSession",
    "OutputPump",
    "decode_fields",
    "format_handshake",
    "parse_handshake",
    "parse_log_line",
]

__version__: str
"""The version of the package, from ``Cargo.toml``."""

def parse_handshake(line: bytes, /) -> tuple[int, int, bytes, bytes, bytes, bytes, bytes | None]:
    """Reads a handshake line as go-plugin's host does (``client.go`` ``Start``).

    Args:
        line: One line of the plugin's stdout, with or without its line end.

    Returns:
        Core protocol version (always 1), app protocol version, network, address, protocol
        (``netrpc`` when the line has only four parts), base64 of the certificate (empty when there
        is none), and the seventh part as it stands, or None when the line has no seventh part.

    Raises:
        CoreProtocolMismatch: Part 1 is another core protocol version.
        HandshakeError: Fewer than four parts, or a version that is no integer of 64 bits.
    """

def format_handshake(
    app_protocol_version: int,
    network: bytes,
    address: bytes,
    protocol: bytes,
    certificate: bytes,
    multiplex: bool | None,
    /,
) -> bytes:
    """Writes a plugin's handshake line, without a line end (``server.go`` ``Serve``).

    Args:
        app_protocol_version: The version that the plugin chose.
        network: ``unix`` or ``tcp``.
        address: Socket path or ``host:port``.
        protocol: ``grpc``.
        certificate: Unpadded base64 of the plugin's certificate (DER), or empty.
        multiplex: The seventh part; None leaves it out, as six-part hosts need.

    Raises:
        ValueError: A part holds ``|`` or a line break.
    """

def parse_log_line(line: bytes, /) -> tuple[str, str, str, str | None, bool]:
    """Reads one line of a plugin's stderr as if it were the only one (``client.go`` ``logStderr``).

    Args:
        line: A line without its line end.

    Returns:
        hclog's name of the level, message, module (empty when there is none), ``@timestamp`` as it
        is written or None, and whether the line has fields, for ``decode_fields``.
    """

def decode_fields(line: bytes, /) -> dict[str, Any]:
    """The fields of an hclog entry: all members but those that hclog gives a meaning.

    Integers are exact. What is no text in UTF-8 is U+FFFD, a byte each.

    Args:
        line: A line that has fields.
    """

@final
class LogEntry:
    """One line of a plugin's log, decoded as far as it is asked."""

    @property
    def plugin(self) -> str:
        """The plugin's name: the file name of its program."""
    @property
    def level(self) -> str:
        """The level in hclog's words: ``trace``, ``debug``, ``info``, ``warn`` or ``error``."""
    @property
    def levelno(self) -> int:
        """The level as ``logging`` counts; hclog's trace is ``logging.DEBUG``."""
    @property
    def message(self) -> str:
        """The message; the whole line where it has no structure."""
    @property
    def module(self) -> str:
        """Which part of the plugin logged it (``@module``), or empty."""
    @property
    def timestamp(self) -> str | None:
        """When the plugin logged it, as it wrote that (RFC 3339 with microseconds), or None."""
    @property
    def fields(self) -> dict[str, Any]:
        """The user's fields, a new dict every time."""
    @property
    def line(self) -> bytes:
        """The line as it came, without its line end."""

@final
class LogBatch:
    """Lines of one plugin's log, in order: a sequence of ``LogEntry``.

    An entry that is kept keeps the whole batch, up to about 64 KiB.
    """

    @property
    def plugin(self) -> str:
        """The plugin's name: the file name of its program."""
    def __len__(self) -> int: ...
    @overload
    def __getitem__(self, key: SupportsIndex, /) -> LogEntry: ...
    @overload
    def __getitem__(self, key: slice, /) -> list[LogEntry]: ...
    def __iter__(self) -> Iterator[LogEntry]: ...

@final
class LogReader:
    """The thread that reads the stderr of plugins for all loops of a process.

    Raises:
        OSError: The system gives no more descriptors.
    """

    def __new__(cls) -> LogReader: ...
    def close(self) -> None:
        """Ends the thread, where it was started, and waits for that."""

@final
class LogQueue:
    """Lines that wait for one loop: 1 MiB of them at most, shared by its plugins.

    Args:
        has_waiter: A thread calls ``wait``, since the loop cannot watch ``fileno()``.

    Raises:
        OSError: The system gives no more descriptors.
    """

    def __new__(cls, has_waiter: bool, /) -> LogQueue: ...
    def fileno(self) -> int:
        """What becomes readable when the loop is to call ``drain``."""
    def wait(self) -> bool:
        """Waits until the loop is to call ``drain``; False when the queue was closed."""
    def close(self) -> None:
        """Ends ``wait``."""
    def drain(self, budget: float, report: Callable[[Exception], object], /) -> bool:
        """Hands on lines, a few of each plugin in turn.

        Args:
            budget: For how many seconds; what was begun is finished.
            report: Called with each exception of a handler, a sink or a copy.

        Returns:
            Whether lines are left.
        """
    def events(self) -> list[tuple[int, int, int | None]]:
        """What happened since the last call: the ``id`` of a source, what, and an ``errno``.

        0: the thread gives the source back, to be read by the loop. 1: the source has ended, and
        all its lines were handed on. 2: lines could not be forwarded, for this error; told once.
        """

@final
class LogTarget:
    """A descriptor that lines are forwarded to, by any number of sources. It is duplicated.

    Args:
        descriptor: Its number; on Windows its handle.

    Raises:
        OSError: It is not open.
    """

    def __new__(cls, descriptor: int, /) -> LogTarget: ...

@final
class LogSource:
    """The stderr of one plugin, read by its loop until ``hand_over``.

    Args:
        reader: Reads it when much comes.
        queue: Where its lines wait.
        descriptor: The pipe, which blocks only where ``read_to_end`` reads it. It is duplicated.
        plugin: The plugin's name.
        limit: Longest line that is parsed, in bytes; at least 16.
        level: hclog's name of the least level, or a logger whose level is followed.
        logger: Gets records.
        sink: Gets batches, before ``logger``.
        copy: Its ``write`` gets all lines as they came.
        forward: Where lines are written to instead, and how: ``hclog``, ``logfmt`` or ``verbatim``.

    Raises:
        OSError: The descriptor is not open.
        ValueError: There is no such level or format.
    """

    def __new__(
        cls,
        reader: LogReader,
        queue: LogQueue,
        descriptor: int,
        plugin: str,
        limit: int,
        level: str | logging.Logger,
        *,
        logger: logging.Logger | None,
        sink: Callable[[LogBatch], object] | None,
        copy: Any,
        forward: tuple[LogTarget, str] | None,
    ) -> LogSource: ...
    @property
    def id(self) -> int:
        """What names it in ``LogQueue.events``."""
    def fileno(self) -> int:
        """The pipe."""
    def read(self) -> int | None:
        """Reads once, without waiting.

        Returns:
            How many bytes came; None when there are none, none any more, or another reads.
        """
    def read_to_end(self) -> None:
        """Reads to the end, waiting for it, and for room in the queue."""
    def hand_over(self) -> None:
        """Has the thread read it from now on.

        Raises:
            OSError: The system starts no thread, or cannot watch the pipe.
        """
    def finish(self, most: int, /) -> None:
        """Reads what a dead process left, up to ``most`` bytes, and ends it.

        Raises:
            OSError: The system cannot watch the pipe.
        """
    def close(self) -> None:
        """Forgets it, and what waits of it."""
    def tail(self) -> list[bytes]:
        """The last lines that were not empty, oldest first; 40 at most, each cut at 2048 bytes."""

@final
class Http2Event:
    """What happened on an HTTP/2 connection; attributes that say nothing of its kind are empty.

    Those of the names that h2 has are what h2's events have, so that handlers of these take it.

    =============  ==============================================================================
    kind
    =============  ==============================================================================
    ``REQUEST``    The peer opened ``stream_id``, with ``headers``.
    ``RESPONSE``   It answers on it, with ``headers``; informational answers are not told.
    ``DATA``       ``data``, never empty, of which ``flow_controlled_length`` is to be acknowledged.
    ``TRAILERS``   ``headers`` behind the data.
    ``ENDED``      The peer sends no more on it.
    ``RESET``      It is gone: by the peer if ``remote_reset``, or else since the peer broke a rule
                   on it; ``error_code`` says why.
    ``WRITABLE``   Data can be sent on it, or on the connection (0), again.
    ``SETTINGS``   The peer has new settings, by which more may be possible than was.
    ``PONG``       It answered a ping with ``data``.
    ``GO_AWAY``    It takes no streams above ``last_stream_id``, for ``error_code``.
    ``FAILED``     It broke a rule, ``reason`` says which, and the connection is over.
    =============  ==============================================================================
    """

    REQUEST: ClassVar[Literal[0]]
    RESPONSE: ClassVar[Literal[1]]
    DATA: ClassVar[Literal[2]]
    TRAILERS: ClassVar[Literal[3]]
    ENDED: ClassVar[Literal[4]]
    RESET: ClassVar[Literal[5]]
    WRITABLE: ClassVar[Literal[6]]
    SETTINGS: ClassVar[Literal[7]]
    PONG: ClassVar[Literal[8]]
    GO_AWAY: ClassVar[Literal[9]]
    FAILED: ClassVar[Literal[10]]

    @property
    def kind(self) -> int:
        """One of the numbers above."""
    @property
    def stream_id(self) -> int:
        """The stream, 0 for the connection."""
    @property
    def last_stream_id(self) -> int:
        """The last stream that a peer which goes away deals with."""
    @property
    def headers(self) -> list[tuple[str, str]] | None:
        """Names and values; a byte that is not ASCII is the character of its number."""
    @property
    def data(self) -> bytes | None:
        """Data of a stream: frames that came at once and next to each other are one piece of it."""
    @property
    def flow_controlled_length(self) -> int:
        """The length of the data; padding is acknowledged as it comes."""
    @property
    def error_code(self) -> int:
        """A code of RFC 9113 §7, or any other number of 32 bits."""
    @property
    def remote_reset(self) -> bool:
        """Whether it was the peer who reset the stream."""
    @property
    def reason(self) -> str | None:
        """What the peer did wrong."""

@final
class Http2Connection:
    """One end of an HTTP/2 connection (RFC 9113): no I/O, and no clock.

    What the connection gives goes into ``receive_data``, and what ``data_to_send`` gives, after any
    other call, is to be written to it. Methods of the names that h2 has do as h2's, but for
    ``send_data``. Exceptions are h2's, since grpclib looks for these: ``ProtocolError`` from every
    call but ``data_to_send`` and ``is_open`` when the connection is over, ``StreamClosedError`` for
    a stream that is gone.

    Args:
        is_client: Whether this end opens the streams.
        stream_window: Bytes that the peer may send on a stream ahead of its reader; 65535 at least.
        connection_window: Bytes that it may send on all of them; 65535 to 2147483647.
        max_streams: Streams of the peer beyond which more are refused; it is told, unless that is
            the largest number, 2**32 - 1.
        max_header_list: How long a header list may be, each field counted with 32 bytes more than
            its text.

    Raises:
        OverflowError: A number is negative, or has more than 32 bits.
    """

    def __new__(
        cls,
        is_client: bool,
        /,
        *,
        stream_window: int = 65535,
        connection_window: int = 65535,
        max_streams: int = 100,
        max_header_list: int = 65536,
    ) -> Http2Connection: ...
    def receive_data(self, data: bytes, /) -> list[Http2Event]:
        """Takes what the connection gave, in whatever chunks; returns what happened, in order.

        Raises:
            ProtocolError: The connection was over before. When it is from now on, the last event
                is ``FAILED``, and ``data_to_send`` gives what tells the peer.
        """
    def data_to_send(self) -> bytes:
        """What is to be written to the connection, empty when there is nothing."""
    @property
    def wants_write(self) -> bool:
        """Whether there is any."""
    def get_next_available_stream_id(self) -> int:
        """The id that ``send_headers`` opens a stream with.

        Raises:
            NoAvailableStreamIDError: Every id was used, or this is the server.
        """
    def send_headers(
        self, stream_id: int, headers: list[tuple[str, str]], /, end_stream: bool = False
    ) -> None:
        """Sends headers: of a request or of an answer, or trailers, which must end the stream.

        Raises:
            TooManyStreamsError: The peer takes no more streams until others end.
            ProtocolError: It takes no more at all, or trailers do not end the stream.
        """
    def send_data(
        self, stream_id: int, data: bytes, /, end_stream: bool = False, *, start: int = 0
    ) -> int:
        """Sends of data what the windows allow from ``start`` on, and 256 KiB at most.

        Returns:
            How many bytes that was. With 0 of more there will be a ``WRITABLE`` or ``SETTINGS``
            event before there can be any. ``end_stream`` counts for the end of the data.
        """
    def end_stream(self, stream_id: int, /) -> None:
        """Ends our half of a stream."""
    def reset_stream(self, stream_id: int, /, error_code: int = 0) -> None:
        """Drops a stream."""
    def acknowledge_received_data(self, size: int, stream_id: int, /) -> None:
        """Lets the peer send as much more, told to it at half the window; the stream may be gone.

        Raises:
            ValueError: Less has come.
        """
    def local_flow_control_window(self, stream_id: int, /) -> int:
        """How much data can be sent on a stream now."""
    def ping(self, data: bytes, /) -> None:
        """Asks the peer for a ``PONG`` with the same eight bytes."""
    def is_open(self, stream_id: int, /) -> bool:
        """Whether something can still come or go on a stream."""
    @property
    def stream_count(self) -> int:
        """How many streams there are."""

@final
class MuxSession:
    """One end of a yamux connection: no I/O, and no clock.

    What the connection gives goes into ``receive``, what ``take_out`` gives is to be written to it.
    Times are seconds of any clock that does not go back, ``loop.time()`` for one; after each call
    that takes one, ``next_timeout`` may have changed. The streams of a session know nothing of each
    other; one that is not consumed holds up only its own peer.

    Events are tuples: a kind, the id of the stream (0 for the session), and a payload:

    ==================  ================  ======================================================
    kind                payload
    ==================  ================  ======================================================
    ``STREAM_OPENED``   None              The peer opened it: ``accept`` or ``reset`` it.
    ``STREAM_ACKED``    None              The peer accepted a stream of ours.
    ``DATA``            ``bytes``         Never empty, frames that came next to each other in one;
                                          to be told to ``consume`` when it was read.
    ``STREAM_FINISHED`` None              The peer sends no more on it.
    ``STREAM_RESET``    None              It is gone, with what was queued.
    ``WRITABLE``        None              More than ``low_mark`` was queued, and now it is not.
    ``PONG``            seconds, a float  The peer answered a ping after this time.
    ``GO_AWAY``         None              The peer takes no more streams; those there are go on.
    ``SESSION_FAILED``  None              It is over with all its streams; see ``failure``.
    ==================  ================  ======================================================

    Events that come in one list with ``SESSION_FAILED`` happened before it, but the session is over
    for calls that answer them. When it is over, every call but ``take_out``, ``events``,
    ``receive_eof``, ``next_timeout``, ``queued`` and ``failure`` raises why. ``take_out`` still
    gives the frame that tells the peer.

    Args:
        is_client: Whether this is the host's end, whose streams have odd ids.
        now: The time.
        receive_window: Bytes that the peer may send on a stream ahead of its reader; 262144 at
            least, which is what a peer may send before it is told of more.
        accept_backlog: Streams of the peer that may wait to be accepted (more are refused), and
            streams of ours that may wait for the peer to do so.
        stream_limit: Streams of both sides beyond which those of the peer are refused.
        low_mark: Bytes queued on a stream, at which its writer may go on.
        keep_alive: Seconds without a ping after which there is one; None for none.
        ping_timeout: Seconds that the peer has to answer, or the session fails.
        open_timeout: Seconds that it has to accept a stream of ours, or the session fails.
        close_timeout: Seconds that it has to finish a stream that we have finished, or the stream
            is reset.

    Raises:
        ValueError: A time is negative, or not a number.
        OverflowError: A size is negative, or has more than 32 bits.
    """

    STREAM_OPENED: ClassVar[Literal[0]]
    STREAM_ACKED: ClassVar[Literal[1]]
    DATA: ClassVar[Literal[2]]
    STREAM_FINISHED: ClassVar[Literal[3]]
    STREAM_RESET: ClassVar[Literal[4]]
    WRITABLE: ClassVar[Literal[5]]
    PONG: ClassVar[Literal[6]]
    GO_AWAY: ClassVar[Literal[7]]
    SESSION_FAILED: ClassVar[Literal[8]]

    def __new__(
        cls,
        is_client: bool,
        now: float,
        /,
        *,
        receive_window: int = 262144,
        accept_backlog: int = 256,
        stream_limit: int = 65536,
        low_mark: int = 65536,
        keep_alive: float | None = 30.0,
        ping_timeout: float = 10.0,
        open_timeout: float = 75.0,
        close_timeout: float = 300.0,
    ) -> MuxSession: ...
    def receive(self, data: bytes, now: float, /) -> list[tuple[int, int, bytes | float | None]]:
        """Takes what the connection gave, in whatever chunks.

        Returns:
            What happened, in order; data as it came, a frame in several events where it came in
            several chunks.

        Raises:
            MuxProtocolError: The session is over, because the peer broke the rules.
            MuxClosed: The session is over, for another reason.
        """
    def receive_eof(self) -> list[tuple[int, int, bytes | float | None]]:
        """The connection is lost; returns what is left to tell."""
    def take_out(self, max_bytes: int, now: float, /) -> bytes:
        """What is to be written to the connection next, empty when there is nothing.

        Streams take turns, with at most 64 KiB each. What it takes off the queues may make streams
        ``WRITABLE``: see ``events``.

        Args:
            max_bytes: How much it may be; 64 at least.
            now: The time.
        """
    def events(self) -> list[tuple[int, int, bytes | float | None]]:
        """What happened apart from what came."""
    def open_stream(self, now: float, /) -> int:
        """Opens a stream and returns its id. It can be sent on at once.

        Raises:
            MuxError: As many streams as the backlog wait for ``STREAM_ACKED``, or no id is left.
            MuxClosed: The session is over, or either side is going away.
        """
    def accept(self, stream_id: int, /) -> None:
        """Accepts a stream that the peer opened, as ``send`` and ``finish`` do too.

        Nothing for a stream that is gone, as are ``consume``, ``finish`` and ``reset``.
        """
    def send(self, stream_id: int, data: bytes, /) -> int:
        """Queues data, which is kept, not copied.

        Returns:
            How many bytes are queued on the stream now, for its writer to be paused by.

        Raises:
            MuxClosed: The stream or the session is gone.
            RuntimeError: It was finished.
        """
    def queued(self, stream_id: int, /) -> int:
        """How many bytes are queued on a stream; 0 when it is gone."""
    def consume(self, stream_id: int, length: int, /) -> None:
        """Lets the peer send as much more, told to it at half the window.

        Raises:
            ValueError: Less has come.
        """
    def finish(self, stream_id: int, /) -> None:
        """Ends our half of a stream, behind what is queued."""
    def reset(self, stream_id: int, /) -> None:
        """Drops a stream at once, with what is queued."""
    def go_away(self) -> None:
        """Has the peer open no more streams; those that are there go on."""
    def ping(self, now: float, /) -> None:
        """Asks the peer for a ``PONG``; nothing while one is on its way."""
    def next_timeout(self) -> float | None:
        """When to call ``handle_timeout``; None when no timer runs."""
    def handle_timeout(self, now: float, /) -> list[tuple[int, int, bytes | float | None]]:
        """Does what is due, and returns what happened."""
    def failure(self) -> MuxError | None:
        """Why the session is over; None while it is not."""
    @property
    def stream_count(self) -> int:
        """How many streams there are."""

@final
class OutputPump:
    """Reads what a plugin's own code prints, in a thread, for its event loop; not on Windows.

    256 KiB wait for the host, then whoever prints waits. What the loop itself prints is kept
    while it waits for itself, 64 MiB at most.

    Args:
        stdout: The pipe that stands for stdout; duplicated.
        stderr: The pipe that stands for stderr; duplicated.

    Raises:
        OSError: The system gives no more descriptors, or no thread.
    """

    def __new__(cls, stdout: int, stderr: int, /) -> OutputPump: ...
    def fileno(self) -> int:
        """What becomes readable when the loop is to call ``look``."""
    def look(self) -> bool:
        """Shows that the loop runs, and has it woken again by what comes next.

        Returns:
            Whether something waits.
        """
    def take(self, most: int, chunk: int, /) -> bytes:
        """What was printed first.

        Args:
            most: Printed bytes at the most.
            chunk: Printed bytes of one message at the most.

        Returns:
            gRPC messages of type ``plugin.StdioData``, one after the other, each with its head of
            five bytes; empty when nothing waits.
        """
    def flush(self) -> None:
        """Asks for ``is_flushed``."""
    def is_flushed(self) -> bool:
        """Whether all that had been printed at the last ``flush`` has been taken.

        ``fileno()`` becomes readable when it comes true without a ``take``.
        """
    def lost(self) -> int:
        """How many printed bytes were lost since the last call, for want of room."""
    def close(self) -> None:
        """Ends the thread and closes the pipes."""
