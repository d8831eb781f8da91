"""The log pump in an event loop: its turns at the lines of all plugins of the loop."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Protocol

from .._rust import LogQueue, LogReader

if TYPE_CHECKING:
    from .._rust import LogSource

# Seconds of a turn of the loop that log lines may take.
_BUDGET = 0.0005
# Seconds that the interpreter's end waits for a handler at work in another thread.
_EXIT_GRACE = 5.0


class Listener(Protocol):
    """Who owns a source."""

    def on_event(self, kind: int, error: int | None) -> None:
        """Takes what the pump reports of the source beside its lines; see ``LogQueue.events``."""


class LogHub:
    """The lines that wait for one event loop: made with its first plugin, closed with its last.

    Attributes:
        loop: The loop.
        reader: The thread that reads for all loops.
        queue: What waits.
        has_waiter: The loop cannot watch pipes (Windows): threads read and wait for it.
        is_behind: Lines are left over from the last turn.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.reader: LogReader = _share_reader()
        self.is_behind: bool = False
        self.has_waiter: bool = sys.platform == "win32"
        self._listeners: dict[int, tuple[LogSource, Listener]] = {}
        self._is_over = False
        self._is_at_work = threading.Lock()
        self._waiter: threading.Thread | None = None
        self.queue: LogQueue = LogQueue(self.has_waiter)
        if not self.has_waiter:
            try:
                loop.add_reader(self.queue.fileno(), self.turn)
            except NotImplementedError:
                self.has_waiter = True
                self.queue = LogQueue(True)
        if self.has_waiter:
            self._waiter = threading.Thread(target=self._wait, name="pyplugin:log", daemon=True)
            self._waiter.start()

    @classmethod
    def of_running_loop(cls) -> LogHub:
        """The one of this loop."""
        loop = asyncio.get_running_loop()
        for hub in list(_hubs.values()):
            if hub.loop.is_closed():
                hub._close()
        if loop not in _hubs:
            _hubs[loop] = cls(loop)
        return _hubs[loop]

    def add(self, source: LogSource, listener: Listener) -> None:
        """Takes part in what the pump reports of ``source``."""
        self._listeners[source.id] = source, listener

    def remove(self, source: LogSource) -> None:
        """Ends a source."""
        source.close()
        del self._listeners[source.id]
        self.close_if_unused()

    def close_if_unused(self) -> None:
        """Gives back what it holds when it has no source."""
        if not self._listeners:
            self._close()

    def turn(self) -> None:
        """Hands on lines for a little while; what is left waits for the next turn of the loop."""
        if not self.is_behind:
            self._drain()

    def _drain(self) -> None:
        # A handler that comes back here finds that it is somebody's turn already.
        self.is_behind = True
        try:
            with self._is_at_work:
                if not self._is_over:
                    self.is_behind = self.queue.drain(_BUDGET, self._report)
        finally:
            if self.is_behind and not self._is_over:
                self.loop.call_soon(self._drain)
        for source, kind, error in self.queue.events():
            if source in self._listeners:
                self._listeners[source][1].on_event(kind, error)

    def end(self) -> None:
        """Ends its turns for good, from another thread than the loop's."""
        self._is_over = True
        if self._waiter:
            self.queue.close()
            self._waiter.join(_EXIT_GRACE)
        if self._is_at_work.acquire(timeout=_EXIT_GRACE):
            self._is_at_work.release()

    def _report(self, error: Exception) -> None:
        # What raises loses its line, not the lines after it.
        self.loop.call_exception_handler(
            {"message": "what takes a plugin's log lines raised", "exception": error}
        )

    def _wait(self) -> None:
        with contextlib.suppress(RuntimeError):  # The loop may be closed before the queue is.
            while self.queue.wait():
                self.loop.call_soon_threadsafe(self.turn)

    def _close(self) -> None:
        if _hubs.pop(self.loop, None) is None:
            return
        for source, _ in self._listeners.values():
            source.close()
        self._listeners.clear()
        if not self.has_waiter and not self.loop.is_closed():
            self.loop.remove_reader(self.queue.fileno())
        self.queue.close()
        _release_reader()


_hubs: dict[asyncio.AbstractEventLoop, LogHub] = {}

# The one thread, which several loops in several threads may share.
_lock = threading.Lock()
_reader: LogReader | None = None
_reader_users = 0


def _share_reader() -> LogReader:
    global _reader, _reader_users
    with _lock:
        if _reader is None:
            _reader = LogReader()
        _reader_users += 1
        return _reader


def _release_reader() -> None:
    global _reader, _reader_users
    with _lock:
        _reader_users -= 1
        if _reader_users or _reader is None:
            return
        reader, _reader = _reader, None
    reader.close()


@atexit.register
def _end_turns_of_other_threads() -> None:
    """A thread that finds the interpreter gone must not have Rust on its stack: that aborts."""
    for hub in list(_hubs.values()):
        if hub.loop.is_running():
            hub.end()


# Kept in a child made by fork: it must not let go of a thread that it does not have.
_readers_of_parents: list[LogReader | None] = []


def _forget() -> None:
    """In a child made by fork, the thread and the loops are its parent's."""
    global _lock, _reader, _reader_users
    _readers_of_parents.append(_reader)
    _lock, _reader, _reader_users = threading.Lock(), None, 0
    _hubs.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
