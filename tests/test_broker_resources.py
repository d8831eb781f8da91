"""What the broker holds, in both of two Python processes, and when it gives it back."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.exceptions import GRPCError

from pyplugin import BrokerError, BrokerTimeout
from pyplugin._compat import timeout
from tests.fixtures import client
from tests.interop.kvplugin import COMMAND, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin import Client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="counts what is open in /proc")

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])

# Seconds for all that one test does; pytest-timeout cannot interrupt uvloop.
LIMIT = 45.0
# Of memory that may be more after a thousand connections. A leak of 8 KiB each is twice that.
MOST_BYTES = 4 * 2**20


@contextlib.asynccontextmanager
async def started(**settings: Any) -> AsyncIterator[Client]:
    async with timeout(LIMIT), client(COMMAND, **settings) as plugin:
        yield plugin


async def get(plugin: Client, key: str) -> bytes:
    reply = await plugin.dispense("kv").Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


async def there(plugin: Client) -> None:
    """The plugin dials and calls what the host serves, and both end it."""
    service_id = plugin.broker.next_id()
    server = await plugin.broker.accept_and_serve(service_id, [Store()])
    assert await get(plugin, f"dial:{service_id}:numbered:8") == b"n000000\n"
    server.close()
    await server.wait_closed()


async def back(plugin: Client) -> None:
    """The host dials and calls what the plugin serves, and both end it."""
    service_id = int(await get(plugin, "accept"))
    async with await plugin.broker.dial(service_id) as channel:
        reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="numbered:8"))
        assert reply.value == b"n000000\n"
    await get(plugin, f"stop:{service_id}")


@dataclass(frozen=True)
class Held:
    """What there is of the two processes."""

    descriptors: int
    plugin_descriptors: int
    tasks: int
    sockets: frozenset[str]

    @classmethod
    def of(cls, plugin: Client) -> Held:
        return cls(
            len(os.listdir("/proc/self/fd")),
            len(os.listdir(f"/proc/{plugin.pid}/fd")),
            len(asyncio.all_tasks()),
            frozenset(os.listdir(socket_of(plugin).parent)),
        )

    def is_within(self, other: Held) -> bool:
        return (
            self.descriptors <= other.descriptors
            and self.plugin_descriptors <= other.plugin_descriptors
            and self.tasks <= other.tasks
            and self.sockets <= other.sockets
        )


def socket_of(plugin: Client) -> Path:
    config = plugin.reattach_config()
    assert config is not None
    return Path(config.addr)


async def settled(plugin: Client, expected: Held) -> None:
    """Waits until there is no more than this: what is closed ends in turns of the two loops."""
    while not Held.of(plugin).is_within(expected):
        await get(plugin, "bytes:1")


def resident_bytes(pid: int | str) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# Server and channel


@TLS
async def test_a_server_that_is_closed_alone_frees_what_it_had(auto_mtls: bool) -> None:
    async with started(auto_mtls=auto_mtls) as plugin:
        before = Held.of(plugin)
        server = await plugin.broker.accept_and_serve(700, [Store()])
        held = Held.of(plugin)
        (path,) = held.sockets - before.sockets
        assert held.descriptors > before.descriptors
        assert await get(plugin, "dial:700:numbered:1") == b"n"
        server.close()
        assert not (socket_of(plugin).parent / path).exists()
        await server.wait_closed()
        await settled(plugin, before)
        # The others go on.
        await there(plugin)


@TLS
async def test_a_server_that_nobody_dials_frees_what_it_had(auto_mtls: bool) -> None:
    async with started(auto_mtls=auto_mtls) as plugin:
        before = Held.of(plugin)
        servers = [
            await plugin.broker.accept_and_serve(700 + number, [Store()]) for number in range(10)
        ]
        assert len(Held.of(plugin).sockets) == len(before.sockets) + 10
        for server in servers:
            server.close()
            await server.wait_closed()
        await settled(plugin, before)


@TLS
async def test_a_channel_that_is_closed_alone_frees_what_it_had(auto_mtls: bool) -> None:
    async with started(auto_mtls=auto_mtls) as plugin:
        before = Held.of(plugin)
        service_id = int(await get(plugin, "accept"))
        channel = await plugin.broker.dial(service_id)
        await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="numbered:1"))
        assert Held.of(plugin).descriptors > before.descriptors
        channel.close()
        await get(plugin, f"stop:{service_id}")
        await settled(plugin, before)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until either end is gone."""
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@TLS
async def test_a_server_that_is_closed_serves_nobody_who_is_late(auto_mtls: bool) -> None:
    """A connection that is there already, of which nothing is read before the end."""
    async with started(auto_mtls=auto_mtls) as plugin:
        before = Held.of(plugin)
        server = await plugin.broker.accept_and_serve(700, [Store()])
        (name,) = Held.of(plugin).sockets - before.sockets
        path = socket_of(plugin).parent / name
        real = path.with_suffix(".real")
        path.rename(real)

        async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_unix_connection(str(real))
            # In which the server accepts.
            await get(plugin, "bytes:1")
            server.close()
            await server.wait_closed()
            await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

        middle = await asyncio.start_unix_server(relay, str(path))
        try:
            with pytest.raises(GRPCError):
                await get(plugin, "dial:700:numbered:8")
        finally:
            middle.close()
            await middle.wait_closed()
            path.unlink(missing_ok=True)
            real.unlink()
        await settled(plugin, before)


async def test_closing_twice_is_closing_once() -> None:
    async with started() as plugin:
        server = await plugin.broker.accept_and_serve(700, [Store()])
        for _ in range(2):
            server.close()
            await server.wait_closed()
        await plugin.broker.close()
        server.close()
        await server.wait_closed()
        await plugin.broker.close()


@pytest.mark.parametrize(("auto_mtls", "rounds"), [(False, 500), (True, 50)], ids=["plain", "mtls"])
async def test_many_rounds_leave_nothing(auto_mtls: bool, rounds: int) -> None:
    """Two connections each, one in either direction."""
    async with started(auto_mtls=auto_mtls) as plugin:
        assert plugin.pid is not None
        for _ in range(50):
            await there(plugin)
            await back(plugin)
        gc.collect()
        before = Held.of(plugin)
        memory = resident_bytes("self"), resident_bytes(plugin.pid)
        for _ in range(rounds):
            await there(plugin)
            await back(plugin)
        gc.collect()
        await settled(plugin, before)
        assert resident_bytes("self") - memory[0] < MOST_BYTES
        assert resident_bytes(plugin.pid) - memory[1] < MOST_BYTES


# Announcements


async def test_an_announcement_that_nobody_dials_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with started() as plugin:
        monkeypatch.setattr("pyplugin.ways.BROKER_TIMEOUT", 0.0)
        service_id = int(await get(plugin, "accept"))
        # Comes after the announcement.
        await get(plugin, "bytes:1")
        with pytest.raises(BrokerTimeout):
            await plugin.broker.dial(service_id, timeout=0.2)
        monkeypatch.undo()
        await back(plugin)


async def test_an_announcement_is_for_one_dial() -> None:
    async with started() as plugin:
        service_id = int(await get(plugin, "accept"))
        async with await plugin.broker.dial(service_id):
            with pytest.raises(BrokerTimeout):
                await plugin.broker.dial(service_id, timeout=0.2)


# Ends


async def test_closing_the_broker_wakes_whoever_waits() -> None:
    async with started() as plugin:
        dials = [asyncio.ensure_future(plugin.broker.dial(n, timeout=600)) for n in (7, 7, 8)]
        await get(plugin, "bytes:1")
        await plugin.broker.close()
        for error in await asyncio.gather(*dials, return_exceptions=True):
            assert type(error) is BrokerError
        with pytest.raises(BrokerError):
            await plugin.broker.dial(9, timeout=600)
        with pytest.raises(BrokerError):
            await plugin.broker.accept_and_serve(9, [Store()])
        # The main connection is none of the broker's.
        assert await get(plugin, "bytes:1") == b"\0"


async def test_closing_the_broker_ends_its_servers_and_channels() -> None:
    async with started() as plugin:
        before = Held.of(plugin)
        await plugin.broker.accept_and_serve(700, [store := Store()])
        call = asyncio.ensure_future(get(plugin, "dial:700:never"))
        await store.is_waiting.wait()
        service_id = int(await get(plugin, "accept"))
        channel = await plugin.broker.dial(service_id)
        await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="numbered:1"))
        await plugin.broker.close()
        await asyncio.gather(call, return_exceptions=True)
        assert call.exception() is not None
        await get(plugin, f"stop:{service_id}")
        await settled(plugin, before)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@TLS
async def test_the_end_of_the_plugin_wakes_dials(auto_mtls: bool, signum: int) -> None:
    async with started(auto_mtls=auto_mtls) as plugin:
        dials = [asyncio.ensure_future(plugin.broker.dial(n, timeout=600)) for n in (7, 7, 8)]
        await get(plugin, "bytes:1")
        assert plugin.pid is not None
        os.kill(plugin.pid, signum)
        for error in await asyncio.gather(*dials, return_exceptions=True):
            assert type(error) is BrokerError
        with pytest.raises(BrokerError):
            await plugin.broker.dial(9, timeout=600)


async def test_the_end_of_the_client_ends_all_of_it() -> None:
    async with started() as plugin:
        broker, folder = plugin.broker, socket_of(plugin).parent
        servers = [await broker.accept_and_serve(700 + n, [Store()]) for n in range(3)]
        await asyncio.gather(*(get(plugin, "accept") for _ in range(3)))
        dial = asyncio.ensure_future(broker.dial(99, timeout=600))
        await get(plugin, "bytes:1")
        await plugin.kill()
        with pytest.raises(BrokerError):
            await dial
        assert not folder.exists()
        for server in servers:
            await server.wait_closed()
        with pytest.raises(BrokerError):
            await broker.accept_and_serve(703, [Store()])
