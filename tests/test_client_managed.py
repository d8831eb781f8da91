"""Ending all managed clients of a program at once."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest

from pyplugin import Client, cleanup_clients
from pyplugin._compat import timeout
from tests.fixtures import client
from tests.fixtures.lives import LIMIT, get


async def test_managed_clients_are_killed_and_others_not() -> None:
    managed = [client(managed=True) for _ in range(3)]
    async with client() as other, timeout(LIMIT):
        await asyncio.gather(*(plugin.start() for plugin in managed))
        await cleanup_clients()
        assert [plugin.exited for plugin in managed] == [True] * 3
        assert await get(other, "bytes:1") == b"\0"
    await cleanup_clients()


async def test_they_are_killed_in_parallel() -> None:
    settings: dict[str, Any] = {"kill_timeout": 1.0, "KV_IGNORE_SHUTDOWN": 1}
    managed = [client(managed=True, **settings) for _ in range(4)]
    await asyncio.gather(*(plugin.start() for plugin in managed))
    start = time.monotonic()
    await cleanup_clients()
    # One after the other they would take four.
    assert time.monotonic() - start < 3.5
    assert all(plugin.exited for plugin in managed)


async def test_clients_that_are_gone_killed_or_not_started_do_not_matter() -> None:
    del_me = client(managed=True)
    del del_me
    gc.collect()
    idle, killed, running = (client(managed=True) for _ in range(3))
    await killed.start()
    await killed.kill()
    await running.start()
    await cleanup_clients()
    assert running.exited
    with pytest.raises(RuntimeError, match="was killed"):
        await idle.start()


async def test_one_that_fails_spares_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = client(managed=True), client(managed=True)
    await asyncio.gather(first.start(), second.start())
    kill = Client.kill

    async def broken(self: Client) -> None:
        await kill(self)
        if self is first:
            raise RuntimeError("of the test")

    monkeypatch.setattr(Client, "kill", broken)
    with pytest.raises(RuntimeError, match="of the test"):
        await cleanup_clients()
    assert (first.exited, second.exited) == (True, True)


async def test_a_start_under_way_is_ended() -> None:
    plugin = client(managed=True)
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    await cleanup_clients()
    with pytest.raises(Exception, match=r"kill\(\) ended it"):
        await start
