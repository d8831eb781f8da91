"""The example in which the plugin calls its host back, with go-plugin's on either side."""

from __future__ import annotations

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

HOST = [sys.executable, str(ROOT / "examples" / "bidirectional" / "host.py")]
# Go's host has a shell run it.
PLUGIN = f"exec {shlex.join([sys.executable, HOST[1].replace('host.py', 'plugin.py')])}"

TLS = pytest.mark.parametrize("switch", [{}, {"AUTO_MTLS": "1"}], ids=["plain", "mtls"])


async def go_host(peers: Peers, cwd: Path, *arguments: str) -> bytes:
    """What go-plugin's host prints with our plugin; its log has nothing to warn of."""
    env = {"COUNTER_PLUGIN": PLUGIN}
    status, out, err = await run([peers.counter_host, *arguments], cwd=cwd, env=env)
    assert status == 0, (out, err)
    assert b" plugin: plugin exited\n" in err
    assert b"[WARN]" not in err
    assert b"[ERROR]" not in err
    return out


async def python_host(
    peers: Peers, cwd: Path, *arguments: str, **switch: str
) -> tuple[int, bytes, bytes]:
    """Our host with go-plugin's plugin."""
    env = {"COUNTER_PLUGIN": shlex.quote(peers.counter_plugin), **switch}
    return await run([*HOST, *arguments], cwd=cwd, env=env)


async def test_gos_host_and_our_plugin(peers: Peers, tmp_path: Path) -> None:
    assert await go_host(peers, tmp_path, "put", "k", "5") == b""
    assert await go_host(peers, tmp_path, "put", "k", "-2") == b""
    assert (tmp_path / "kv_k").read_bytes() == b'{"Value":3}'
    assert await go_host(peers, tmp_path, "get", "k") == b"3\n"


@TLS
async def test_our_host_and_gos_plugin(
    peers: Peers, tmp_path: Path, switch: dict[str, str]
) -> None:
    for number in "5", "-2":
        assert await python_host(peers, tmp_path, "put", "k", number, **switch) == (0, b"", b"")
    assert (tmp_path / "kv_k").read_bytes() == b'{"Value":3}'
    assert await python_host(peers, tmp_path, "get", "k", **switch) == (0, b"3\n", b"")
    status, out, err = await python_host(peers, tmp_path, "get", "none", **switch)
    assert (status, out, err) == (1, b"", b"Error: open kv_none: no such file or directory\n")


async def test_both_plugins_keep_the_same_file(peers: Peers, tmp_path: Path) -> None:
    await go_host(peers, tmp_path, "put", "k", "1")
    assert await python_host(peers, tmp_path, "put", "k", "1") == (0, b"", b"")
    await go_host(peers, tmp_path, "put", "k", "1")
    assert await python_host(peers, tmp_path, "get", "k") == (0, b"3\n", b"")


@TLS
async def test_what_our_host_refuses_comes_back_through_gos_plugin(
    peers: Peers, tmp_path: Path, switch: dict[str, str]
) -> None:
    before = f'{{"Value":{2**63 - 1}}}'
    (tmp_path / "kv_k").write_text(before)
    status, out, err = await python_host(peers, tmp_path, "put", "k", "1", **switch)
    assert (status, out) == (1, b"")
    assert err.splitlines()[-1] == b"Error: %d does not fit into 64 bits" % 2**63
    assert (tmp_path / "kv_k").read_text() == before


@TLS
async def test_everything_over_one_connection_to_gos_plugin(
    peers: Peers, tmp_path: Path, switch: dict[str, str]
) -> None:
    host = [sys.executable, str(ROOT / "examples" / "multiplexed" / "host.py"), "5"]
    env = {"COUNTER_PLUGIN": shlex.quote(peers.counter_plugin), **switch}
    status, out, err = await run(host, cwd=tmp_path, env=env)
    assert (status, err) == (0, b"")
    assert out.splitlines() == [
        b"  5 calls back at the same time, and 0 sockets for them",
        b"  The counters add up to 10",
    ]
    assert (tmp_path / "kv_counter-4").read_bytes() == b'{"Value":4}'
