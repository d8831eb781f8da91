"""What differs between Python versions. A floor that rises empties it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout as timeout
else:
    import asyncio
    from typing import TYPE_CHECKING

    if TYPE_CHECKING:
        from types import TracebackType

    class timeout:
        """``asyncio.timeout`` of 3.11, for one task and no re-scheduling."""

        def __init__(self, delay: float | None) -> None:
            self._delay = delay
            self._expired = False
            self._handle: asyncio.TimerHandle | None = None

        async def __aenter__(self) -> timeout:
            task = asyncio.current_task()
            assert task is not None
            if self._delay is not None:
                self._handle = asyncio.get_running_loop().call_later(
                    max(self._delay, 0), self._expire, task
                )
            return self

        def _expire(self, task: asyncio.Task[object]) -> None:
            self._expired = True
            task.cancel()

        async def __aexit__(
            self,
            exc_type: type[BaseException] | None,
            exc: BaseException | None,
            traceback: TracebackType | None,
        ) -> None:
            if self._handle is not None:
                self._handle.cancel()
            if self._expired and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc


__all__ = ["timeout"]
