"""The short form runs with the tests, the long one with SOAK=1. That nothing is left, no process,
descriptor, task or file, the fixtures of every test check.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpclib.exceptions import GRPCError

from pyplugin import Client, PyPluginError
from pyplugin._compat import timeout
from tests.conftest import ROOT
from tests.fixtures import client, is_alive
from tests.fixtures.authors import AuthorPlugin, Request
from tests.fixtures.logs import LIMIT
from tests.soak import AUTHOR

if TYPE_CHECKING:
    from pyplugin import LogBatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")

IS_LONG = bool(os.environ.get("SOAK"))
# How many of each.
CYCLES = 200 if IS_LONG else 6
DEATHS = 200 if IS_LONG else 8
PLUGINS = 20 if IS_LONG else 3
SECONDS = 60.0 if IS_LONG else 1.0
# Seconds that a plugin takes until it answers; deaths come at any moment of them, and after.
START = 0.6
# Bytes that the process may grow by once it is warm: an object forgotten in each cycle, with all
# that hangs on it, is more.
MAX_GROWTH = 8 * 2**20
SETTINGS: list[dict[str, Any]] = [
    {},
    {"auto_mtls": True},
    {"grpc_broker_multiplex": True},
    {"auto_mtls": True, "grpc_broker_multiplex": True},
    {"KV_LOOP": "uvloop"},
]


def author(**settings: Any) -> Client:
    return client(AUTHOR, plugins={"kv": AuthorPlugin()}, **settings)


def memory() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def state() -> tuple[int, int, int]:
    """Descriptors, tasks and threads."""
    descriptors = len(os.listdir("/proc/self/fd"))
    return descriptors, len(asyncio.all_tasks()), threading.active_count()


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """A run is repeated by SOAK_SEED."""
    seed = int(os.environ.get("SOAK_SEED", random.randrange(10**6)))
    print(f"SOAK_SEED={seed}")
    return random.Random(seed)


async def test_plugins_that_come_and_go() -> None:
    for settings in SETTINGS:
        await run_cycle(settings)
    before, used = state(), memory()
    for number in range(CYCLES):
        await run_cycle(SETTINGS[number % len(SETTINGS)])
        assert state() <= before
    assert memory() - used < MAX_GROWTH


async def run_cycle(settings: dict[str, Any]) -> None:
    async with timeout(LIMIT), author(**settings) as started:
        stub = started.dispense("kv")
        assert int((await stub.Get(Request(key="x"))).value) == started.pid
        assert (await stub.Unary(Request(key="x"))).value == b"x"
    assert started.pid is not None
    assert not is_alive(started.pid)


async def test_plugins_that_die_at_any_moment(rng: random.Random) -> None:
    for number in range(DEATHS):
        plugin = author(**rng.choice(SETTINGS))

        async def live(plugin: Client = plugin) -> None:
            await plugin.start()
            stub = plugin.dispense("kv")
            while True:
                await stub.Get(Request(key="x"))

        async with timeout(LIMIT):
            living = asyncio.create_task(live())
            while plugin.pid is None:  # noqa: ASYNC110 -- nothing tells
                await asyncio.sleep(0)
            pid = plugin.pid
            await asyncio.sleep(rng.uniform(0, START * 1.2))
            if number % 4:
                os.kill(pid, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGABRT]))
            else:
                living.cancel()
            end = (await asyncio.gather(living, return_exceptions=True))[0]
            assert isinstance(end, PyPluginError | GRPCError | asyncio.CancelledError), end
            await plugin.kill()
        assert not is_alive(pid)


async def test_hosts_that_die_at_any_moment(rng: random.Random) -> None:
    loop = type(asyncio.get_running_loop()).__module__.partition(".")[0]
    for _ in range(DEATHS // 2):
        host = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.soak.host", loop),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": f"{ROOT}/python:{ROOT}/examples/kv"},
        )
        assert host.stdout is not None
        async with timeout(LIMIT):
            pids = [int(await host.stdout.readline()) for _ in range(2)]
            await asyncio.sleep(rng.uniform(0, START * 2))
            host.send_signal(rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGABRT]))
            await host.wait()
            # What they print is this test's to read to the end, which comes with the last of them.
            assert await host.stdout.read() == b""
            for pid in pids:
                while is_running(pid):  # noqa: ASYNC110 -- they are nobody's children here
                    await asyncio.sleep(0.01)
    async with timeout(LIMIT):
        while list(Path(os.environ["TMPDIR"]).glob("pyplugin-*")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether there is such a process, which is no zombie that nobody has reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_many_plugins_under_load() -> None:
    lines = calls = 0

    def sink(batch: LogBatch) -> None:
        nonlocal lines
        lines += len(batch)

    async def call(plugin: Client) -> None:
        nonlocal calls
        stub = plugin.dispense("kv")
        while True:
            await stub.Get(Request(key="log:20"))
            await stub.Unary(Request(key="x"))
            calls += 1

    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        plugins = [
            author(log_sink=sink, **SETTINGS[number % len(SETTINGS)]) for number in range(PLUGINS)
        ]
        for plugin in plugins:
            await stack.enter_async_context(plugin)
        calling = [asyncio.create_task(call(plugin)) for plugin in plugins for _ in range(2)]
        await asyncio.sleep(SECONDS / 3)
        used, before = memory(), state()
        end = loop.time() + SECONDS * 2 / 3
        while loop.time() < end:
            await asyncio.gather(*(plugin.ping() for plugin in plugins))
            assert not any(task.done() for task in calling)
        assert state() <= before
        assert memory() - used < MAX_GROWTH
        for task in calling:
            task.cancel()
        await asyncio.wait(calling)
    assert lines >= 20 * calls > 0
