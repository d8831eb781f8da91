"""Log streams through the real thing: a pipe, ``StderrReader``, a logger or a sink."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyplugin.host.stderr import StderrReader
from tests.reference.hclog import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyplugin import LogBatch

if sys.platform != "win32":
    import fcntl
    import termios

# The levels of a host's logger that hclog has and Python has not.
LEVELS = {
    "trace": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL + 1,
}
LEVEL_NUMBERS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}


class Records(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[Record] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(read_back(record))


def read_back(record: logging.LogRecord) -> Record:
    """What a record made of a plugin's line says."""
    attributes = vars(record)
    level = attributes["hclog_level"]
    assert record.levelno == LEVEL_NUMBERS[level]
    return Record(
        level,
        record.getMessage(),
        attributes["plugin"],
        attributes["fields"],
        attributes["plugin_timestamp"],
    )


@dataclass
class Logged:
    """What became of a stream."""

    records: list[Record] = field(default_factory=list)
    # Of a sink: the line of each record.
    lines: list[bytes] = field(default_factory=list)
    stderr: bytes = b""


async def to_logger(
    chunks: Iterable[bytes], level: str = "trace", buffer_size: int = 65536
) -> Logged:
    """A stream, written in chunks of which each is read before the next is written."""
    logger, handler, copy = logging.Logger("plugin", LEVELS[level]), Records(), io.BytesIO()
    logger.addHandler(handler)
    read_end, write_end = os.pipe()
    pipe = os.fdopen(read_end, "rb", buffering=0)
    reader = StderrReader(pipe, "name", logger, copy=copy, buffer_size=buffer_size)
    await write(write_end, chunks)
    await reader.finish()
    return Logged(handler.records, stderr=copy.getvalue())


async def to_sink(chunks: Iterable[bytes], level: str, buffer_size: int) -> Logged:
    """The same, to a sink and without a copy."""
    logged = Logged()

    def sink(batch: LogBatch) -> None:
        for entry in batch:
            assert (entry.levelno, entry.plugin) == (LEVEL_NUMBERS[entry.level], "name")
            logged.lines.append(entry.line)
            logged.records.append(
                Record(entry.level, entry.message, entry.module, entry.fields, entry.timestamp)
            )

    read_end, write_end = os.pipe()
    pipe = os.fdopen(read_end, "rb", buffering=0)
    logger = logging.Logger("unused")
    reader = StderrReader(pipe, "name", logger, sink=sink, level=level, buffer_size=buffer_size)
    await write(write_end, chunks)
    await reader.finish()
    return logged


async def write(descriptor: int, chunks: Iterable[bytes]) -> None:
    """Writes and closes; blocks nothing where a pipe is full."""
    with os.fdopen(descriptor, "wb", buffering=0) as pipe:
        for chunk in chunks:
            await asyncio.to_thread(pipe.write, chunk)
            while is_unread(descriptor):  # noqa: ASYNC110 -- nothing tells when it was read
                await asyncio.sleep(0)


def is_unread(descriptor: int) -> bool:
    """Whether a pipe holds something, where that can be told."""
    if sys.platform == "win32":
        return False
    return any(fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))
