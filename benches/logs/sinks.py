"""What a host can do with the log of its plugins."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyplugin

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.logs.task import Task

_LEVELS = {"trace": logging.DEBUG, "warn": logging.WARNING}


class Sink:
    """Where the log goes.

    Args:
        task: What is measured.
        last_line: Called for the last line of each plugin, an error, where ``sees_end``.

    Attributes:
        options: Of the ``ClientConfig`` of every plugin.
        lines: How many lines it has got, the last ones left out.
        late: Nanoseconds from the writing of each paced line to its arrival.
        sees_end: It gets the lines itself.
    """

    sees_end = True

    def __init__(self, task: Task, last_line: Callable[[], None]) -> None:
        self.task = task
        self._last_line = last_line
        self._lines_in_time = 0
        self.options: dict[str, Any] = {}
        self.lines = 0
        self.late: list[int] = []
        self.open()

    def open(self) -> None:
        """Makes the options."""
        raise NotImplementedError

    def last_line(self) -> None:
        """Notes that a plugin's last line is there, and how many were before it."""
        self._lines_in_time = self.lines
        self._last_line()

    def seen(self) -> int | None:
        """How many lines came in, the plugins being gone; None where nobody knows.

        Lines that came after the last ones, when the time had been taken, do not count.
        """
        return self._lines_in_time

    def _log_to(self, *handlers: logging.Handler) -> None:
        logger = logging.getLogger("plugins")
        logger.propagate = False
        logger.setLevel(_LEVELS[self.task.level])
        for handler in handlers:
            logger.addHandler(handler)
        self.options["stderr_logger"] = logger


class Records(Sink):
    """Records of ``logging``, which are counted."""

    def open(self) -> None:
        handler = _Clock if self.task.measure == "latency" else _Counter
        self._log_to(handler(self))


class File(Sink):
    """Records, which logging's own handler and formatter write to a file."""

    def open(self) -> None:
        self._path = Path(self.task.folder, "plugins.log")
        writer = logging.FileHandler(self._path)
        writer.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
        # It sees the last lines only.
        counter = _Counter(self)
        counter.setLevel(logging.ERROR)
        self._log_to(writer, counter)

    def seen(self) -> int:
        return _count_lines(self._path) - self.task.plugins


class Batches(Sink):
    """Batches of entries, whose lengths are added up."""

    def open(self) -> None:
        self.options["log_level"] = self.task.level
        self.options["log_sink"] = self._clock if self.task.measure == "latency" else self._count

    def _count(self, batch: pyplugin.LogBatch) -> None:
        self.lines += len(batch)
        if batch[-1].levelno == logging.ERROR:
            self.lines -= 1
            self.last_line()

    def _clock(self, batch: pyplugin.LogBatch) -> None:
        arrived = time.monotonic_ns()
        for entry in batch:
            if entry.levelno == logging.ERROR:
                self.last_line()
            else:
                self.lines += 1
                self.late.append(arrived - int(entry.message))


class Forward(Sink):
    """Lines written to the null device without Python."""

    sees_end = False
    format: Literal["hclog", "logfmt", "verbatim"] = "hclog"

    def open(self) -> None:
        descriptor = os.open(self._path(), os.O_WRONLY | os.O_CREAT, 0o600)
        self.options["log_level"] = self.task.level
        self.options["log_forward"] = pyplugin.LogForward(descriptor, self.format)

    def seen(self) -> int | None:
        return None

    def _path(self) -> str:
        return os.devnull


class ForwardLogfmt(Forward):
    """The same as logfmt."""

    format = "logfmt"


class ForwardVerbatim(Forward):
    """The same as the plugin wrote them."""

    format = "verbatim"


class ForwardFile(Forward):
    """Lines written to a file without Python."""

    def seen(self) -> int:
        return _count_lines(Path(self._path())) - self.task.plugins

    def _path(self) -> str:
        return str(Path(self.task.folder, "plugins.log"))


class _Counter(logging.Handler):
    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.ERROR:
            self._sink.last_line()
        else:
            self._sink.lines += 1


class _Clock(_Counter):
    def emit(self, record: logging.LogRecord) -> None:
        arrived = time.monotonic_ns()
        if record.levelno != logging.ERROR:
            self._sink.late.append(arrived - int(record.getMessage()))
        super().emit(record)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


SINKS: dict[str, type[Sink]] = {
    "records": Records,
    "file": File,
    "batches": Batches,
    "forward": Forward,
    "forward logfmt": ForwardLogfmt,
    "forward verbatim": ForwardVerbatim,
    "forward to a file": ForwardFile,
}
