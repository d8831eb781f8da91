"""The broker between two real processes, in both directions."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import BrokerError, BrokerTimeout, GRPCBroker
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
from pyplugin.environment import PluginEnvironment
from pyplugin.net.transport import open_listener
from tests.fixtures import PLUGIN, client

if TYPE_CHECKING:
    from grpclib.server import Stream

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])


class Answering(kv_grpc.KVBase):
    """Served by the host: answers with the key."""

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        await stream.send_message(kv_pb2.GetResponse(value=request.key.encode()))

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        raise NotImplementedError


class Announcing:
    """The broker's stream of a peer that announces what it was made with."""

    def __init__(self, *announcements: ConnInfo) -> None:
        self._queue: asyncio.Queue[ConnInfo | None] = asyncio.Queue()
        for info in announcements:
            self._queue.put_nowait(info)
        if announcements:
            self.end()

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def recv_message(self) -> ConnInfo | None:
        return await self._queue.get()

    async def send_message(self, message: ConnInfo, /) -> None:
        raise NotImplementedError


def lone_broker() -> GRPCBroker:
    """A broker without a process on the other side."""
    return GRPCBroker(
        open_listener=lambda: open_listener(PluginEnvironment()),
        identity=None,
        logger=logging.getLogger("tests"),
    )


async def get(kv: Any, key: str) -> bytes:
    reply = await kv.Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


@TLS
async def test_the_plugin_calls_back(auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as plugin:
        for _ in range(3):
            service_id = plugin.broker.next_id()
            server = await plugin.broker.accept_and_serve(service_id, [Answering()])
            assert await get(plugin.dispense("kv"), f"dial:{service_id}") == b"from the plugin"
            server.close()
            await server.wait_closed()


@TLS
async def test_the_host_dials_what_the_plugin_serves(auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as plugin:
        service_id = int(await get(plugin.dispense("kv"), "accept"))
        channel = await plugin.broker.dial(service_id)
        assert await get(kv_grpc.KVStub(channel), "bytes:3") == bytes(3)
        channel.close()


async def test_many_sub_channels_in_both_directions_at_once() -> None:
    async with client() as plugin:
        kv = plugin.dispense("kv")

        async def there() -> bytes:
            service_id = plugin.broker.next_id()
            await plugin.broker.accept_and_serve(service_id, [Answering()])
            return await get(kv, f"dial:{service_id}")

        async def back() -> bytes:
            channel = await plugin.broker.dial(int(await get(kv, "accept")))
            return await get(kv_grpc.KVStub(channel), "bytes:1")

        answers = await asyncio.gather(*(there() for _ in range(10)), *(back() for _ in range(10)))
    assert answers == [b"from the plugin"] * 10 + [b"\0"] * 10


async def test_ids_start_at_one() -> None:
    async with client() as plugin:
        assert [plugin.broker.next_id() for _ in range(3)] == [1, 2, 3]


async def test_an_id_that_nobody_announces_times_out() -> None:
    async with client() as plugin:
        with pytest.raises(BrokerTimeout, match=r"broker id 77 within 0\.05 s") as raised:
            await plugin.broker.dial(77, timeout=0.05)
    assert isinstance(raised.value, TimeoutError)


async def test_an_id_may_be_dialled_before_it_is_announced() -> None:
    async with client() as plugin:
        dial = asyncio.ensure_future(plugin.broker.dial(1))
        await asyncio.sleep(0)
        assert await get(plugin.dispense("kv"), "accept") == b"1"
        assert await get(kv_grpc.KVStub(await dial), "bytes:1") == b"\0"


async def test_a_cancelled_dial_loses_no_announcement() -> None:
    async with client() as plugin:
        dial = asyncio.ensure_future(plugin.broker.dial(1))
        await asyncio.sleep(0)
        dial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dial
        await get(plugin.dispense("kv"), "accept")
        assert await get(kv_grpc.KVStub(await plugin.broker.dial(1)), "bytes:1") == b"\0"


async def test_a_dial_that_times_out_takes_nothing_from_another() -> None:
    async with client() as plugin:
        patient = asyncio.ensure_future(plugin.broker.dial(1))
        with pytest.raises(BrokerTimeout):
            await plugin.broker.dial(1, timeout=0.02)
        await get(plugin.dispense("kv"), "accept")
        assert await get(kv_grpc.KVStub(await patient), "bytes:1") == b"\0"


async def test_an_announcement_survives_a_dial_cancelled_as_it_came() -> None:
    broker = lone_broker()
    stream = Announcing(ConnInfo(service_id=1, network="unix", address="/s"))
    dial = asyncio.ensure_future(broker.dial(1))
    await asyncio.sleep(0)
    await broker.run(stream)
    dial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dial
    assert (await broker.dial(1, timeout=0.1))._path == "/s"
    await broker.close()


async def test_announcements_that_nobody_dials_are_bounded() -> None:
    broker = lone_broker()
    flood = (ConnInfo(service_id=n, network="unix", address="/s") for n in range(20_000))
    await broker.run(Announcing(*flood))
    assert (await broker.dial(1))._path == "/s"
    with pytest.raises(BrokerTimeout):
        await broker.dial(19_999, timeout=0.01)
    await broker.close()


async def test_an_accept_that_nobody_can_be_told_of_fails() -> None:
    class Gone(Announcing):
        async def send_message(self, message: ConnInfo, /) -> None:
            raise GRPCError(Status.UNAVAILABLE, "gone")

    broker = lone_broker()
    stream = Gone()
    run = asyncio.ensure_future(broker.run(stream))
    await asyncio.sleep(0)
    with pytest.raises(BrokerError, match="cannot be told of broker id 1"):
        await broker.accept_and_serve(1, [Answering()])
    stream.end()
    await run
    await broker.close()
    with pytest.raises(BrokerError, match="was closed"):
        await broker.accept_and_serve(1, [Answering()])


async def test_a_plugin_that_ends_the_stream_fails_dials_at_once() -> None:
    code = f"""
import runpy
from pyplugin.broker import GRPCBrokerServicer
async def start_stream(self, stream):
    pass
GRPCBrokerServicer.StartStream = start_stream
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client([sys.executable, "-c", code]) as plugin:
        with pytest.raises(BrokerError, match="ended the broker's stream"):
            await plugin.broker.dial(1, timeout=60)


async def test_a_dead_plugin_wakes_a_dial_at_once() -> None:
    async with client() as plugin:
        dial = asyncio.ensure_future(plugin.broker.dial(1, timeout=60))
        await asyncio.sleep(0)
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match=r"plugin\.py"):
            await dial
        with pytest.raises(BrokerError):
            await plugin.broker.accept_and_serve(2, [Answering()])


async def test_kill_wakes_a_dial_and_ends_sub_channels() -> None:
    plugin = client()
    await plugin.start()
    broker = plugin.broker
    channel = await broker.dial(int(await get(plugin.dispense("kv"), "accept")))
    await get(kv_grpc.KVStub(channel), "bytes:1")
    dial = asyncio.ensure_future(broker.dial(99, timeout=60))
    await asyncio.sleep(0)
    await plugin.kill()
    with pytest.raises(BrokerError, match="closed"):
        await dial
    with pytest.raises(GRPCError) as raised:
        await get(kv_grpc.KVStub(channel), "bytes:1")
    assert raised.value.status is Status.UNAVAILABLE


async def test_a_plugin_without_a_broker_says_so() -> None:
    code = f"""
import runpy
from pyplugin import broker
broker.GRPCBrokerServicer.__mapping__ = lambda self: {{}}
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client([sys.executable, "-c", code]) as plugin:
        with pytest.raises(BrokerError, match="unknown method /plugin"):
            await plugin.broker.dial(1)


async def test_announced_addresses_are_checked() -> None:
    code = f"""
import runpy
from pyplugin import ways
real = ways.ConnInfo
ways.ConnInfo = lambda **fields: real(service_id=fields["service_id"], network="udp")
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client([sys.executable, "-c", code]) as plugin:
        await get(plugin.dispense("kv"), "accept")
        with pytest.raises(BrokerError, match="unknown network 'udp'"):
            await plugin.broker.dial(1)
