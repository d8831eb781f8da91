"""The example whose plugin runs in a sandbox, where the machine allows one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .test_examples import EXAMPLES, TLS, failure, run

if TYPE_CHECKING:
    from pathlib import Path

HOST = "sandboxed_runner/host.py"
SEEN = r"""  The plugin read: from the host
  The host read: from the plugin
  The plugin is process 1; its network: lo
  3 sockets in (/\S+)
  3 sockets, the same, in /run/plugin of the sandbox
  0 files in \1 of the sandbox
"""


@pytest.fixture(scope="module", autouse=True)
def sandbox() -> None:
    """Skips the tests, with the machine's reason, where there can be none."""
    namespaces = "--user --map-root-user --net --mount --mount-proc --pid --fork --kill-child"
    try:
        probe = subprocess.run(
            ["unshare", *namespaces.split(), *shlex.split("mount -t tmpfs tmpfs /run")],
            capture_output=True,
            text=True,
            timeout=20,
        )
        subprocess.run(["setpriv", "--version"], capture_output=True, check=True, timeout=20)
    except OSError as error:
        pytest.skip(f"no sandbox without util-linux: {error}")
    if probe.returncode != 0:
        pytest.skip(f"this machine allows no sandbox: {probe.stderr.strip()}")


@TLS
def test_a_plugin_in_a_sandbox(variables: dict[str, str]) -> None:
    out = run(HOST, variables=variables)
    assert re.fullmatch(SEEN, out), out


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("tcp", "127.0.0.1:80"),
        ("unix", "/run/docker.sock"),
        ("unix", "/run/plugin/../docker.sock"),
        ("unix", "/run/plugin/folder/socket"),
    ],
)
def test_a_plugin_cannot_lead_its_host_elsewhere(
    network: str, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"1|1|{network}|{address}|grpc"
    monkeypatch.setenv("GUEST_PLUGIN", f"sh -c 'echo \"{line}\"; exec sleep 1000'")
    reason = f"{network} {address} is no unix socket in /run/plugin"
    assert reason in failure(HOST, cwd=tmp_path)


def test_the_sandbox_ends_with_its_host(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It has no guard of its own, and writes no handshake.
    plugin = f"exec 9>{shlex.quote(str(fifo))}; echo here >&9; exec sleep 1000"
    variables = {"GUEST_PLUGIN": shlex.join(["sh", "-c", plugin]), "TMPDIR": str(tmp_path)}
    host = subprocess.Popen(
        [sys.executable, str(EXAMPLES / HOST)],
        # A host that dies of SIGKILL leaves the folder of a runner's sockets behind.
        env={**os.environ, **variables},
        stderr=subprocess.DEVNULL,
    )
    with fifo.open() as pipe:
        assert pipe.readline() == "here\n"
        host.kill()
        host.wait()
        # To its end, when the last process of the sandbox has gone.
        assert pipe.read() == ""


def test_a_machine_that_forbids_it_is_said_to() -> None:
    forbid = 'echo 0 > /proc/sys/user/max_user_namespaces || exit 77; exec "$0" "$@"'
    host = subprocess.run(
        [
            "unshare",
            "--user",
            "--map-root-user",
            "sh",
            "-c",
            forbid,
            sys.executable,
            EXAMPLES / HOST,
        ],
        capture_output=True,
        text=True,
        timeout=20,
    )
    if host.returncode == 77:
        pytest.skip(f"this machine cannot be told to: {host.stderr.strip()}")
    assert host.returncode == 1
    assert "unshare: unshare failed: No space left on device" in host.stderr
    assert host.stderr.endswith("complain, this machine does not allow the sandbox.\n")


def test_a_machine_without_the_programs_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    message = failure(HOST, cwd=tmp_path)
    assert "FileNotFoundError: [Errno 2] No such file or directory: 'setpriv'" in message
    assert "this machine does not allow the sandbox" in message
