"""What a peer can say on the broker's stream, and when it says too much."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.exceptions import GRPCError

from pyplugin import BrokerError, BrokerTimeout
from pyplugin._compat import timeout
from pyplugin._generated.grpc_broker_grpc import GRPCBrokerStub
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
from tests.fixtures import PLUGIN, client
from tests.fixtures.lives import get
from tests.fixtures.logs import LIMIT
from tests.fixtures.plugin import KVServicer

from .starts import MOST_BYTES, MOST_CHARACTERS, resident_bytes

if TYPE_CHECKING:
    from pyplugin import Client

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")

MUX = pytest.mark.parametrize("mux", [False, True], ids=["listeners", "mux"])
HUGE = "x" * 2**20
MOST_ID = 2**32 - 1

# Of network and address.
ADDRESSES = [
    ("", ""),
    ("", "/s"),
    ("unix", ""),
    ("unix", "\0abstract"),
    ("unix", "/s\0"),
    ("unix", HUGE),
    ("UNIX", "/s"),
    ("udp", "127.0.0.1:53"),
    (HUGE, "/s"),
    ("tcp", ""),
    ("tcp", "127.0.0.1"),
    ("tcp", "127.0.0.1:0"),
    ("tcp", "127.0.0.1:65536"),
    ("tcp", "127.0.0.1:٣"),
    ("tcp", HUGE),
    ("tcp", HUGE + ":80"),
]
# Which are dialled, and reach nobody.
NOBODY = [
    ("unix", "/no/such"),
    ("unix", "/dev/null"),
    ("unix", "/"),
    ("tcp", "a\0b:80"),
    ("tcp", "x" * 64 + ":80"),
    ("tcp", "..:80"),
]


def saying(code: str, first: str = "") -> list[str]:
    """A KV plugin whose end of the stream does this; ``say()`` sends."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    program = f"""
{first}
import asyncio, runpy
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
from pyplugin.broker import GRPCBrokerServicer
HUGE = "x" * 2**20
def knock(service_id, **fields):
    return ConnInfo(service_id=service_id, knock=ConnInfo.Knock(knock=True, **fields))
async def start_stream(self, stream):
    say = stream.send_message
{body}
    await asyncio.sleep(600)
GRPCBrokerServicer.StartStream = start_stream
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    return [sys.executable, "-c", program]


async def heard(plugin: Client, service_id: int) -> None:
    """Waits for the last of what the plugin has to say: an address for this id."""
    with pytest.raises(BrokerError, match="unusable address"):
        await plugin.broker.dial(service_id, timeout=LIMIT)


async def test_addresses() -> None:
    code = "\n".join(
        f"await say(ConnInfo(service_id={number}, network={network!r}, address={address!r}))"
        for number, (network, address) in enumerate([*ADDRESSES, *NOBODY])
    ).replace(repr(HUGE), "HUGE")
    code = code.replace(repr(f"{HUGE}:80"), "HUGE + ':80'")
    async with timeout(LIMIT), client(saying(code)) as plugin:
        for number in range(len(ADDRESSES)):
            with pytest.raises(BrokerError, match="unusable address") as raised:
                await plugin.broker.dial(number)
            assert len(str(raised.value)) < MOST_CHARACTERS
        for number in range(len(NOBODY)):
            async with await plugin.broker.dial(len(ADDRESSES) + number) as channel:
                with pytest.raises(GRPCError):
                    await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="k"))
        assert await get(plugin, "bytes:1") == b"\0"


@MUX
async def test_ids(mux: bool) -> None:
    """The lowest, the highest, and each of them twice: the first announcement counts."""
    code = f"""
for service_id in (0, {MOST_ID}):
    await say(ConnInfo(service_id=service_id, network="udp", address="first"))
    await say(ConnInfo(service_id=service_id, network="udp", address="second"))
"""
    async with timeout(LIMIT), client(saying(code), grpc_broker_multiplex=mux) as plugin:
        for service_id in (0, MOST_ID):
            # With multiplexing there are no addresses: nobody answers the knock.
            with pytest.raises(BrokerTimeout if mux else BrokerError):
                await plugin.broker.dial(service_id, timeout=0.2 if mux else LIMIT)
        for service_id in (-1, MOST_ID + 1):
            with pytest.raises((BrokerError, ValueError)):
                await plugin.broker.dial(service_id, timeout=0.2)
        assert await get(plugin, "bytes:1") == b"\0"


async def test_knocks_where_there_are_listeners() -> None:
    """They are announcements without an address."""
    code = "for n in range(10):\n    await say(knock(n, ack=n % 2 == 0, error=HUGE))"
    async with timeout(LIMIT), client(saying(code)) as plugin:
        for number in range(10):
            await heard(plugin, number)


async def test_answers_to_knocks_that_nobody_made() -> None:
    code = """
for n in range(2000):
    await say(knock(n, ack=True, error="no"))
    await say(ConnInfo(service_id=n, network="unix", address="/s"))
async for info in stream:
    if info.knock.knock and not info.knock.ack:
        await say(knock(info.service_id + 1, ack=True))
        await say(knock(info.service_id, ack=True, error=HUGE))
        await say(knock(info.service_id, ack=True))
"""
    async with timeout(LIMIT), client(saying(code), grpc_broker_multiplex=True) as plugin:
        for number in range(3000, 3003):
            with pytest.raises(BrokerError, match=f"refused broker id {number}: xxx") as raised:
                await plugin.broker.dial(number, timeout=LIMIT)
            assert len(str(raised.value)) < MOST_CHARACTERS
        assert await get(plugin, "bytes:1") == b"\0"


async def test_announcements_without_end_are_bounded() -> None:
    """Each with a megabyte of its own, which is not kept."""
    code = """
for n in range(200):
    await say(ConnInfo(service_id=n, network="unix", address=HUGE))
for n in range(20_000):
    await say(ConnInfo(service_id=1000 + n, network="unix"))
    await say(ConnInfo(service_id=1000, network="unix"))
"""
    async with timeout(LIMIT), client(saying(code)) as plugin:
        before = resident_bytes()
        await heard(plugin, 9000)
        assert resident_bytes() - before < MOST_BYTES
        assert len(plugin.broker._way._announced) <= 10_000  # type: ignore[attr-defined]
        assert await get(plugin, "bytes:1") == b"\0"


@pytest.mark.parametrize("served", [False, True], ids=["unknown", "served"])
async def test_knocks_without_end_are_bounded(
    served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plugin reads none of the answers, and takes few, so that they have to wait."""
    monkeypatch.setattr("pyplugin.ways._MAX_WAITING", 100)
    code = f"""
await stream.recv_message()
for n in range(6000):
    await say(knock(7 if {served} else 1000 + n))
os.environ["KV_FLOODED"] = "yes"
"""
    prefix = """
import dataclasses, os
from pyplugin.net.grpc import connection
connection.CONFIGURATION = dataclasses.replace(
    connection.CONFIGURATION, http2_stream_window_size=65535, http2_connection_window_size=2**20
)
"""
    settings: dict[str, Any] = {"grpc_broker_multiplex": True, "kill_timeout": 0.5}
    async with timeout(LIMIT), client(saying(code, prefix), **settings) as plugin:
        await plugin.broker.accept_and_serve(7, [KVServicer()])
        dial = asyncio.ensure_future(plugin.broker.dial(1, timeout=LIMIT))
        while await get(plugin, "env:KV_FLOODED") != b"yes":
            assert len(asyncio.all_tasks()) < 200
        assert len(asyncio.all_tasks()) < 200
    with pytest.raises(BrokerError):
        await dial


@MUX
@pytest.mark.parametrize(
    "end",
    [
        "raise GRPCError(Status.OK)",
        "raise GRPCError(Status.PERMISSION_DENIED, HUGE[:50_000])",
        "await stream.cancel()",
        "stream._codec.encode = lambda *_: b'\\xff' * 9; await say(ConnInfo())",
        "await stream._stream.send_data(b'\\x01' * 5 + bytes(999))",
        "await stream.send_initial_metadata(); await stream._stream.send_data(b'\\0' * 3, True)",
        "stream._stream.connection._transport.abort()",
    ],
)
async def test_a_stream_that_breaks_off(end: str, mux: bool) -> None:
    """Whoever waits, and whoever comes later, hears of it; ``kill()`` has nothing to wait for."""
    code = "from grpclib import GRPCError, Status\nawait stream.recv_message()\n" + end
    settings: dict[str, Any] = {"grpc_broker_multiplex": mux, "kill_timeout": 0.5}
    async with timeout(LIMIT), client(saying(code), **settings) as plugin:
        if not mux:
            await plugin.broker.accept_and_serve(7, [KVServicer()])
        for _ in range(2):
            with pytest.raises(BrokerError) as raised:
                await plugin.broker.dial(1, timeout=LIMIT)
            assert not isinstance(raised.value, BrokerTimeout)


@MUX
async def test_a_plugin_outlives_what_its_host_says(mux: bool) -> None:
    """The same from a host, which may open the stream more than once."""
    async with timeout(LIMIT), client(grpc_broker_multiplex=mux) as plugin:
        assert plugin._channel is not None
        for _ in range(3):
            async with GRPCBrokerStub(plugin._channel).StartStream.open() as stream:
                await stream.send_request()
                for number in (0, MOST_ID, *range(300)):
                    knock = ConnInfo.Knock(knock=number % 2 == 0, ack=number % 4 == 0, error="x")
                    fields: dict[str, Any] = {"network": "x", "address": HUGE[: number % 300 * 100]}
                    await stream.send_message(ConnInfo(service_id=number, knock=knock, **fields))
                await stream.cancel()
        assert await get(plugin, "bytes:1") == b"\0"
        with pytest.raises(GRPCError):
            await get(plugin, "dial:1")
        assert await get(plugin, "bytes:1") == b"\0"
