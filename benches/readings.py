"""What hosts and plugins of all kinds share; the environment of the port has all it needs."""

from __future__ import annotations

import asyncio
import os
import resource
import select
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Reading(NamedTuple):
    """The time, and what this process has used of the processors; in seconds."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Reading:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.perf_counter(), usage.ru_utime + usage.ru_stime)


def percentiles(nanoseconds: list[int]) -> dict[str, float]:
    """Sorts times and sums them up."""
    nanoseconds.sort()
    last = len(nanoseconds) - 1
    p50, p99 = (nanoseconds[int(share * last)] / 1000 for share in (0.5, 0.99))
    return {"p50_us": p50, "p99_us": p99, "count": len(nanoseconds)}


async def in_turn(count: int, do: Callable[[], Awaitable[None]]) -> list[int]:
    """Does something ``count`` times; the nanoseconds of each."""
    times = []
    for _ in range(count):
        began = time.perf_counter_ns()
        await do()
        times.append(time.perf_counter_ns() - began)
    return times


async def at_once(count: int, in_flight: int, do: Callable[[], Awaitable[None]]) -> None:
    """Does something ``count`` times, ``in_flight`` of them at a time."""
    turns = iter(range(count))

    async def work() -> None:
        for _ in turns:
            await do()

    await asyncio.gather(*(work() for _ in range(in_flight)))


def end_with_host(stderr: int) -> None:
    """Ends the process when nobody is left to read its stderr.

    A host that had to be killed leaves no plugin behind.
    """
    hangup = select.poll()
    hangup.register(stderr, 0)
    hangup.poll()
    os._exit(0)
