"""A host that takes the log of one or more logplugins, and prints what that cost as JSON.

benches/go/loghost has the same in Go. It runs in the port's environment too: the sinks "records"
and "file" need nothing that the port has not. Its argument is a ``Task`` as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_pb2
from kv import HANDSHAKE, KVPlugin

from benches.logs.sinks import SINKS
from benches.logs.task import Task
from benches.readings import Reading, percentiles
from pyplugin import Client, ClientConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from benches.logs.sinks import Sink

# Seconds for which loop and calls are measured with nothing else going on.
IDLE_TIME = 1.5
# Seconds between two samples.
PAUSE = 0.002


class End:
    """Waits for the last line of every plugin, and takes the reading at that moment."""

    def __init__(self, plugins: int) -> None:
        self._left = plugins
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Future[Reading] = self._loop.create_future()

    def last_line(self) -> None:
        self._left -= 1
        if not self._left:
            self._loop.call_soon_threadsafe(self._reading.set_result, Reading.now())

    async def wait(self) -> Reading:
        return await self._reading


class Host:
    """The plugins of a task, from ``async with`` on."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.end = End(task.plugins)
        self.sink: Sink = SINKS[task.sink](task, self.end.last_line)
        self._clients: list[Client] = []
        self._stores: list[Any] = []

    async def __aenter__(self) -> Host:
        try:
            for _ in range(self.task.plugins):
                config = ClientConfig(
                    handshake_config=HANDSHAKE,
                    plugins={"kv_grpc": KVPlugin()},
                    cmd=self.task.command,
                    auto_mtls=False,
                    **self.sink.options,
                )
                client = Client(config)
                self._clients.append(client)
                await client.start()
                self._stores.append(client.dispense("kv_grpc"))
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def kill(self) -> None:
        await asyncio.gather(*(client.kill() for client in self._clients))

    async def write(self) -> Reading:
        """Has every plugin write its lines; the reading when all of them have been seen."""
        request = kv_pb2.GetRequest(key=str(self.task.lines))
        await asyncio.gather(*(store.Get(request) for store in self._stores))
        return await self.end.wait() if self.sink.sees_end else Reading.now()

    async def call_times(self, stop: asyncio.Event) -> list[int]:
        """Calls one plugin after the other until stopped; nanoseconds of each call."""
        request, times = kv_pb2.GetRequest(key="now"), []
        for store in itertools.cycle(self._stores):
            await asyncio.sleep(PAUSE)
            if stop.is_set():
                break
            began = time.perf_counter_ns()
            await store.Get(request)
            times.append(time.perf_counter_ns() - began)
        return times


async def rate(host: Host) -> dict[str, Any]:
    began = Reading.now()
    ended = await host.write()
    return {
        "seconds": ended.wall - began.wall,
        "cpu_seconds": ended.cpu - began.cpu,
        "peak_bytes": peak_bytes(),
    }


async def latency(host: Host) -> dict[str, Any]:
    await host.write()
    return percentiles(host.sink.late)


async def storm(host: Host) -> dict[str, Any]:
    async def quiet() -> None:
        await asyncio.sleep(IDLE_TIME)

    return {"idle": await _during(host, quiet), "storm": await _during(host, host.write)}


async def _during(host: Host, something: Callable[[], Any]) -> dict[str, Any]:
    stop = asyncio.Event()
    samples = asyncio.gather(loop_delays(stop), host.call_times(stop))
    await something()
    stop.set()
    delays, calls = await samples
    return {"loop": percentiles(delays), "call": percentiles(calls)}


async def loop_delays(stop: asyncio.Event) -> list[int]:
    """Sleeps until stopped; nanoseconds by which each sleep was too long."""
    delays = []
    while not stop.is_set():
        due = time.perf_counter() + PAUSE
        await asyncio.sleep(PAUSE)
        delays.append(int((time.perf_counter() - due) * 1e9))
    return delays


def peak_bytes() -> int:
    """The most memory since the program began; getrusage tells of what it was forked from too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


MEASURES = {"rate": rate, "latency": latency, "storm": storm}


async def main(task: Task) -> dict[str, Any]:
    """What was measured."""
    # The port reads every pipe in a thread of this executor, which has only six on two cores.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * task.plugins + 8))
    async with Host(task) as host:
        result = await MEASURES[task.measure](host)
    return {**result, "seen": host.sink.seen()}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Task(**json.loads(sys.argv[1]))))))
