from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import pytest

from pyplugin._compat import timeout

LONG = 1000.0
BEFORE_3_11 = sys.version_info < (3, 11)


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("delay", [0.01, 0.0, -1.0])
async def test_what_takes_too_long_is_a_timeout_error(delay: float) -> None:
    with pytest.raises(TimeoutError) as raised:
        async with timeout(delay):
            await for_ever()
    assert isinstance(raised.value.__cause__, asyncio.CancelledError)


async def test_the_task_lives_on_after_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0):
            await for_ever()
    await asyncio.sleep(0)
    async with timeout(LONG):
        await asyncio.sleep(0)


@pytest.mark.parametrize("delay", [LONG, None])
async def test_what_is_in_time_is_left_alone(delay: float | None) -> None:
    async with timeout(delay):
        await asyncio.sleep(0)
    async with timeout(delay):
        pass


async def test_what_never_waits_is_in_time_even_with_no_time() -> None:
    async with timeout(0):
        done = True
    for _ in range(3):
        await asyncio.sleep(0)
    assert done


@pytest.mark.parametrize("delay", [LONG, None])
async def test_an_error_of_the_body_passes(delay: float | None) -> None:
    with pytest.raises(KeyError, match="of the body"):
        async with timeout(delay):
            raise KeyError("of the body")


@pytest.mark.parametrize("delay", [LONG, None])
async def test_an_outer_cancellation_stays_one(delay: float | None) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with timeout(delay):
            started.set()
            await for_ever()

    task = asyncio.ensure_future(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancelled_body_stays_cancelled() -> None:
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with timeout(LONG):
            await cancelled


@pytest.mark.xfail(BEFORE_3_11, reason="3.10 does not tell who cancelled a task", strict=True)
async def test_a_time_that_is_up_during_the_cleanup_of_a_cancelled_task_changes_nothing() -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with timeout(0.01):
            try:
                started.set()
                await for_ever()
            finally:
                await for_ever()

    task = asyncio.ensure_future(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_timeouts_ends_alone() -> None:
    async with timeout(LONG):
        with pytest.raises(TimeoutError):
            async with timeout(0):
                await for_ever()
        await asyncio.sleep(0)


async def test_the_outer_of_two_timeouts_is_the_one_that_raises() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0):
            with pytest.raises(asyncio.CancelledError) as inner:
                async with timeout(LONG):
                    await for_ever()
            raise inner.value


async def test_the_outer_of_two_timeouts_that_run_out_at_once_is_the_one_that_raises() -> None:
    reached = []
    with pytest.raises(TimeoutError):
        async with timeout(0.01):
            with contextlib.suppress(TimeoutError):
                async with timeout(0.01):
                    time.sleep(0.02)  # noqa: ASYNC251  # both have run out at the next turn
                    await for_ever()
            reached.append("after the inner one")
            await for_ever()
    assert reached == []


async def test_a_timeout_in_the_cleanup_of_another_ends_alone() -> None:
    with pytest.raises(TimeoutError):
        async with timeout(0):
            try:
                await for_ever()
            finally:
                with pytest.raises(TimeoutError):
                    async with timeout(0.01):
                        await for_ever()
