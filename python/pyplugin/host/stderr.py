"""The plugin's stderr, its log: from the pipe through the log pump to whoever wants it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from .._compat import timeout
from .._rust import LogSource, LogTarget
from ..constants import MAX_LOG_LINE_BYTES
from .pump import LogHub

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import BinaryIO

    from .._rust import LogBatch
    from .config import LogForward

# A read of so much, or one while lines are left over, begins more than the loop should read itself.
_MANY_BYTES = 4096
# The most that a dead process can have left in a pipe (Linux: /proc/sys/fs/pipe-max-size).
_MAX_LEFT_BEHIND_BYTES = 1024 * 1024
# Seconds for a thread to see the end of a dead process's pipe.
_FINISH_TIMEOUT = 1.0
# How often it gets that while lines still wait for a handler.
_FINISH_ROUNDS = 5
# Seconds for the last forwarded lines to be taken by whoever reads them.
_FORWARD_TIMEOUT = 5.0
# What the pump reports.
_RETURNED, _ENDED, _FAILED = range(3)


class StderrReader:
    """Reads one plugin's stderr to its end.

    Args:
        pipe: The read end. It is closed at once: the reader has a descriptor of its own.
        name: The plugin's name, for what is forwarded and for what goes wrong.
        logger: Gets the records, unless there is a sink or a forward.
        sink: Gets batches of lines instead.
        forward: Where lines are written to instead.
        copy: Gets all lines as they came.
        level: hclog's name of the least level, or a logger to follow; None follows ``logger``.
        buffer_size: Longest line that is parsed, in bytes.
    """

    def __init__(
        self,
        pipe: BinaryIO,
        name: str,
        logger: logging.Logger,
        *,
        sink: Callable[[LogBatch], object] | None = None,
        forward: LogForward | None = None,
        copy: BinaryIO | None = None,
        level: str | logging.Logger | None = None,
        buffer_size: int = MAX_LOG_LINE_BYTES,
    ) -> None:
        self._name = name
        self._logger = logger
        self._hub = hub = LogHub.of_running_loop()
        self._ended: asyncio.Future[None] = self._hub.loop.create_future()
        self._tail: tuple[bytes, ...] = ()
        self._is_watched = False
        # What is forwarded needs no loop, and the pump's thread where there can be one.
        is_windows = sys.platform == "win32"
        self._has_thread = hub.has_waiter and (is_windows or forward is None)
        with contextlib.ExitStack() as undo, pipe:
            undo.callback(hub.close_if_unused)
            self._target = _target_of(forward) if forward else None
            os.set_blocking(pipe.fileno(), self._has_thread)
            self._source: LogSource | None = LogSource(
                self._hub.reader,
                self._hub.queue,
                _descriptor(pipe.fileno()),
                name,
                buffer_size,
                level or logger,
                logger=None if sink or forward else logger,
                sink=sink,
                copy=copy,
                forward=(self._target, forward.format) if self._target and forward else None,
            )
            hub.add(self._source, self)
            undo.pop_all()
        if self._has_thread:
            job = f"pyplugin:{name}:log"
            threading.Thread(target=self._source.read_to_end, name=job, daemon=True).start()
        elif forward:
            self._source.hand_over()
        else:
            self._watch(self._source)

    @property
    def tail(self) -> tuple[bytes, ...]:
        """The last lines, oldest first, without line ends; long ones cut."""
        return tuple(self._source.tail()) if self._source else self._tail

    async def finish(self) -> None:
        """Delivers what a dead process left in the pipe, and closes it. May be called again."""
        if self._source is not None and not self._ended.done():
            self._finish(self._source)
            await self._wait_for_end()
        if self._target is not None and not self._ended.done():
            self._logger.error(
                "plugin %r: the last lines of its log are lost: for %g s nobody read what they are "
                "forwarded to",
                self._name,
                _FORWARD_TIMEOUT,
            )
        self._close()

    def on_event(self, kind: int, error: int | None) -> None:
        """Takes what the pump reports."""
        if kind == _ENDED:
            self._unwatch()
            if not self._ended.done():
                self._ended.set_result(None)
        elif kind == _RETURNED and self._source is not None:
            self._watch(self._source)
        elif kind == _FAILED:
            self._logger.error(
                "plugin %r: lines of its log are lost, since they cannot be forwarded: %s",
                self._name,
                os.strerror(error or 0),
            )

    async def _wait_for_end(self) -> None:
        limit = _FINISH_TIMEOUT if self._has_thread else None
        for _ in range(_FINISH_ROUNDS):
            with contextlib.suppress(TimeoutError):
                async with timeout(_FORWARD_TIMEOUT if self._target else limit):
                    await asyncio.shield(self._ended)
            # A slow handler gets more time, a pipe that another process holds does not.
            if self._ended.done() or self._target or not self._hub.is_behind:
                break

    def _finish(self, source: LogSource) -> None:
        if not self._has_thread:
            self._unwatch()
            source.finish(_MAX_LEFT_BEHIND_BYTES)
        self._hub.turn()

    def _watch(self, source: LogSource) -> None:
        self._is_watched = True
        self._hub.loop.add_reader(source.fileno(), self._on_readable)

    def _unwatch(self) -> None:
        if self._is_watched and self._source is not None:
            self._is_watched = False
            self._hub.loop.remove_reader(self._source.fileno())

    def _on_readable(self) -> None:
        assert self._source is not None
        count = self._source.read()
        if count is not None and (count >= _MANY_BYTES or self._hub.is_behind):
            self._source.hand_over()
            self._unwatch()
        self._hub.turn()

    def _close(self) -> None:
        if self._source is None:
            return
        self._tail = self.tail
        self._unwatch()
        source, self._source = self._source, None
        self._hub.remove(source)
        # They hold descriptors, and whoever keeps this object is not to keep those.
        del self._hub
        self._target = None
        # Whoever else waits for the end.
        if not self._ended.done():
            self._ended.set_result(None)


# Plugins that forward to one descriptor take turns at it. A number may name another file by now.
_targets: WeakValueDictionary[tuple[int, int, int], LogTarget] = WeakValueDictionary()


if hasattr(os, "register_at_fork"):
    # What they could not write yet is their parent's to write.
    os.register_at_fork(after_in_child=_targets.clear)


def check_forward(forward: LogForward) -> os.stat_result:
    """What its descriptor is; called before the plugin's own files can have a number that is free.

    Raises:
        ValueError: The descriptor is not open.
    """
    try:
        return os.fstat(forward.fd)
    except OSError as error:
        reason = f"`log_forward` names descriptor {forward.fd}: {error.strerror}"
        raise ValueError(reason) from error


def _target_of(forward: LogForward) -> LogTarget:
    status = check_forward(forward)
    key = forward.fd, status.st_dev, status.st_ino
    target = _targets.get(key)
    if target is None:
        target = _targets[key] = LogTarget(_descriptor(forward.fd))
    return target


def _descriptor(number: int) -> int:
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.get_osfhandle(number)
    return number
