"""Plugins behind wrappers: killing ends the whole tree."""

from __future__ import annotations

import os
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import PluginCrashed, ProcessExitedError
from pyplugin._compat import timeout
from tests.fixtures import PLUGIN, client
from tests.fixtures.lives import LIMIT, descendants, ends, get

if TYPE_CHECKING:
    from pathlib import Path

PYTHON = shlex.join(PLUGIN)
WRAPPERS = pytest.mark.parametrize(
    "code",
    [f"{PYTHON}; true", f"{PYTHON} & wait", f"sh -c '{PYTHON}; true'; true", f"exec {PYTHON}"],
    ids=["child", "background", "twice", "exec"],
)
STUBBORN: dict[str, Any] = {"KV_IGNORE_SHUTDOWN": 1, "KV_IGNORE_SIGTERM": 1}


@WRAPPERS
@pytest.mark.parametrize("is_stubborn", [False, True], ids=["asked", "forced"])
async def test_kill_ends_the_whole_tree(code: str, is_stubborn: bool) -> None:
    settings = {"kill_timeout": 0.2, **STUBBORN} if is_stubborn else {}
    async with timeout(LIMIT), client(["sh", "-c", code], **settings) as plugin:
        assert plugin.pid is not None
        pids = [plugin.pid, *descendants(plugin.pid)]
        assert await get(plugin, "bytes:1") == b"\0"
    for pid in pids:
        await ends(pid, 0.5)


async def test_a_wrapper_that_dies_takes_its_plugin_along() -> None:
    async with timeout(LIMIT), client(["sh", "-c", f"{PYTHON}; true"], **STUBBORN) as plugin:
        assert plugin.pid is not None
        (pid,) = descendants(plugin.pid)
        os.kill(plugin.pid, signal.SIGKILL)
        assert await plugin.wait_exited() == -signal.SIGKILL
        await ends(pid)
        with pytest.raises(PluginCrashed):
            await plugin.ping()


async def test_a_wrapper_that_does_not_wait_leaves_nothing(tmp_path: Path) -> None:
    """Its plugin would run on, and nobody would know."""
    path = tmp_path / "pid"
    code = f"{PYTHON} & echo $! > {path}"
    with pytest.raises(ProcessExitedError, match="ended before it wrote a handshake"):
        await client(["sh", "-c", code]).start()
    await ends(int(path.read_text()), 0.5)


async def test_a_start_that_times_out_leaves_nothing_of_the_tree(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    code = f"(trap '' TERM; sleep 1000) & echo $! > {path}; wait"
    with pytest.raises(TimeoutError):
        await client(["sh", "-c", code], start_timeout=0.5).start()
    await ends(int(path.read_text()), 0.5)
