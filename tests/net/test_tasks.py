from __future__ import annotations

import asyncio
import logging

import pytest

from pyplugin.net.tasks import TaskScope


@pytest.fixture
def scope() -> TaskScope:
    return TaskScope("owner", logging.getLogger("of.the.owner"))


async def for_ever(started: asyncio.Event | None = None) -> None:
    if started is not None:
        started.set()
    await asyncio.get_running_loop().create_future()


async def test_a_task_is_named_by_owner_and_job_and_gives_its_result(scope: TaskScope) -> None:
    async def work() -> int:
        return 7

    task = scope.spawn(work(), "job")
    assert task.get_name() == "pyplugin:owner:job"
    assert await task == 7


async def test_closing_cancels_every_task(scope: TaskScope) -> None:
    started, not_started = asyncio.Event(), asyncio.Event()
    tasks = [scope.spawn(for_ever(started), "runs")]
    await started.wait()
    tasks.append(scope.spawn(for_ever(not_started), "was not begun"))
    await scope.aclose()
    assert all(task.cancelled() for task in tasks)
    assert not not_started.is_set()


async def test_closing_waits_for_what_a_task_does_at_its_end(scope: TaskScope) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            await for_ever(started)
        finally:
            await asyncio.sleep(0)
            steps.append("cleaned up")

    started = asyncio.Event()
    scope.spawn(work(), "job")
    await started.wait()
    await scope.aclose()
    assert steps == ["cleaned up"]


async def test_closing_without_tasks_returns_and_may_be_repeated(scope: TaskScope) -> None:
    await scope.aclose()
    scope.spawn(for_ever(), "job")
    await asyncio.gather(scope.aclose(), scope.aclose())
    await scope.aclose()


async def test_a_scope_can_be_used_after_closing(scope: TaskScope) -> None:
    await scope.aclose()
    task = scope.spawn(for_ever(), "job")
    await scope.aclose()
    assert task.cancelled()


async def test_a_task_that_closes_its_scope_ends_the_others_only(scope: TaskScope) -> None:
    async def work() -> str:
        await scope.aclose()
        return "lived on"

    other = scope.spawn(for_ever(), "other")
    assert await scope.spawn(work(), "closer") == "lived on"
    assert other.cancelled()


async def test_a_cancelled_close_leaves_its_tasks_cancelled(scope: TaskScope) -> None:
    started, cancelled, may_end = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            await for_ever(started)
        except asyncio.CancelledError:
            cancelled.set()
            await may_end.wait()
            raise

    task = scope.spawn(work(), "slow to end")
    await started.wait()
    closing = scope.spawn(scope.aclose(), "close")
    await cancelled.wait()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_failure_is_logged_with_the_name_of_its_task(
    scope: TaskScope, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        raise ValueError("of the job")

    task = scope.spawn(work(), "job")
    await asyncio.wait([task])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("of.the.owner", "ERROR")
    assert record.getMessage() == "pyplugin:owner:job failed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "of the job"


async def test_a_failure_while_closing_is_logged_and_not_raised(
    scope: TaskScope, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        try:
            await for_ever(started)
        finally:
            raise ValueError("at the end")

    started = asyncio.Event()
    scope.spawn(work(), "job")
    other = scope.spawn(for_ever(), "other")
    await started.wait()
    await scope.aclose()
    assert other.cancelled()
    assert [record.getMessage() for record in caplog.records] == ["pyplugin:owner:job failed"]


async def test_an_end_by_cancellation_or_return_is_not_logged(
    scope: TaskScope, caplog: pytest.LogCaptureFixture
) -> None:
    scope.spawn(for_ever(), "cancelled")
    await scope.spawn(asyncio.sleep(0), "returns")
    await scope.aclose()
    assert caplog.records == []
