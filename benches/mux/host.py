"""A host of two plugins, one over a single multiplexed connection, the other without.

It does the same over both by turns, and prints what that cost as JSON; benches/go/muxhost has the
same in Go. Its argument is a ``Task`` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from benches.broker.service import HANDSHAKE, BrokeredPlugin, Connection, zeros
from benches.mux.task import Task
from benches.readings import Reading, at_once, in_turn, percentiles
from pyplugin import Client, ClientConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Way:
    """Measures one plugin.

    Args:
        task: What is measured.
        plugin: The plugin.
    """

    def __init__(self, task: Task, plugin: Connection) -> None:
        self._task = task
        self._plugin = plugin
        self._do = self._action()
        self._times: list[int] = []
        self._costs = dict.fromkeys(("seconds", "host_seconds", "plugin_seconds"), 0.0)

    def _action(self) -> Callable[[], Awaitable[None]]:
        plugin, size = self._plugin, self._task.bytes

        async def get() -> None:
            value = await plugin.get_bytes(f"bytes:{size}")
            assert len(value) == size

        return {
            "call": plugin.call,
            "host serves": plugin.serve,
            "plugin serves": plugin.dial,
            "get": get,
            "put": lambda: plugin.put(zeros(size)),
        }[self._task.measure]

    async def warm(self) -> None:
        """Does it unmeasured."""
        await in_turn(self._task.warm, self._do)

    async def measure(self) -> None:
        """Does its part of a turn."""
        task = self._task
        self._times += await in_turn(task.in_turn, self._do)
        plugin_began = await self._plugin.plugin_cpu()
        began = Reading.now()
        await at_once(task.at_once, task.in_flight, self._do)
        ended = Reading.now()
        self._costs["seconds"] += ended.wall - began.wall
        self._costs["host_seconds"] += ended.cpu - began.cpu
        self._costs["plugin_seconds"] += await self._plugin.plugin_cpu() - plugin_began

    def result(self) -> dict[str, Any]:
        """What all turns cost."""
        return {**percentiles(self._times), **self._costs}


async def main(task: Task) -> dict[str, Any]:
    """What was measured.

    Raises:
        TimeoutError: It took too long.
    """
    async with AsyncExitStack() as clients:
        ways = []
        for multiplex in (False, True):
            config = ClientConfig(
                handshake_config=HANDSHAKE,
                plugins={"kv_grpc": BrokeredPlugin()},
                cmd=task.command,
                auto_mtls=task.auto_mtls,
                grpc_broker_multiplex=multiplex,
            )
            client = await clients.enter_async_context(Client(config))
            ways.append(Way(task, client.dispense("kv_grpc")))

        async def work() -> None:
            for way in ways:
                await way.warm()
            for turn in range(task.turns):
                # Neither is always the first.
                for way in ways if turn % 2 == 0 else ways[::-1]:
                    await way.measure()

        await asyncio.wait_for(work(), task.seconds)
    return dict(zip(("plain", "mux"), (way.result() for way in ways), strict=True))


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Task(**json.loads(sys.argv[1]))))))
