"""The example of calls that stream, with go-plugin's on either side."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

from .peers import MARKS, run

if TYPE_CHECKING:
    from pathlib import Path

    from .peers import Peers

# The loop of these tests only runs programs.
pytestmark = [*MARKS, pytest.mark.asyncio(loop_factories=["asyncio"])]

HOST = [sys.executable, str(ROOT / "examples" / "streaming" / "host.py")]
PLUGIN = [sys.executable, str(ROOT / "examples" / "streaming" / "plugin.py")]

TLS = pytest.mark.parametrize("switch", [{}, {"AUTO_MTLS": "1"}], ids=["plain", "mtls"])


async def test_gos_host_and_our_plugin(peers: Peers, tmp_path: Path) -> None:
    script = tmp_path / "plugin" / "streamer"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\nexec {shlex.join(PLUGIN)}\n")
    script.chmod(0o700)
    status, out, err = await run([peers.streaming_host, "file"], cwd=tmp_path, env={})
    assert (status, out) == (0, b""), err
    log = [json.loads(line) for line in err.splitlines()]
    text = "Lorem ipsum dolor sit amet"
    assert (tmp_path / "file").read_text() == text
    (received,) = (entry for entry in log if entry["@message"].startswith("received 26 bytes"))
    assert received["bytes"] == text
    assert [e for e in log if e["@level"] not in ("trace", "debug", "info")] == []
    assert log[-1]["@message"] == "plugin exited"


@TLS
async def test_our_host_and_gos_plugin(
    peers: Peers, tmp_path: Path, switch: dict[str, str]
) -> None:
    env = {"STREAMER_PLUGIN": shlex.quote(peers.streaming_plugin), **switch}
    status, out, err = await run([*HOST, "file"], cwd=tmp_path, env=env)
    assert status == 0, err
    assert out.decode().splitlines() == [
        "  Write: 41 bytes in chunks of 10",
        "  Read: b'to be, or '",
        "  Read: b'not to be,'",
        "  Read: b' that is t'",
        "  Read: b'he questio'",
        "  Read: b'n'",
        "  Search: this plugin has none",
    ]
    assert (tmp_path / "file").read_text() == "to be, or not to be, that is the question"


@TLS
async def test_what_gos_plugin_refuses_is_our_hosts_to_report(
    peers: Peers, tmp_path: Path, switch: dict[str, str]
) -> None:
    env = {"STREAMER_PLUGIN": shlex.quote(peers.streaming_plugin), **switch}
    status, out, err = await run([*HOST, "none/file"], cwd=tmp_path, env=env)
    assert (status, out) == (1, b"")
    assert err.splitlines()[-1] == b"Error: open none/file: no such file or directory"
