"""What plugins print, between Go and Python: byte for byte, and in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest

from pyplugin._compat import timeout
from tests.fixtures import client

from .kvplugin import COMMAND, numbered
from .peers import MARKS, PEER_TIMEOUT, GoHost
from .test_broker import GO_HOST, NETWORK, PLUGIN, TLS, go_host

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin import Client

    from .peers import Peers

pytestmark = MARKS

MEBIBYTE = 2**20
STDOUT, STDERR = numbered("o", MEBIBYTE), numbered("e", MEBIBYTE)

# How the Python plugin prints: print(), os.write(), and a program that it runs.
WAY = pytest.mark.parametrize("way", ["print", "write", "child"])


class Output(io.BytesIO):
    """A writer, in whatever thread, of which a test can wait for what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self.is_open = threading.Event()
        self.is_open.set()

    def write(self, data: Any) -> int:
        self.is_open.wait(PEER_TIMEOUT)
        count = super().write(data)
        self._loop.call_soon_threadsafe(self._more.set)
        return count

    async def upto(self, count: int) -> bytes:
        """All of it, once there are ``count`` bytes."""
        async with timeout(PEER_TIMEOUT):
            while len(self.getvalue()) < count:
                self._more.clear()
                await self._more.wait()
        return self.getvalue()


@contextlib.asynccontextmanager
async def python_host(
    peers: Peers, plugin: str, **settings: Any
) -> AsyncIterator[tuple[Client, Output, Output]]:
    """Our host with a running plugin, and what that prints to stdout and to stderr."""
    command = [peers.kvplugin] if plugin == "go" else COMMAND
    stdout, stderr = Output(), Output()
    async with (
        timeout(PEER_TIMEOUT),
        client(command, sync_stdout=stdout, sync_stderr=stderr, **settings) as host,
    ):
        yield host, stdout, stderr


async def get(host: Client, key: str) -> bytes:
    reply = await host.dispense("kv").Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


# Our host


@PLUGIN
@TLS
@NETWORK
async def test_a_mebibyte_of_each(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as (host, out, err):
        await get(host, f"print:stdout:{MEBIBYTE}")
        assert await out.upto(MEBIBYTE) == STDOUT
        assert err.getvalue() == b""
        await get(host, f"print:stderr:{MEBIBYTE}")
        assert await err.upto(MEBIBYTE) == STDERR
    assert (out.getvalue(), err.getvalue()) == (STDOUT, STDERR)


@PLUGIN
@TLS
async def test_both_at_once(peers: Peers, plugin: str, auto_mtls: bool) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls) as (host, out, err):
        await asyncio.gather(
            get(host, f"print:stdout:{MEBIBYTE}"), get(host, f"print:stderr:{MEBIBYTE}")
        )
        assert await out.upto(MEBIBYTE) == STDOUT
        assert await err.upto(MEBIBYTE) == STDERR


@PLUGIN
@TLS
async def test_calls_during_a_storm_of_output(peers: Peers, plugin: str, auto_mtls: bool) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls) as (host, out, err):
        storm = [
            asyncio.ensure_future(get(host, f"print:{name}:{4 * MEBIBYTE}"))
            for name in ("stdout", "stderr")
        ]
        for count in range(200):
            assert await get(host, f"bytes:{count}") == bytes(count)
        await asyncio.gather(*storm)
        assert await out.upto(4 * MEBIBYTE) == numbered("o", 4 * MEBIBYTE)
        assert await err.upto(4 * MEBIBYTE) == numbered("e", 4 * MEBIBYTE)


@PLUGIN
async def test_small_pieces_come_at_once(peers: Peers, plugin: str) -> None:
    """None waits for the next."""
    async with python_host(peers, plugin) as (host, out, err):
        expected = b""
        for count in (1, 8, 100):
            await get(host, f"print:stdout:{count}")
            expected += numbered("o", count)
            assert await out.upto(len(expected)) == expected
        assert err.getvalue() == b""


@WAY
@TLS
async def test_each_way_to_print(peers: Peers, way: str, auto_mtls: bool) -> None:
    async with python_host(peers, "python", auto_mtls=auto_mtls) as (host, out, err):
        for name in ("stdout", "stderr"):
            await get(host, f"{way}:{name}:{MEBIBYTE}")
        assert await out.upto(MEBIBYTE) == STDOUT
        assert await err.upto(MEBIBYTE) == STDERR


async def test_a_handler_that_prints_without_end_of_its_turn(peers: Peers) -> None:
    """The loop cannot send anything meanwhile, and the plugin does not wait for itself."""
    async with python_host(peers, "python") as (host, out, err):
        for name in ("stdout", "stderr"):
            await get(host, f"blocking-print:{name}:{MEBIBYTE}")
        assert await out.upto(MEBIBYTE) == STDOUT
        assert await err.upto(MEBIBYTE) == STDERR


@PLUGIN
async def test_a_writer_that_takes_nothing_holds_up_no_call(peers: Peers, plugin: str) -> None:
    async with python_host(peers, plugin) as (host, out, err):
        out.is_open.clear()
        storm = asyncio.ensure_future(get(host, f"print:stdout:{4 * MEBIBYTE}"))
        for count in range(200):
            assert await get(host, f"bytes:{count}") == bytes(count)
        assert out.getvalue() == b""
        out.is_open.set()
        await storm
        assert await out.upto(4 * MEBIBYTE) == numbered("o", 4 * MEBIBYTE)
        assert err.getvalue() == b""


@WAY
@TLS
async def test_the_last_words_of_a_plugin_arrive(peers: Peers, way: str, auto_mtls: bool) -> None:
    """Nobody waits for them but ``kill()``."""
    async with python_host(peers, "python", auto_mtls=auto_mtls) as (host, out, err):
        for name in ("stdout", "stderr"):
            await get(host, f"{way}:{name}:100000")
        await host.kill()
    assert out.getvalue() == numbered("o", 100_000)
    assert err.getvalue() == numbered("e", 100_000)


# The Go host


@GO_HOST
@WAY
@TLS
@NETWORK
async def test_a_mebibyte_of_each_in_go(
    peers: Peers, way: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        for name in ("stdout", "stderr"):
            await host.get(f"{way}:{name}:{MEBIBYTE}")
        assert await host.stdio(stdout=MEBIBYTE, stderr=MEBIBYTE) == (STDOUT, STDERR)
        assert await host.get("bytes:1") == b"\0"


@GO_HOST
async def test_a_handler_that_prints_without_end_of_its_turn_in_go(peers: Peers) -> None:
    async with go_host(peers) as host:
        for name in ("stdout", "stderr"):
            await host.get(f"blocking-print:{name}:{MEBIBYTE}")
        assert await host.stdio(stdout=MEBIBYTE, stderr=MEBIBYTE) == (STDOUT, STDERR)


@GO_HOST
@WAY
async def test_what_a_plugin_prints_is_of_its_own_life(peers: Peers, way: str) -> None:
    """The host's next plugin prints after it, and nothing is printed twice."""
    async with GoHost(peers, COMMAND) as host:
        for lives in (1, 2):
            await host.start()
            await host.get(f"{way}:stdout:1000")
            stdout, stderr = await host.stdio(stdout=lives * 1000)
            assert (stdout, stderr) == (numbered("o", 1000) * lives, b"")
            await host.do("kill")
