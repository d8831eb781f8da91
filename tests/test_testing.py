"""Host and plugin in one process, as authors of plugins test with them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import HandshakeError, Plugin
from pyplugin._compat import timeout
from pyplugin.testing import no_leaked_tasks, no_leaks, plugin_pair
from tests.fixtures.lives import LIMIT
from tests.fixtures.plugin import KVPlugin, KVServicer

if TYPE_CHECKING:
    from pathlib import Path

    from grpclib.client import Channel

    from pyplugin import Client, GRPCBroker


async def get(client: Client, key: str) -> str:
    reply = await client.dispense(KVPlugin).Get(kv_pb2.GetRequest(key=key))
    return str(reply.value, "utf-8")


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "mtls"])
@pytest.mark.parametrize("multiplex", [False, True], ids=["many", "one"])
@pytest.mark.parametrize("force_tcp", [False, True], ids=["unix", "tcp"])
async def test_calls_go_both_ways(
    tls: bool, multiplex: bool, force_tcp: bool, temporary_folder: Path
) -> None:
    async with (
        timeout(LIMIT),
        plugin_pair(
            {"kv": KVPlugin()}, tls=tls, multiplex=multiplex, force_tcp=force_tcp
        ) as client,
    ):
        assert await get(client, "cwd") == os.getcwd()
        service_id = client.broker.next_id()
        await client.broker.accept_and_serve(service_id, [KVServicer()])
        with pytest.raises(GRPCError, match="no value under 'from the plugin'"):
            await get(client, f"dial:{service_id}")
        theirs = int(await get(client, "accept"))
        async with await client.broker.dial(theirs) as channel:
            reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="cwd"))
            assert reply.value
        # The plugin's, and one of each broker; over one connection none is left once it is made.
        sockets = len([*temporary_folder.glob("pyplugin-*/*")])
        assert force_tcp or sockets == (0 if multiplex else 3)
        reattach = client.reattach_config()
        assert reattach is not None
        assert (reattach.server_cert_pem is not None, reattach.network) == (
            tls,
            "tcp" if force_tcp else "unix",
        )


async def test_two_pairs_at_once_and_the_end_of_one() -> None:
    async with plugin_pair({"kv": KVPlugin()}) as one:
        async with plugin_pair({"kv": KVPlugin()}) as two:
            waiting = asyncio.create_task(get(two, f"sleep:{LIMIT * 1000:.0f}"))
            await two.ping()
        with pytest.raises(GRPCError) as raised:
            await waiting
        assert raised.value.status is Status.UNAVAILABLE
        assert (two.exited, one.exited) == (True, False)
        assert await get(one, "cwd")


async def test_the_version_is_negotiated() -> None:
    plugins = {1: {"old": KVPlugin()}, 3: {"kv": KVPlugin()}}
    async with plugin_pair(plugins, tls=False) as client:
        assert client.negotiated_version == 3
        assert await get(client, "cwd")


async def test_a_killed_pair_leaves_its_block_in_peace() -> None:
    async with plugin_pair({"kv": KVPlugin()}, tls=False) as client:
        await client.kill()
        assert await client.wait_exited() == 0


class Broken(Plugin):
    def servicers(self, broker: GRPCBroker) -> list[Any]:
        raise LookupError("no servicers today")

    def stub(self, broker: GRPCBroker, channel: Channel) -> Any:
        raise NotImplementedError


async def test_a_plugin_that_cannot_be_served_says_why() -> None:
    with pytest.raises(HandshakeError, match="no servicers today"):
        async with plugin_pair({"broken": Broken()}):
            raise AssertionError


# What is left


def test_what_is_left_is_named(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(write)
    with pytest.raises(AssertionError, match=r"files left behind: a, b"), no_leaks(tmp_path):
        for name in "b", "a":
            (tmp_path / name).touch()
    with (
        pytest.raises(AssertionError, match=r"descriptors left open: \d+: pipe:"),
        no_leaks(tmp_path),
    ):
        copy = os.dup(read)
    os.close(copy)
    os.close(read)
    with pytest.raises(AssertionError, match="processes left behind:"), no_leaks(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        assert process.stdin is not None
        kept = os.dup(process.stdin.fileno())
        process.stdin.close()
    os.close(kept)
    process.wait()


async def test_tasks_that_are_left_are_named() -> None:
    before = asyncio.create_task(asyncio.Event().wait())
    with pytest.raises(AssertionError, match=r"tasks left pending: .*Event.wait"):
        async with no_leaked_tasks():
            task = asyncio.create_task(asyncio.Event().wait())
    async with no_leaked_tasks():
        task.cancel()
        before.cancel()
        await asyncio.wait([task, before])
