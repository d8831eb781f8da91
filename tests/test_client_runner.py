"""Plugins that a runner of the user's runs, where paths are other ones."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import kv_grpc
import kv_pb2
import pytest

from pyplugin import (
    BrokerError,
    Client,
    HandshakeError,
    PluginCommand,
    ProcessExitedError,
    ProcessNotFound,
    ReattachConfig,
    ReattachError,
    Runner,
    SecureConfig,
    UnixSocketConfig,
)
from pyplugin._compat import timeout
from tests.fixtures import PLUGIN, client, config, script
from tests.fixtures.failures import KV
from tests.fixtures.lives import LIMIT, attach, changed, get
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    import logging


class Elsewhere:
    """Runs the plugin by ``subprocess``; it knows its socket folder by another name, a link."""

    def __init__(self, command: PluginCommand, folder: str, *, fails: str = "") -> None:
        self.command = command
        self.folder = folder
        self.fails = fails
        self.calls: list[str] = []
        self.link = str(Path(tempfile.gettempdir(), f"in-{Path(folder).name}"))
        self._process: subprocess.Popen[bytes] | None = None

    name = "a sandbox"

    @property
    def id(self) -> str:
        return f"sandbox-{self.process.pid}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def stdout(self) -> BinaryIO:
        return cast("BinaryIO", self.process.stdout)

    @property
    def stderr(self) -> BinaryIO:
        return cast("BinaryIO", self.process.stderr)

    async def start(self) -> None:
        self.calls.append("start")
        if self.fails == "start":
            raise FileNotFoundError(errno.ENOENT, "none to be had", "a-sandbox")
        os.symlink(self.folder, self.link)
        if self.fails == "slow start":
            await asyncio.get_running_loop().create_future()
        self._process = subprocess.Popen(
            list(self.command.args) or PLUGIN,
            env={**self.command.env, "PLUGIN_UNIX_SOCKET_DIR": self.link},
            cwd=self.command.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    async def wait(self) -> int | None:
        self.calls.append("wait")
        loop = asyncio.get_running_loop()
        ended, descriptor = asyncio.Event(), os.pidfd_open(self.process.pid)
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        Path(self.link).unlink(missing_ok=True)
        return self.process.wait()

    async def kill(self) -> None:
        self.calls.append("kill")
        Path(self.link).unlink(missing_ok=True)
        if self._process is not None:
            self._process.kill()
        if self.fails == "kill":
            raise RuntimeError("kill of the runner")

    async def diagnose(self) -> str:
        self.calls.append("diagnose")
        if self.fails == "diagnose":
            raise RuntimeError("diagnose of the runner")
        return "The sandbox was full."

    def plugin_to_host(self, network: str, address: str) -> tuple[str, str]:
        assert address.startswith(self.link)
        if self.fails == "plugin_to_host":
            raise ValueError("no such folder")
        return network, address.replace(self.link, self.folder)

    def host_to_plugin(self, network: str, address: str) -> tuple[str, str]:
        assert address.startswith(self.folder)
        if self.fails == "host_to_plugin":
            raise ValueError("no such folder")
        return network, address.replace(self.folder, self.link)


class Make:
    """A ``runner_func`` that keeps what it made."""

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.made: list[Elsewhere] = []

    def __call__(self, logger: logging.Logger, command: PluginCommand, folder: str) -> Runner:
        self.made.append(Elsewhere(command, folder, **self.settings))
        return self.made[-1]

    @property
    def runner(self) -> Elsewhere:
        return self.made[-1]


async def both_ways(plugin: Client) -> None:
    """The broker: this host dials the plugin, and the plugin this host."""
    service_id = int(await get(plugin, "accept"))
    async with await plugin.broker.dial(service_id) as channel:
        reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="bytes:3"))
        assert reply.value == bytes(3)
    store = KVServicer()
    store.values["from the plugin"] = b"from the host"
    # One that the plugin does not take for that of another host.
    mine = plugin.broker.next_id() + 700
    server = await plugin.broker.accept_and_serve(mine, [store])
    assert await get(plugin, f"dial:{mine}") == b"from the host"
    server.close()
    await server.wait_closed()


MUX = pytest.mark.parametrize("mux", [False, True], ids=["listeners", "mux"])


@MUX
@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
async def test_a_plugin_that_runs_elsewhere(auto_mtls: bool, mux: bool) -> None:
    make = Make()
    async with (
        timeout(LIMIT),
        client(
            runner_func=make, auto_mtls=auto_mtls, grpc_broker_multiplex=mux, env={"GIVEN": "this"}
        ) as plugin,
    ):
        assert (plugin.id, plugin.pid) == (make.runner.id, None)
        assert make.runner.command.args == PLUGIN
        assert await get(plugin, "env:GIVEN") == b"this"
        assert await get(plugin, "env:PLUGIN_UNIX_SOCKET_DIR") == make.runner.link.encode()
        # The address is the host's.
        reattach = plugin.reattach_config()
        assert reattach is not None
        assert Path(reattach.addr).parent == Path(make.runner.folder)
        await both_ways(plugin)
        await plugin.ping()
    assert await plugin.wait_exited() == 0
    assert make.runner.calls == ["start", "wait"]
    assert not Path(make.runner.folder).exists()


async def test_a_runner_needs_no_command_and_names_the_plugin(tmp_path: Path) -> None:
    make = Make()
    sockets = UnixSocketConfig(temp_dir=str(tmp_path))
    async with client(None, runner_func=make, unix_socket_config=sockets) as plugin:  # type: ignore[arg-type]
        assert str(plugin) == "plugin 'a sandbox'"
        assert Path(make.runner.folder).parent == tmp_path
        assert await get(plugin, "bytes:1") == b"\0"
    assert list(tmp_path.iterdir()) == []


async def test_a_plugin_that_does_not_end_is_killed_by_its_runner(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make = Make(fails="kill")
    statuses: list[int | None] = []
    async with (
        timeout(LIMIT),
        client(runner_func=make, kill_timeout=0.2, KV_IGNORE_SHUTDOWN=1, on_exit=statuses.append),
    ):
        pass
    assert make.runner.calls == ["start", "wait", "kill"]
    assert statuses == [-signal.SIGKILL]
    assert "within 0.2 s: killing it" in caplog.text
    assert "kill raised" in caplog.text


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (
            "start",
            r"its runner could not start it: FileNotFoundError: .*to be had: 'a-sandbox'",
        ),
        ("plugin_to_host", r"plugin_to_host of its runner raised for '/.*no such folder"),
    ],
)
async def test_what_a_runner_raises_fails_the_start(fails: str, reason: str) -> None:
    make = Make(fails=fails)
    with pytest.raises(HandshakeError, match=reason) as raised:
        await client(runner_func=make).start()
    assert str(raised.value).startswith("plugin 'plugin.py': ")
    assert str(raised.value).endswith("The sandbox was full.")
    assert "kill" in make.runner.calls
    assert not Path(make.runner.folder).exists()


async def test_a_runner_func_that_raises_fails_the_start() -> None:
    def make(*_: Any) -> Runner:
        raise ValueError("no runner")

    with pytest.raises(HandshakeError, match=r"plugin 'plugin.py': runner_func raised.*no runner"):
        await client(runner_func=make).start()


@pytest.mark.parametrize("fails", ["", "diagnose"])
async def test_a_plugin_that_ends_early_is_diagnosed_by_its_runner(
    fails: str, caplog: pytest.LogCaptureFixture
) -> None:
    make = Make(fails=fails)
    with pytest.raises(ProcessExitedError, match="exited with status 3") as raised:
        await client(script("raise SystemExit(3)"), runner_func=make).start()
    assert ("The sandbox was full." in str(raised.value)) == (fails == "")
    assert ("diagnose raised" in caplog.text) == (fails == "diagnose")


async def test_a_translation_that_fails_fails_the_broker() -> None:
    make = Make()
    async with timeout(LIMIT), client(runner_func=make) as plugin:
        make.runner.fails = "host_to_plugin"
        with pytest.raises(
            BrokerError, match=rf"^{KV}.*: host_to_plugin of the runner raised.*no such"
        ):
            await plugin.broker.accept_and_serve(1, [KVServicer()])
        make.runner.fails = "plugin_to_host"
        service_id = int(await get(plugin, "accept"))
        with pytest.raises(
            BrokerError, match=rf"^{KV}.*: plugin_to_host of the runner raised.*no such"
        ):
            await plugin.broker.dial(service_id)


@pytest.mark.parametrize("where", ["start", "handshake"])
async def test_a_start_that_is_cancelled_leaves_nothing(where: str) -> None:
    make = Make(fails="slow start" if where == "start" else "")
    plugin = client(script("import time; time.sleep(60)"), runner_func=make)
    start = asyncio.ensure_future(plugin.start())
    for _ in range(3):
        await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert make.runner.calls[-1] == "kill"
    assert not Path(make.runner.folder).exists()


async def test_kill_ends_a_start_under_way() -> None:
    plugin = client(runner_func=Make(fails="slow start"))
    start = asyncio.ensure_future(plugin.start())
    for _ in range(3):
        await asyncio.sleep(0)
    async with timeout(LIMIT):
        await plugin.kill()
        with pytest.raises(ProcessExitedError, match=r"kill\(\) ended it"):
            await start


def test_what_a_runner_excludes() -> None:
    with pytest.raises(ValueError, match="`secure_config` cannot be used with `runner_func`"):
        config(runner_func=Make(), secure_config=SecureConfig(checksum=bytes(32)))
    with pytest.raises(ValueError, match="exactly one of"):
        client(None, runner_func=Make(), reattach=ReattachConfig(1, "/s"))  # type: ignore[arg-type]


# Attaching to it


def reattach(plugin: Client, make: Make, **settings: Any) -> ReattachConfig:
    """What another host attaches by to what the runner of this one runs, and does not own."""
    again = Elsewhere(make.runner.command, make.runner.folder)
    again._process = make.runner.process
    again.calls = make.runner.calls
    return changed(plugin.reattach_config(), reattach_func=lambda: again, **settings)


@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
async def test_a_plugin_that_runs_elsewhere_is_attached_to(auto_mtls: bool) -> None:
    make = Make()
    statuses: list[int | None] = []
    async with timeout(LIMIT), client(runner_func=make, auto_mtls=auto_mtls) as first:
        # Where the plugin sees the host's sockets.
        sockets = UnixSocketConfig(temp_dir=make.runner.folder)
        config = reattach(first, make)
        async with attach(config, unix_socket_config=sockets, on_exit=statuses.append) as second:
            assert (second.id, second.exited) == (make.runner.id, False)
            # By its answer the plugin has the broker's stream of this host, in place of the first.
            await second.ping()
            await both_ways(second)
        assert second.exited
        assert statuses == [0]
        assert await first.wait_exited() == 0
    assert "kill" not in make.runner.calls


async def test_what_was_attached_to_and_does_not_end_is_killed_by_its_runner() -> None:
    make = Make()
    async with timeout(LIMIT), client(runner_func=make, KV_IGNORE_SHUTDOWN=1) as first:
        async with attach(reattach(first, make), kill_timeout=0.2) as second:
            pass
        assert await second.wait_exited() == await first.wait_exited() == -signal.SIGKILL
    assert make.runner.calls.count("kill") == 1


async def test_an_attach_that_fails_leaves_what_runs_elsewhere_alive() -> None:
    make = Make()
    statuses: list[int | None] = []
    async with timeout(LIMIT), client(runner_func=make) as first:
        nowhere = reattach(first, make, addr="/no/such/socket")
        second = attach(nowhere, on_exit=statuses.append)
        with pytest.raises(ReattachError, match="plugin 'reattached plugin': nothing listens"):
            await second.start()
        await second.kill()
        assert statuses == []
        async with attach(reattach(first, make, test=True)) as third:
            assert third.id == ""
        assert await get(first, "bytes:1") == b"\0"
    assert "kill" not in make.runner.calls


async def test_what_a_reattach_func_raises_fails_the_start() -> None:
    def gone() -> Runner:
        raise error

    config = ReattachConfig(0, "/no/such/socket", reattach_func=gone)
    error: Exception = OSError("no sandbox to be had")
    with pytest.raises(ReattachError, match=r"plugin .*: reattach_func raised: OSError\('no san"):
        await attach(config).start()
    error = ProcessNotFound("the sandbox is gone")
    with pytest.raises(ProcessNotFound, match="plugin 'reattached plugin': the sandbox is gone"):
        await attach(config).start()


async def test_what_was_attached_to_and_never_ends_is_waited_for_no_longer(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyplugin.host.runner._END_TIMEOUT", 0.1)

    class Stuck(Elsewhere):
        async def wait(self) -> int | None:
            await asyncio.get_running_loop().create_future()
            return None

        async def kill(self) -> None:
            """Does nothing."""

    make = Make()
    async with timeout(LIMIT), client(runner_func=make, KV_IGNORE_SHUTDOWN=1) as first:
        stuck = Stuck(make.runner.command, make.runner.folder)
        stuck._process = make.runner.process
        config = changed(first.reattach_config(), reattach_func=lambda: stuck)
        async with attach(config, kill_timeout=0.1) as second:
            waiter = asyncio.create_task(second.wait_exited())
        assert await waiter is None
    assert "'reattached plugin': its runner does not end" in caplog.text
