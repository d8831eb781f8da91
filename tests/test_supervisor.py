"""A plugin that is started again when it dies, and replaced without a gap."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import (
    PluginCrashed,
    ProcessExitedError,
    ReattachConfig,
    RestartPolicy,
    Supervisor,
)
from pyplugin._compat import timeout
from tests.fixtures import config, is_alive, script
from tests.fixtures.authors import AuthorPlugin, Request
from tests.fixtures.logs import LIMIT

if TYPE_CHECKING:
    from pyplugin import Client, ClientConfig

AUTHOR = [sys.executable, str(Path(__file__).parent / "fixtures" / "authors.py")]
BROKEN = script("import sys; sys.exit('it is broken')")
FAST = RestartPolicy(delay=0.01, max_delay=0.02)


def author(cmd: list[str] = AUTHOR, **settings: Any) -> ClientConfig:
    return config(cmd, plugins={"kv": AuthorPlugin()}, **settings)


def supervised(
    policy: RestartPolicy = FAST, drain_timeout: float = LIMIT, **settings: Any
) -> Supervisor:
    return Supervisor(author(**settings), policy, drain_timeout=drain_timeout)


async def pid_of(stub: Any) -> int:
    """Which plugin answers."""
    async with timeout(LIMIT):
        return int((await stub.Get(Request(key="pid"))).value)


async def exited(client: Client) -> None:
    async with timeout(LIMIT):
        await client.wait_exited()


async def failure_of(supervisor: Supervisor) -> ProcessExitedError:
    """Why it was given up."""
    async with timeout(LIMIT):
        with pytest.raises(ProcessExitedError) as raised:
            # Plugins that come and go meanwhile do not matter.
            while True:
                client = await supervisor.client()
                await client.wait_exited()
    return raised.value


@pytest.mark.parametrize("end", ["exit:0", "exit:7", signal.SIGKILL, signal.SIGTERM])
async def test_a_plugin_that_ended_is_started_again(end: str | signal.Signals) -> None:
    statuses: list[int | None] = []
    async with supervised(on_exit=statuses.append) as supervisor:
        stub = supervisor.dispense("kv")
        first = await pid_of(stub)
        if isinstance(end, signal.Signals):
            client = await supervisor.client()
            os.kill(first, end)
            await exited(client)
        else:
            with pytest.raises(PluginCrashed):
                await stub.Get(Request(key=end))
        # The same stub, and at once.
        second = await pid_of(stub)
        assert second != first
        assert supervisor.restarts == 1
        assert not is_alive(first)
    assert len(statuses) == 2
    assert not is_alive(second)


async def test_calls_in_flight_fail_and_later_ones_do_not() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        waiting = [asyncio.create_task(stub.Get(Request(key="sleep:60"))) for _ in range(10)]
        first = await pid_of(stub)
        os.kill(first, signal.SIGKILL)
        async with timeout(LIMIT):
            ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [PluginCrashed] * 10
        pids = await asyncio.gather(*(pid_of(stub) for _ in range(10)))
        assert len(set(pids)) == 1
        assert pids[0] != first


async def test_streams_go_to_the_plugin_that_runs_too() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        for attempt in range(2):
            async with stub.Echo.open() as stream:
                await stream.send_message(Request(key="a"))
                assert (await stream.recv_message()).value == b"a"
                await stream.end()
            if not attempt:
                client = await supervisor.client()
                os.kill(client.pid or 0, signal.SIGKILL)
                await exited(client)
        replies = await stub.Many(Request(key=":2"))
        assert [reply.value for reply in replies] == [b"0", b"1"]


# Back-off


def test_the_delay_grows_to_its_limit() -> None:
    policy = RestartPolicy(delay=0.1, factor=3, max_delay=2)
    assert [policy.delay_of(row) for row in range(5)] == pytest.approx([0.1, 0.3, 0.9, 2, 2])
    assert RestartPolicy().delay_of(100_000) == 30


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the supervisor slept, which it does not."""
    seconds: list[float] = []
    sleep = asyncio.sleep

    async def note(delay: float) -> None:
        seconds.append(delay)
        await sleep(0)

    class Asyncio:
        def __getattr__(self, name: str) -> Any:
            return note if name == "sleep" else getattr(asyncio, name)

    monkeypatch.setattr("pyplugin.supervisor.asyncio", Asyncio())
    return seconds


async def test_it_is_given_up_after_so_many_restarts_in_a_row(
    slept: list[float], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    policy = RestartPolicy(delay=1, factor=2, max_delay=3, max_restarts=4)
    # It works the first time only.
    flag = tmp_path / "flag"
    command = ["/bin/sh", "-c", f'test -e {flag} && echo broken >&2 && exit 3; exec "$@"', "plugin"]
    async with Supervisor(author([*command, *AUTHOR]), policy) as supervisor:
        stub = supervisor.dispense("kv")
        flag.touch()
        with pytest.raises(PluginCrashed):
            await stub.Get(Request(key="exit:1"))
        error = await failure_of(supervisor)
        assert slept == [1, 2, 3, 3]
        assert supervisor.restarts == 4
        message = str(error)
        assert "given up after 4 restarts in a row" in message
        assert "plugin 'sh'" in message
        assert "broken" in message
        assert error.plugin == "sh"
        assert error.exit_code == 3
        assert error.stderr_tail == (b"broken",)
        # For every call, and each time.
        for _ in range(2):
            with pytest.raises(ProcessExitedError, match="given up"):
                await stub.Get(Request(key="x"))
        # It may be replaced yet.
        flag.unlink()
        await supervisor.swap()
        assert is_alive(await pid_of(stub))
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1


async def test_a_plugin_that_ends_again_and_again_is_given_up_too(slept: list[float]) -> None:
    policy = RestartPolicy(delay=1, factor=2, max_restarts=2)
    async with supervised(policy) as supervisor:
        stub = supervisor.dispense("kv")
        for _ in range(3):
            with pytest.raises(PluginCrashed):
                await stub.Get(Request(key="exit:5"))
        error = await failure_of(supervisor)
        assert (slept, error.exit_code) == ([1, 2], 5)
        assert "exited with status 5" in str(error)


async def test_no_restart_at_all() -> None:
    async with supervised(RestartPolicy(max_restarts=0)) as supervisor:
        stub = supervisor.dispense("kv")
        with pytest.raises(PluginCrashed):
            await stub.Get(Request(key="exit:5"))
        with pytest.raises(ProcessExitedError, match="given up after 0 restarts"):
            await stub.Get(Request(key="x"))


async def test_the_row_begins_anew_once_a_plugin_has_run_for_long(slept: list[float]) -> None:
    policy = RestartPolicy(delay=1, factor=2, max_restarts=2, stable_after=0)
    async with supervised(policy) as supervisor:
        stub = supervisor.dispense("kv")
        for _ in range(4):
            with pytest.raises(PluginCrashed):
                await stub.Get(Request(key="exit:5"))
        await pid_of(stub)
        assert slept == [1, 1, 1, 1]


async def test_any_error_of_a_start_counts(slept: list[float]) -> None:
    async with supervised(RestartPolicy(max_restarts=2)) as supervisor:
        client = await supervisor.client()
        # Not one of this package's errors.
        supervisor._config.env = {"NO\0": "environment"}
        os.kill(client.pid or 0, signal.SIGKILL)
        error = await failure_of(supervisor)
        assert isinstance(error.__cause__, ValueError)


# Swap


async def test_swap_loses_no_call() -> None:
    async with supervised() as supervisor:
        stub, seen, is_over = supervisor.dispense("kv"), set(), False

        async def storm() -> None:
            while not is_over:
                seen.add(await pid_of(stub))

        first = await pid_of(stub)
        storms = [asyncio.create_task(storm()) for _ in range(10)]
        for _ in range(2):
            await supervisor.swap()
        second = await pid_of(stub)
        is_over = True
        await asyncio.gather(*storms)
        assert {first, second} < seen
        assert len(seen) == 3
        assert [is_alive(pid) for pid in sorted(seen)].count(True) == 1
        assert supervisor.restarts == 0


async def test_the_old_one_comes_to_its_end() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        first = await pid_of(stub)
        long = asyncio.create_task(stub.Get(Request(key="sleep:0.3")))
        async with stub.Echo.open() as stream:
            await stream.send_message(Request(key="a"))
            await stream.recv_message()
            swap = asyncio.create_task(supervisor.swap())
            assert int((await long).value) == first
            while (second := await pid_of(stub)) == first:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not swap.done()
            assert is_alive(first)
            await stream.send_message(Request(key="b"))
            assert (await stream.recv_message()).value == b"b"
            await stream.end()
        async with timeout(LIMIT):
            await swap
        assert not is_alive(first)
        assert await pid_of(stub) == second


async def test_it_does_not_wait_for_ever() -> None:
    async with supervised(drain_timeout=0.05) as supervisor:
        stub = supervisor.dispense("kv")
        first = await pid_of(stub)
        long = asyncio.create_task(stub.Get(Request(key="sleep:60")))
        await asyncio.sleep(0)
        async with timeout(LIMIT):
            await supervisor.swap()
            with pytest.raises(PluginCrashed):
                await long
        assert not is_alive(first)


async def test_swap_to_another_configuration() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        with pytest.raises(ProcessExitedError, match="it is broken"):
            await supervisor.swap(author(BROKEN))
        first = await pid_of(stub)
        with pytest.raises(ValueError, match="`cmd` must be set"):
            await supervisor.swap(config(None, reattach=ReattachConfig(1, "/x")))  # type: ignore[arg-type]
        # It is what is started again from now on.
        await supervisor.swap(author(KV_LOOP="uvloop"))
        with pytest.raises(PluginCrashed):
            await stub.Get(Request(key="exit:1"))
        assert await pid_of(stub) != first
        client = await supervisor.client()
        assert client._config.env == {"KV_LOOP": "uvloop"}


async def test_a_new_plugin_that_dies_while_the_old_one_is_drained() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        first = await pid_of(stub)
        long = asyncio.create_task(stub.Get(Request(key="sleep:60")))
        await asyncio.sleep(0)
        swap = asyncio.create_task(supervisor.swap())
        while (second := await pid_of(stub)) == first:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        os.kill(second, signal.SIGKILL)
        await exited(await supervisor.client())
        # Though the old one is still there.
        assert await pid_of(stub) not in (first, second)
        assert is_alive(first)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(PluginCrashed):
            await long
        async with timeout(LIMIT):
            await swap
        assert supervisor.restarts == 1


async def test_swap_during_a_restart_starts_one_plugin() -> None:
    async with supervised(RestartPolicy(delay=0.05)) as supervisor:
        stub = supervisor.dispense("kv")
        with pytest.raises(PluginCrashed):
            await stub.Get(Request(key="exit:1"))
        async with timeout(LIMIT):
            await asyncio.gather(supervisor.swap(), supervisor.swap())
        await pid_of(stub)
        assert len(supervisor._calls) == 1


async def test_cancelling_swap() -> None:
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        first = await pid_of(stub)
        # While the new one starts: the old one goes on.
        swap = asyncio.create_task(supervisor.swap())
        while len(supervisor._calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        swap.cancel()
        with pytest.raises(asyncio.CancelledError):
            await swap
        assert await pid_of(stub) == first
        assert len(supervisor._calls) == 1
        # While the old one is drained: it is ended nevertheless.
        client = await supervisor.client()
        long = asyncio.create_task(stub.Get(Request(key="sleep:0.2")))
        await asyncio.sleep(0)
        swap = asyncio.create_task(supervisor.swap())
        while await pid_of(stub) == first:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        swap.cancel()
        assert int((await long).value) == first
        await exited(client)


# The end


@pytest.mark.parametrize("seconds", [0.0, 0.03, 0.2])
async def test_close_during_a_restart(seconds: float) -> None:
    supervisor = supervised(RestartPolicy(delay=0.02))
    await supervisor.start()
    stub = supervisor.dispense("kv")
    with pytest.raises(PluginCrashed):
        await stub.Get(Request(key="exit:1"))
    waiting = asyncio.create_task(stub.Get(Request(key="x")))
    await asyncio.sleep(seconds)
    async with timeout(LIMIT):
        await supervisor.close()
        end = (await asyncio.gather(waiting, return_exceptions=True))[0]
        assert isinstance(end, ProcessExitedError) or seconds
    with pytest.raises(ProcessExitedError, match="closed"):
        await stub.Get(Request(key="x"))
    await supervisor.close()
    with pytest.raises(RuntimeError, match="closed"):
        await supervisor.start()
    with pytest.raises(RuntimeError, match="does not run"):
        await supervisor.swap()


async def test_close_during_swap() -> None:
    supervisor = supervised()
    await supervisor.start()
    first = await pid_of(supervisor.dispense("kv"))
    swap = asyncio.create_task(supervisor.swap())
    while len(supervisor._calls) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0)
    async with timeout(LIMIT):
        await supervisor.close()
        with pytest.raises(ProcessExitedError):
            await swap
    assert not is_alive(first)


async def test_close_may_be_cancelled() -> None:
    supervisor = supervised()
    await supervisor.start()
    client = await supervisor.client()
    closing = asyncio.create_task(supervisor.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await exited(client)
    await supervisor.close()


async def test_a_first_start_fails_as_it_is() -> None:
    supervisor = supervised(cmd=BROKEN)
    with pytest.raises(ProcessExitedError, match="it is broken"):
        await supervisor.start()
    assert supervisor.restarts == 0
    with pytest.raises(RuntimeError, match="not started"):
        await supervisor.client()
    await supervisor.close()


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    supervisor = supervised()
    starting = asyncio.create_task(supervisor.start())
    while not supervisor._calls:  # noqa: ASYNC110
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not supervisor._calls


async def test_starting_twice_starts_once() -> None:
    supervisor = supervised()
    await asyncio.gather(supervisor.start(), supervisor.start())
    assert len(supervisor._calls) == 1
    await supervisor.close()


async def test_misuse() -> None:
    with pytest.raises(ValueError, match="`cmd` must be set"):
        Supervisor(config(None, reattach=ReattachConfig(1, "/x")))  # type: ignore[arg-type]
    async with supervised() as supervisor:
        stub = supervisor.dispense("kv")
        copy.copy(stub)
        with pytest.raises(AttributeError):
            await stub.NoSuchMethod(Request())
        with pytest.raises(KeyError, match="no plugin 'no-such'"):
            await supervisor.dispense("no-such").Get(Request())
