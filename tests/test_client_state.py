"""What a client tells of its plugin, before, during and after its life."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import (
    HandshakeError,
    PluginCrashed,
    PluginNotFound,
    ProcessExitedError,
    UnixSocketConfig,
)
from pyplugin._compat import timeout
from tests.fixtures import PLUGIN, client, script
from tests.fixtures.lives import LIMIT, attach, changed, get, guards

if TYPE_CHECKING:
    from pathlib import Path

UNWELL = f"""
import runpy
from grpclib.health.v1.health_pb2 import HealthCheckResponse
from pyplugin.serving.health import HealthServicer
states = iter([HealthCheckResponse.SERVING])
async def check(self, stream):
    await stream.recv_message()
    state = next(states, HealthCheckResponse.NOT_SERVING)
    await stream.send_message(HealthCheckResponse(status=state))
HealthServicer.Check = check
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""


# ping


@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
async def test_a_plugin_that_is_well_answers_a_ping(auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as plugin:
        for _ in range(3):
            await plugin.ping()


async def test_a_ping_of_a_dead_plugin_says_how_it_died() -> None:
    async with client() as plugin, timeout(LIMIT):
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        await plugin.wait_exited()
        with pytest.raises(PluginCrashed, match="was killed by SIGKILL") as raised:
            await plugin.ping()
        assert raised.value.status is Status.UNAVAILABLE


async def test_a_ping_of_a_plugin_that_is_unwell_names_it_and_says_what_it_says() -> None:
    async with client(script(UNWELL)) as plugin:
        with pytest.raises(HandshakeError, match=r"plugin 'python.*NOT_SERVING, not SERVING"):
            await plugin.ping()
        # It still answers everything else.
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_ping_does_not_wait_for_a_busy_handler() -> None:
    async with client() as plugin, timeout(LIMIT):
        call = asyncio.ensure_future(get(plugin, "sleep:60000"))
        await plugin.ping()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_nothing_is_pinged_before_start_and_after_kill() -> None:
    plugin = client()
    with pytest.raises(RuntimeError, match="was not started"):
        await plugin.ping()
    async with plugin:
        pass
    with pytest.raises(RuntimeError, match="was killed"):
        await plugin.ping()


# The state


async def test_the_state_before_during_and_after() -> None:
    plugin = client()
    assert (plugin.id, plugin.protocol, plugin.exited, plugin.pid) == ("", "", False, None)
    assert plugin.stderr_tail == ()
    with pytest.raises(RuntimeError, match="was not started: there is no process"):
        await plugin.wait_exited()
    async with plugin:
        assert plugin.id == str(plugin.pid)
        assert (plugin.protocol, plugin.exited) == ("grpc", False)
    assert plugin.exited
    assert await plugin.wait_exited() == 0


async def test_a_client_that_is_killed_before_its_start_has_exited() -> None:
    plugin = client()
    await plugin.kill()
    assert plugin.exited


@pytest.mark.parametrize(("key", "status"), [("stderr-exit", 9), ("abort", -signal.SIGABRT)])
async def test_the_end_of_a_plugin_is_waited_for(key: str, status: int) -> None:
    async with client() as plugin, timeout(LIMIT):
        waiting = [asyncio.ensure_future(plugin.wait_exited()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not plugin.exited
        with pytest.raises(GRPCError):
            await get(plugin, key)
        assert await asyncio.gather(*waiting) == [status] * 3
        assert plugin.exited
        # Its log has come to its end too.
        assert (plugin.stderr_tail[-3:] == (b"one", b"two", b"three")) == (key == "stderr-exit")
    assert await plugin.wait_exited() == status


async def test_a_wait_that_is_cancelled_harms_nothing() -> None:
    async with client() as plugin:
        waiting = asyncio.ensure_future(plugin.wait_exited())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await get(plugin, "bytes:1") == b"\0"
    assert await plugin.wait_exited() == 0


async def test_a_failed_start_has_an_end_too() -> None:
    plugin = client(script("import sys; print('why', file=sys.stderr); sys.exit(3)"))
    with pytest.raises(ProcessExitedError):
        await plugin.start()
    assert plugin.exited
    assert await plugin.wait_exited() == 3
    assert plugin.stderr_tail == (b"why",)


async def test_a_host_that_attached_sees_the_end_without_a_status() -> None:
    async with client() as first, timeout(LIMIT), attach(first.reattach_config()) as second:
        assert (second.id, second.protocol, second.exited) == (first.id, "grpc", False)
        with pytest.raises(GRPCError):
            await get(first, "exit")
        assert await second.wait_exited() is None
        assert second.exited


async def test_a_plugin_under_test_has_no_process_to_wait_for() -> None:
    async with client() as first, attach(changed(first.reattach_config(), test=True)) as second:
        assert second.id == ""
        await second.ping()
        with pytest.raises(RuntimeError, match="no process to wait for"):
            await second.wait_exited()


# on_exit


@pytest.mark.parametrize(("key", "status"), [("exit", 7), ("abort", -signal.SIGABRT), ("kill", 0)])
async def test_on_exit_is_called_once_with_the_status(key: str, status: int) -> None:
    statuses: list[int | None] = []
    async with client(on_exit=statuses.append) as plugin, timeout(LIMIT):
        assert statuses == []
        if key != "kill":
            with pytest.raises(PluginCrashed):
                await get(plugin, key)
            await plugin.wait_exited()
            assert statuses == [status]
    assert statuses == [status]


async def test_on_exit_is_called_for_a_plugin_that_was_ended_by_force() -> None:
    statuses: list[int | None] = []
    settings: dict[str, Any] = {"KV_IGNORE_SHUTDOWN": 1, "KV_IGNORE_SIGTERM": 1}
    async with client(kill_timeout=0.1, on_exit=statuses.append, **settings):
        pass
    assert statuses == [-signal.SIGKILL]


async def test_on_exit_is_called_for_a_start_that_failed_and_not_without_a_process() -> None:
    statuses: list[int | None] = []
    with pytest.raises(ProcessExitedError):
        await client(script("raise SystemExit(3)"), on_exit=statuses.append).start()
    assert statuses == [3]
    with pytest.raises(PluginNotFound):
        await client(["/no/such/plugin"], on_exit=statuses.append).start()
    assert statuses == [3]


async def test_on_exit_that_raises_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def raise_(status: int | None) -> None:
        raise ValueError("of the host")

    async with client(on_exit=raise_) as plugin, timeout(LIMIT):
        with pytest.raises(PluginCrashed):
            await get(plugin, "exit")
        assert await plugin.wait_exited() == 7
    assert "plugin 'plugin.py'" in caplog.text
    assert "on_exit raised" in caplog.text
    assert "of the host" in caplog.text


async def test_on_exit_of_a_host_that_attached_knows_no_status() -> None:
    statuses: list[int | None] = []
    async with client() as first, timeout(LIMIT):
        async with attach(first.reattach_config(), on_exit=statuses.append):
            pass
        await first.wait_exited()
    assert statuses == [None]


# Starts that are cancelled


@pytest.mark.parametrize("turns", [1, 2, 5, 20, 100])
async def test_a_start_cancelled_at_any_point_leaves_nothing(turns: int, tmp_path: Path) -> None:
    statuses: list[int | None] = []
    plugin = client(
        auto_mtls=True,
        managed=True,
        unix_socket_config=UnixSocketConfig(temp_dir=str(tmp_path)),
        on_exit=statuses.append,
    )
    start = asyncio.ensure_future(plugin.start())
    for _ in range(turns):
        await asyncio.sleep(0)
    start.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await start
        await plugin.kill()
    assert len(statuses) == 1
    assert list(tmp_path.iterdir()) == []
    assert guards(os.getpid()) == []


@pytest.mark.parametrize("turns", [1, 2, 5, 20, 100])
async def test_an_attach_cancelled_at_any_point_leaves_the_plugin(turns: int) -> None:
    async with client(auto_mtls=True) as first:
        second = attach(first.reattach_config())
        start = asyncio.ensure_future(second.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not start.done():
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            assert await get(first, "bytes:1") == b"\0"
        else:
            await second.kill()
