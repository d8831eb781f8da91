"""Hosts that die, or forget to end their plugins."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import ReattachConfig
from pyplugin._compat import timeout
from pyplugin.host.guard import GUARD
from tests.fixtures import PLUGIN, client, is_alive
from tests.fixtures.lives import LIMIT, attach, descendants, ends, get, guards

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

WRAPPER = ["sh", "-c", f"{shlex.join(PLUGIN)}; true"]
BACKGROUND = ["sh", "-c", f"{shlex.join(PLUGIN)} & wait"]
COMMANDS = pytest.mark.parametrize(
    "command", [PLUGIN, WRAPPER, BACKGROUND], ids=["plugin", "wrapper", "background"]
)


class Host:
    """A host in a process of its own; see ``tests/fixtures/forgetful.py``."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.process = process
        self.folder = folder
        self.plugin: dict[str, Any] = {}

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        async with timeout(LIMIT):
            line = await self.process.stdout.readline()
        assert line, "the host ended"
        return json.loads(line)

    async def do(self, what: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n".encode())
        await self.process.stdin.drain()

    @property
    def plugins(self) -> list[int]:
        """All that was started and is no guard."""
        shells = guards(self.process.pid)
        return [pid for pid in descendants(self.process.pid) if pid not in shells]

    def reattach_config(self) -> ReattachConfig:
        server, cert, key = (None if pem is None else pem.encode() for pem in self.plugin["keys"])
        return ReattachConfig(
            pid=self.plugin["pid"],
            addr=self.plugin["addr"],
            process_start=self.plugin["process_start"],
            server_cert_pem=server,
            client_cert_pem=cert,
            client_key_pem=key,
        )


@contextlib.asynccontextmanager
async def hosting(command: Sequence[str], *more: str, **settings: Any) -> AsyncIterator[Host]:
    """A host, whose plugins and whose temporary folder are gone after it."""
    folder = Path(tempfile.mkdtemp())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.fixtures.forgetful",
        json.dumps({"cmd": command, **settings}),
        *more,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(folder)},
    )
    host, left = Host(process, folder), []
    try:
        host.plugin = await host.answer()
        left = [*host.plugins, *guards(process.pid)]
        yield host
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.communicate()
        for pid in left:
            await ends(pid)
        shutil.rmtree(folder)


async def all_end(pids: list[int], seconds: float = LIMIT) -> None:
    async with timeout(seconds):
        for pid in pids:
            await ends(pid)


# With the guard


@COMMANDS
@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGSEGV", "return", "raise"])
async def test_plugins_end_with_their_host(command: list[str], how: str) -> None:
    async with hosting(command) as host:
        pids, shells = host.plugins, guards(host.process.pid)
        assert len(pids) == (1 if command == PLUGIN else 2)
        assert len(shells) == 1
        begin = time.monotonic()
        if how.startswith("SIG"):
            host.process.send_signal(getattr(signal, how))
        else:
            await host.do(how)
        async with timeout(LIMIT):
            assert await host.process.wait() == {
                "return": 0,
                "raise": 1,
            }.get(how, -getattr(signal, how, 0))
        await all_end(pids)
        # A second is what it may take; these machines are busy.
        assert time.monotonic() - begin < 5
        await all_end(shells)
        assert not Path(host.plugin["addr"]).parent.exists()


async def test_plugins_that_listen_to_nothing_end_too() -> None:
    settings = {"KV_IGNORE_SHUTDOWN": 1, "KV_IGNORE_SIGTERM": 1}
    code = (
        f"import signal, runpy; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')"
    )
    stuck = ["sh", "-c", f"trap '' TERM; {shlex.join([sys.executable, '-c', code])}; true"]
    async with hosting(stuck, **settings) as host:
        pids = [*host.plugins, *guards(host.process.pid)]
        # Nor does it notice that its host is gone.
        os.kill(pids[-2], signal.SIGSTOP)
        host.process.kill()
        await all_end(pids)
        assert list(host.folder.iterdir()) == []


async def test_a_fork_of_the_host_keeps_the_guard_from_nothing() -> None:
    async with hosting(PLUGIN) as host:
        pids = [*host.plugins, *guards(host.process.pid)]
        await host.do("fork")
        fork = await host.answer()
        try:
            host.process.kill()
            await all_end(pids)
            assert is_alive(fork)
        finally:
            os.kill(fork, signal.SIGKILL)
            await ends(fork)


async def test_one_guard_is_there_for_all_and_only_while_there_are_plugins() -> None:
    async with hosting(PLUGIN, *PLUGIN) as host:
        await host.do("another")
        second = await host.answer()
        (guard,) = guards(host.process.pid)
        await host.do("kill")
        await host.answer()
        await ends(host.plugin["pid"])
        assert guards(host.process.pid) == [guard]
        host.process.kill()
        await all_end([second, guard])
    async with hosting(PLUGIN) as host:
        await host.do("kill")
        await host.answer()
        assert descendants(host.process.pid) == []


async def test_a_guard_that_was_killed_is_replaced_for_the_next_plugin() -> None:
    async with hosting(PLUGIN, *PLUGIN) as host:
        (guard,) = guards(host.process.pid)
        os.kill(guard, signal.SIGKILL)
        await ends(guard)
        await host.do("another")
        await host.answer()
        pids = host.plugins
        assert len(pids) == 2
        (other,) = guards(host.process.pid)
        assert other != guard
        host.process.kill()
        await all_end([*pids, other])


async def test_a_number_that_another_process_has_by_now_is_left_alone() -> None:
    assert GUARD is not None
    async with client() as plugin:
        assert plugin.pid is not None
        (guard,) = guards(os.getpid())
        line = GUARD._groups[plugin.pid]
        _, group, start, folder = line.split(maxsplit=3)
        # It is told that the plugin started at another time, and then that the host died.
        GUARD._tell(f"- {group}\n")
        GUARD._tell(f"+ {group} {int(start) - 1} {folder}")
        process = GUARD._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        await ends(guard)
        assert await get(plugin, "bytes:1") == b"\0"


# Without it


@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
@pytest.mark.parametrize("command", [PLUGIN, WRAPPER], ids=["plugin", "wrapper"])
async def test_a_plugin_outlives_its_host_and_is_attached_to(
    command: list[str], auto_mtls: bool
) -> None:
    async with hosting(command, orphan_guard=False, auto_mtls=auto_mtls) as host:
        pids = host.plugins
        assert guards(host.process.pid) == []
        host.process.kill()
        await host.process.wait()
        async with timeout(LIMIT), attach(host.reattach_config()) as plugin:
            # More than the pipe of its log holds.
            assert await get(plugin, "log:2000") == b"log"
            assert await get(plugin, "print:200000") == b"print"
            assert await get(plugin, "bytes:1") == b"\0"
            await plugin.ping()
        # What read its log ends with it.
        await all_end(pids)
        # The dead host could not remove it.
        assert not Path(host.plugin["addr"]).parent.exists()


async def test_a_fork_of_the_host_does_not_keep_the_log_of_its_plugin_unread() -> None:
    async with hosting(PLUGIN, orphan_guard=False) as host:
        pids = host.plugins
        await host.do("fork")
        fork = await host.answer()
        try:
            host.process.kill()
            await ends(host.process.pid)
            async with timeout(LIMIT), attach(host.reattach_config()) as plugin:
                assert await get(plugin, "log:2000") == b"log"
            await all_end(pids)
        finally:
            os.kill(fork, signal.SIGKILL)
            await ends(fork)


async def test_no_guard_is_started_where_none_is_wanted() -> None:
    async with client(orphan_guard=False) as plugin:
        assert guards(os.getpid()) == []
        assert await get(plugin, "bytes:1") == b"\0"
    assert descendants(os.getpid()) == []
    async with client():
        assert len(guards(os.getpid())) == 1
    assert guards(os.getpid()) == []


async def test_a_guard_that_cannot_be_started_is_said_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pyplugin.host.guard._SHELL", "/no/such/shell")
    with pytest.raises(Exception, match=r"plugin 'plugin.py': /no/such/shell.*orphan_guard=False"):
        await client().start()


async def test_a_plugin_that_cannot_be_read_after_its_host_is_started_nevertheless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pyplugin.host.guard._SHELL", "/no/such/shell")
    async with client(orphan_guard=False) as plugin:
        assert await get(plugin, "bytes:1") == b"\0"
    assert "the shell that reads its stderr when this host is gone" in caplog.text
