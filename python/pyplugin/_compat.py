"""What differs between Python versions. A floor that rises empties it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout as timeout
else:
    import asyncio
    import weakref
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from types import TracebackType

    # How many timeouts of a task have run out and are not left yet. Cancelled twice in one turn of
    # the loop, a task is told once.
    _expired: weakref.WeakKeyDictionary[asyncio.Task[object], int] = weakref.WeakKeyDictionary()

    class timeout:
        """``asyncio.timeout`` of 3.11, for one task and no re-scheduling."""

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._expired = False
            self._handle: asyncio.TimerHandle | None = None

        async def __aenter__(self) -> timeout:
            task = asyncio.current_task()
            assert task is not None
            self._expired_before = _expired.get(task, 0)
            if self._delay is not None:
                self._handle = asyncio.get_running_loop().call_later(
                    max(self._delay, 0), self._expire, task
                )
            return self

        def _expire(self, task: asyncio.Task[object]) -> None:
            self._expired = True
            _expired[task] = _expired.get(task, 0) + 1
            task.cancel()

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            if self._handle is not None:
                self._handle.cancel()
            if not self._expired:
                return
            task = asyncio.current_task()
            assert task is not None
            _expired[task] -= 1
            # Where an outer one ran out meanwhile, the cancellation is its own.
            is_ours = _expired[task] <= self._expired_before
            if exc_type is asyncio.CancelledError and is_ours:
                raise TimeoutError from exc


__all__ = ["timeout"]
