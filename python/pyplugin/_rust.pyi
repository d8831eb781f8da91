"""The Rust core of pyplugin.

Functions are safe to call from any thread. Lengths are in bytes. Bytes come in as ``bytes`` only;
``bytearray`` and ``memoryview`` are a ``TypeError``. Objects are safe to use from any thread; those
of the log pump belong to one event loop nevertheless, which calls sinks and handlers.
"""

import logging
from collections.abc import Callable, Iterator
from typing import Any, SupportsIndex, final, overload

__all__ = [
    "__version__",
    "LogBatch",
    "LogEntry",
    "LogQueue",
    "LogReader",
    "LogSource",
    "LogTarget",
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
