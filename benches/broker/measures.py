"""What a host measures of its plugin, whatever connects the two."""

from __future__ import annotations

import asyncio
import io
from typing import TYPE_CHECKING, Any

from benches.broker.service import zeros
from benches.readings import Reading, at_once, in_turn, percentiles

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benches.broker.service import Connection
    from benches.broker.task import Task


class Counter(io.RawIOBase):
    """Where the plugin's output goes.

    Args:
        expected: How many bytes are to come.

    Attributes:
        end: Resolves when the last one is there.
    """

    def __init__(self, expected: int) -> None:
        self._left = expected
        self._loop = asyncio.get_running_loop()
        self.end: asyncio.Future[Reading] = self._loop.create_future()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._left -= len(data)
        if not self._left:
            self._loop.call_soon_threadsafe(self.end.set_result, Reading.now())
        return len(data)


class Host:
    """Measures one plugin.

    Args:
        task: What is measured.
        plugin: The plugin.
        printed: Gets its output.
    """

    def __init__(self, task: Task, plugin: Connection, printed: Counter) -> None:
        self._task = task
        self._plugin = plugin
        self._printed = printed

    async def measure(self) -> dict[str, Any]:
        match self._task.measure:
            case "call":
                return await self._repeat(self._plugin.call)
            case "host serves":
                return await self._repeat(self._plugin.serve)
            case "plugin serves":
                return await self._repeat(self._plugin.dial)
            case "get":
                return await self._repeat(self._get)
            case "put":
                return await self._repeat(lambda: self._plugin.put(zeros(self._task.bytes)))
            case "stream":
                return await self._repeat(self._stream)
        return await self._costs(self._print)

    async def _get(self) -> None:
        value = await self._plugin.get_bytes(f"bytes:{self._task.bytes}")
        assert len(value) == self._task.bytes

    async def _stream(self) -> None:
        assert await self._plugin.stream(self._task.messages) == self._task.messages

    async def _repeat(self, do: Callable[[], Awaitable[None]]) -> dict[str, Any]:
        """Does it in turn, and then as often as it can with many in flight."""
        task = self._task
        await in_turn(task.warm, do)
        times = await in_turn(task.in_turn, do)

        async def work() -> Reading:
            await at_once(task.at_once, task.in_flight, do)
            return Reading.now()

        return {**percentiles(times), **await self._costs(work)}

    async def _print(self) -> Reading:
        """Has the plugin print, until the last byte has come."""
        await self._plugin.get(f"{self._task.measure}:{self._task.bytes}")
        return await self._printed.end

    async def _costs(self, do: Callable[[], Awaitable[Reading]]) -> dict[str, Any]:
        """The time it takes, and what both processes use of the processors meanwhile."""
        plugin_began = await self._plugin.plugin_cpu()
        began = Reading.now()
        ended = await do()
        plugin_ended = await self._plugin.plugin_cpu()
        return {
            "seconds": ended.wall - began.wall,
            "host_seconds": ended.cpu - began.cpu,
            "plugin_seconds": plugin_ended - plugin_began,
        }
