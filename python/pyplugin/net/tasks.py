"""Who owns a task: the only place of the package that creates one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import logging
    from collections.abc import Coroutine

Result = TypeVar("Result")


def new_task(work: Coroutine[Any, Any, Result]) -> asyncio.Task[Result]:
    """A task whose owner is the caller, who is to cancel it or to wait for its end."""
    return asyncio.get_running_loop().create_task(work)


class TaskScope:
    """The tasks of one owner, which ends them all by ``aclose()``.

    Unlike ``asyncio.TaskGroup`` it may be used and closed from different tasks: ``start()`` and
    ``kill()`` of one client often are.
    """

    def __init__(self, owner: str, logger: logging.Logger) -> None:
        self._owner = owner
        self._logger = logger
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, Result], job: str) -> asyncio.Task[Result]:
        """Runs ``work`` in a task of this scope, which logs the error it ends with."""
        task = asyncio.get_running_loop().create_task(work, name=f"pyplugin:{self._owner}:{job}")
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def aclose(self) -> None:
        """Cancels every task and waits until all have ended. More may be spawned later.

        The calling task, where it is one of them, is left out. Safe to cancel: the tasks stay
        cancelled.
        """
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._logger.error("%s failed", task.get_name(), exc_info=error)
