"""Plugins packed in each of the ways of docs/packaging.md, under hosts in Go and Python.

The console script and shiv's file run with the tests, of a copy of this Python's packages. With
PACKAGING=1 all ways run, of the wheel as it is installed from the registry.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import kv_pb2
import pytest

from pyplugin._compat import timeout
from tests.fixtures import client, is_alive
from tests.interop.conftest import peers as peers
from tests.interop.peers import MARKS, PEER_TIMEOUT, GoHost, run

from . import artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.peers import Peers

IS_LONG = bool(os.environ.get("PACKAGING"))
WAYS = ["console-script", "shiv"]
if IS_LONG:
    WAYS += ["uv-script", "onedir", "onefile"]

pytestmark = [
    *MARKS,
    pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc"),
    # The loop of these tests only carries lines, but for that of the Python host.
    pytest.mark.asyncio(loop_factories=["asyncio"]),
]


class Artifact:
    """A plugin to start.

    Attributes:
        path: The executable.
        variables: What it needs in its environment, and a mark to find its processes by.
    """

    def __init__(self, path: Path, variables: Mapping[str, str]) -> None:
        self.path = path
        self.variables = {**variables, "PACKAGED_MARK": str(path)}

    def processes(self) -> set[int]:
        """All that run, whatever started them."""
        mark = os.fsencode(f"PACKAGED_MARK={self.path}")
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.add(int(folder.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    async def end(self) -> None:
        """Waits until none runs; ends those that do not end."""
        try:
            async with timeout(PEER_TIMEOUT):
                while self.processes():  # noqa: ASYNC110 -- they are nobody's children here
                    await asyncio.sleep(0.01)
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> artifacts.Environment:
    if IS_LONG:
        return artifacts.installed()
    return artifacts.copied(tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture(scope="session", params=WAYS)
def artifact(
    request: pytest.FixtureRequest,
    environment: artifacts.Environment,
    tmp_path_factory: pytest.TempPathFactory,
) -> Artifact:
    folder = tmp_path_factory.mktemp(request.param)
    match request.param:
        case "console-script":
            return Artifact(artifacts.console_script(environment), {})
        case "shiv":
            try:
                path = artifacts.shiv(environment, folder / "kv-plugin.pyz")
            except RuntimeError as error:
                pytest.skip(f"shiv cannot be had: {error}")
            return Artifact(path, {"SHIV_ROOT": str(folder / "unpacked")})
        case "uv-script":
            return Artifact(*artifacts.script(environment, folder / "kv-plugin"))
        case kind:
            return Artifact(artifacts.pyinstaller(environment, folder, kind), {})


async def test_a_go_host_starts_it(peers: Peers, artifact: Artifact, tmp_path: Path) -> None:
    command = [str(artifact.path)]
    async with GoHost(peers, command, "-mtls", cwd=tmp_path, env=artifact.variables) as host:
        plugin = await host.start()
        await host.put("k", b"v")
        assert (await host.get("k")).startswith(b"v")
        ended = await host.do("kill")
        # By Shutdown, well before Go's patience of 2 s ends.
        assert ended["exited"] is True
        assert ended["millis"] < 1800
        assert not is_alive(plugin["pid"])
        assert not Path(plugin["address"]).exists()
    assert artifact.processes() == set()


async def test_it_ends_with_a_go_host_that_is_killed(
    peers: Peers, artifact: Artifact, tmp_path: Path
) -> None:
    command = [str(artifact.path)]
    async with GoHost(peers, command, "-mtls", cwd=tmp_path, env=artifact.variables) as host:
        await host.start()
        assert len(artifact.processes()) > 1
        await host.die()
        await artifact.end()


async def test_a_python_host_starts_it(artifact: Artifact, tmp_path: Path) -> None:
    settings = {"env": artifact.variables, "cwd": str(tmp_path), "auto_mtls": True}
    async with client([str(artifact.path)], **settings) as host:
        kv = host.dispense("kv")
        await kv.Put(kv_pb2.PutRequest(key="k", value=b"v"))
        assert (await kv.Get(kv_pb2.GetRequest(key="k"))).value.startswith(b"v")
    assert await host.wait_exited() == 0
    assert host.stderr_tail == ()
    assert artifact.processes() == set()


@pytest.mark.skipif(not IS_LONG, reason="takes the seconds of the host's patience")
async def test_killing_it_ends_all_its_processes(artifact: Artifact, tmp_path: Path) -> None:
    settings = {"env": artifact.variables, "cwd": str(tmp_path), "auto_mtls": True}
    async with client([str(artifact.path)], **settings) as host:
        assert host.pid in artifact.processes()
        for pid in artifact.processes():
            os.kill(pid, signal.SIGSTOP)
    assert await host.wait_exited() == -signal.SIGKILL
    await artifact.end()
    # What a bootloader that was killed could not remove.
    if artifact.path.parent.name == "dist":
        (left,) = Path(os.environ["TMPDIR"]).glob("_MEI*")
        subprocess.run(["rm", "-r", left], check=True)


async def test_by_hand_it_says_what_it_is(artifact: Artifact, tmp_path: Path) -> None:
    status, out, err = await run([str(artifact.path)], cwd=tmp_path, env=artifact.variables)
    assert (status, out) == (1, b"")
    assert b"This binary is a plugin" in err
