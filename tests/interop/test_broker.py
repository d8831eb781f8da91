"""The broker between Go and Python, and between Python and Python: who dials and who serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import BrokerError, BrokerTimeout, Client, ClientConfig, PluginCrashed
from pyplugin._compat import timeout
from tests.fixtures import HANDSHAKE, KVPlugin, client

from .kvplugin import COMMAND, Store, numbered
from .peers import MARKS, PEER_TIMEOUT, GoError, GoHost, process_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from grpclib.client import Channel

    from .peers import Peers

pytestmark = MARKS

# Both hosts carry messages of any size.
LARGE = 8 * 2**20

PLUGIN = pytest.mark.parametrize("plugin", ["go", "python"])
TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
MULTIPLEXED = {"grpc_broker_multiplex": True}
NETWORK = pytest.mark.parametrize(
    "settings", [{}, {"KV_TCP": "ipv4"}, MULTIPLEXED], ids=["unix", "tcp", "mux"]
)
WAY = pytest.mark.parametrize("settings", [{}, MULTIPLEXED], ids=["unix", "mux"])
# The loop of a test with a Go host only carries lines.
GO_HOST = pytest.mark.asyncio(loop_factories=["asyncio"])


@contextlib.asynccontextmanager
async def python_host(peers: Peers, plugin: str, **settings: Any) -> AsyncIterator[Client]:
    """Our host with a running plugin. All that is done with it has one time limit."""
    command = [peers.kvplugin] if plugin == "go" else COMMAND
    async with timeout(PEER_TIMEOUT), client(command, **settings) as host:
        yield host


@contextlib.asynccontextmanager
async def go_host(
    peers: Peers,
    *,
    auto_mtls: bool = False,
    grpc_broker_multiplex: bool = False,
    **variables: str,
) -> AsyncIterator[GoHost]:
    """The Go host with our plugin."""
    options = ["-mtls"] if auto_mtls else []
    options += ["-mux"] if grpc_broker_multiplex else []
    async with GoHost(peers, COMMAND, *options, env=variables) as host:
        await host.start()
        yield host


async def get(channel: Client | Channel, key: str) -> bytes:
    reply = await stub(channel).Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


async def put(channel: Client | Channel, key: str, value: bytes) -> None:
    await stub(channel).Put(kv_pb2.PutRequest(key=key, value=value))


def stub(channel: Any) -> Any:
    """Of the plugin itself, or of what it serves at the other end of a sub-channel."""
    return channel.dispense("kv") if hasattr(channel, "dispense") else kv_grpc.KVStub(channel)


@contextlib.asynccontextmanager
async def served(host: Client, store: Store) -> AsyncIterator[int]:
    """The id under which our host serves a store."""
    service_id = host.broker.next_id()
    server = await host.broker.accept_and_serve(service_id, [store])
    try:
        yield service_id
    finally:
        server.close()
        await server.wait_closed()


async def there(host: Client, value: bytes) -> None:
    """The plugin dials what our host serves."""
    store = Store()
    async with served(host, store) as service_id:
        await put(host, f"dial:{service_id}:k", value)
        assert store.values == {"k": value}
    store.values = {"k": value + b"!"}
    async with served(host, store) as service_id:
        assert await get(host, f"dial:{service_id}:k") == value + b"!"


async def back(host: Client, value: bytes) -> None:
    """Our host dials what the plugin serves."""
    service_id = int(await get(host, "accept"))
    async with await host.broker.dial(service_id) as channel:
        await put(channel, "k", value)
        assert await get(channel, "k") == value
        with pytest.raises(GRPCError, match="no key") as raised:
            await get(channel, "none")
        assert raised.value.status is Status.NOT_FOUND
    await get(host, f"stop:{service_id}")


# Our host


@PLUGIN
@TLS
@NETWORK
async def test_either_side_dials_the_other(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        await there(host, b"\0v\xff")
        await back(host, b"\0v\xff")
        await there(host, b"")


@PLUGIN
@TLS
@WAY
async def test_thirty_sub_channels_in_a_row(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        for number in range(15):
            await there(host, b"%d" % number)
            await back(host, b"%d" % number)


@PLUGIN
@TLS
@NETWORK
async def test_fifty_sub_channels_each_way_at_once(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        numbers = [b"%d" % number for number in range(50)]
        await asyncio.gather(
            *(there(host, number) for number in numbers),
            *(back(host, number) for number in numbers),
        )


@PLUGIN
@TLS
@WAY
async def test_a_host_dials_before_the_announcement(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        dial = asyncio.ensure_future(host.broker.dial(700))
        # Answered before the plugin is asked to serve.
        await get(host, "bytes:1")
        assert not dial.done()
        await get(host, "serve:700")
        async with await dial as channel:
            assert await get(channel, "numbered:16") == b"n000000\nn000001\n"


@PLUGIN
@TLS
@WAY
async def test_a_plugin_dials_before_the_announcement(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        value = asyncio.ensure_future(get(host, "dial:700:numbered:8"))
        # Comes to the plugin after the other.
        await get(host, "bytes:1")
        server = await host.broker.accept_and_serve(700, [Store()])
        assert await value == b"n000000\n"
        server.close()
        await server.wait_closed()


@PLUGIN
@TLS
async def test_many_channels_to_one_server(peers: Peers, plugin: str, auto_mtls: bool) -> None:
    """Calls that run at once on one sub-channel."""
    async with python_host(peers, plugin, auto_mtls=auto_mtls) as host:
        service_id = int(await get(host, "accept"))
        async with await host.broker.dial(service_id) as channel:
            await asyncio.gather(*(put(channel, str(n), b"%d" % n) for n in range(100)))
            values = await asyncio.gather(*(get(channel, str(n)) for n in range(100)))
        assert values == [b"%d" % n for n in range(100)]


@PLUGIN
@TLS
@NETWORK
async def test_messages_of_8_mebibytes(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    expected, store = numbered("n", LARGE), Store()
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        service_id = int(await get(host, "accept"))
        async with await host.broker.dial(service_id) as channel:
            assert await get(channel, f"numbered:{LARGE}") == expected
            await put(channel, "k", expected)
            assert await get(channel, "k") == expected
        async with served(host, store) as service_id:
            assert await get(host, f"dial:{service_id}:numbered:{LARGE}") == expected
        async with served(host, store) as service_id:
            await get(host, f"send:{service_id}:k:{LARGE}")
        assert store.values == {"k": expected}


@PLUGIN
@TLS
@WAY
async def test_a_plugin_killed_while_it_is_dialled(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        assert host.pid is not None
        channel = await host.broker.dial(int(await get(host, "accept")))
        assert await get(channel, "numbered:1") == b"n"
        dials = [asyncio.ensure_future(host.broker.dial(n, timeout=600)) for n in (700, 700, 701)]
        await get(host, "bytes:1")
        assert not any(dial.done() for dial in dials)
        os.kill(host.pid, signal.SIGKILL)
        for error in await asyncio.gather(*dials, return_exceptions=True):
            assert type(error) is BrokerError
        with pytest.raises(PluginCrashed) as raised:
            await get(channel, "numbered:1")
        assert raised.value.exit_code == -signal.SIGKILL
        with pytest.raises(BrokerError):
            await host.broker.dial(702, timeout=600)
        channel.close()


@PLUGIN
async def test_a_plugin_killed_during_a_call_to_the_host(peers: Peers, plugin: str) -> None:
    """The host's server ends all the same."""
    async with python_host(peers, plugin) as host:
        assert host.pid is not None
        async with served(host, store := Store()) as service_id:
            call = asyncio.ensure_future(get(host, f"dial:{service_id}:never"))
            await store.is_waiting.wait()
            os.kill(host.pid, signal.SIGKILL)
            with pytest.raises(PluginCrashed):
                await call


@PLUGIN
@TLS
@WAY
async def test_an_id_that_nobody_serves(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        with pytest.raises(BrokerTimeout, match=r"broker id 77 within 0\.2 s") as raised:
            await host.broker.dial(77, timeout=0.2)
        assert isinstance(raised.value, TimeoutError)
        # It is in nobody's way.
        await there(host, b"v")
        await back(host, b"v")


@PLUGIN
@TLS
@WAY
async def test_a_server_that_is_stopped_ends_its_channels(
    peers: Peers, plugin: str, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with python_host(peers, plugin, auto_mtls=auto_mtls, **settings) as host:
        service_id = int(await get(host, "accept"))
        async with await host.broker.dial(service_id) as channel:
            assert await get(channel, "numbered:1") == b"n"
            await get(host, f"stop:{service_id}")
            with pytest.raises(GRPCError) as raised:
                await get(channel, "numbered:1")
            assert raised.value.status is Status.UNAVAILABLE
            assert getattr(raised.value, "exit_code", None) is None
        server = await host.broker.accept_and_serve(700, [store := Store()])
        call = asyncio.ensure_future(get(host, "dial:700:never"))
        await store.is_waiting.wait()
        server.close()
        await server.wait_closed()
        with pytest.raises(GRPCError):
            await call
        assert await get(host, "bytes:1") == b"\0"


@TLS
async def test_a_host_that_attached_has_a_broker(peers: Peers, auto_mtls: bool) -> None:
    async with python_host(peers, "python", auto_mtls=auto_mtls) as first:
        await there(first, b"v")
        second = Client(
            ClientConfig(
                handshake_config=HANDSHAKE,
                plugins={"kv": KVPlugin()},
                reattach=first.reattach_config(),
            )
        )
        async with second:
            await there(second, b"v")
            await back(second, b"v")


# The Go host


async def failure(host: GoHost, op: str, **fields: Any) -> tuple[str | None, str]:
    """The status and the message of an operation that must fail."""
    with pytest.raises(GoError) as raised:
        await host.do(op, **fields)
    return raised.value.code, raised.value.message


@GO_HOST
@TLS
@NETWORK
async def test_either_side_dials_the_other_in_go(
    peers: Peers, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        service_id = (await host.do("accept"))["id"]
        await host.put(f"dial:{service_id}:k", b"\0v\xff")
        assert (await host.do("served", id=service_id, key="k"))["value"] == "AHb/"
        await host.do("stop", id=service_id)
        service_id = int(await host.get("accept"))
        await host.do("dial", id=service_id)
        await host.put("k", b"\0v\xff", id=service_id)
        assert await host.get("k", id=service_id) == b"\0v\xff"
        assert await failure(host, "get", id=service_id, key="none") == (
            "NotFound",
            "no key 'none'",
        )
        await host.do("hang_up", id=service_id)
        await host.get(f"stop:{service_id}")


@GO_HOST
@TLS
@WAY
async def test_thirty_sub_channels_in_a_row_in_go(
    peers: Peers, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        done = await host.do("rounds", calls=30)
        assert done == {"there": 30, "back": 30, "error": ""}


@GO_HOST
@TLS
@NETWORK
async def test_fifty_sub_channels_each_way_at_once_in_go(
    peers: Peers, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        done = await host.do("rounds", calls=50, at_once=True)
        assert done == {"there": 50, "back": 50, "error": ""}


@GO_HOST
@TLS
@WAY
async def test_dials_meet_announcements_in_go(
    peers: Peers, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        await host.do("dial", id=700, key="serve:700")
        assert await host.get("numbered:8", id=700) == b"n000000\n"
        met = await host.do("accept", id=701, key="dial:701:numbered:3")
        assert met["value"] == "bjAw"


@GO_HOST
@TLS
@NETWORK
async def test_messages_of_8_mebibytes_in_go(
    peers: Peers, auto_mtls: bool, settings: dict[str, Any]
) -> None:
    expected = numbered("n", LARGE)
    async with go_host(peers, auto_mtls=auto_mtls, **settings) as host:
        service_id = int(await host.get("accept"))
        await host.do("dial", id=service_id)
        assert await host.get(f"numbered:{LARGE}", id=service_id) == expected
        await host.put("k", expected, id=service_id)
        assert await host.get("k", id=service_id) == expected
        service_id = (await host.do("accept"))["id"]
        assert await host.get(f"dial:{service_id}:numbered:{LARGE}") == expected
        service_id = (await host.do("accept"))["id"]
        await host.get(f"send:{service_id}:k:{LARGE}")
        got = await host.do("served", id=service_id, key="k")
        assert len(got["value"]) == (LARGE + 2) // 3 * 4


@GO_HOST
@TLS
async def test_an_id_that_the_go_host_does_not_serve(peers: Peers, auto_mtls: bool) -> None:
    async with go_host(peers, auto_mtls=auto_mtls, KV_DIAL_TIMEOUT="0.2") as host:
        code, message = await failure(host, "get", key="dial:77:k")
        assert code == "Unknown"
        assert message.startswith("BrokerTimeout: ")
        assert "broker id 77 within 0.2 s" in message
        assert (await host.do("rounds", calls=1))["error"] == ""


# A host that is gone


# How a dial is to end when there is nobody any more to announce anything.
END = "BrokerError: "


@contextlib.asynccontextmanager
async def notes(path: Path) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """Makes a pipe of this name, and gives what waits for a note to come through it."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    loop, came = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, came.set)

    async def note() -> str:
        async with timeout(PEER_TIMEOUT):
            await came.wait()
        return os.read(descriptor, 4096).decode()

    try:
        yield note
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


@contextlib.asynccontextmanager
async def ending(pid: int) -> AsyncIterator[None]:
    """Ends a plugin that has no host any more, which is to end by SIGTERM as ever."""
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await process_end(pid)


@GO_HOST
@TLS
async def test_a_dead_go_host_wakes_what_waits_in_the_plugin(
    peers: Peers, tmp_path: Path, auto_mtls: bool
) -> None:
    options, path = ["-mtls"] if auto_mtls else [], tmp_path / "notes"
    async with (
        notes(path) as note,
        GoHost(peers, COMMAND, *options, env={"KV_NOTES": str(path)}) as host,
    ):
        plugin = await host.start()
        await host.get("wait:99")
        await host.die()
        async with ending(plugin["pid"]):
            assert (await note()).startswith(END)
    assert not Path(plugin["address"]).exists()


HOST = """
import asyncio, sys
from tests.fixtures import HANDSHAKE, KVPlugin, client
import kv_pb2

async def main():
    plugin = client(sys.argv[2:], auto_mtls=sys.argv[1] == "True")
    await plugin.start()
    await plugin.dispense("kv").Get(kv_pb2.GetRequest(key="wait:99"))
    print(plugin.pid, plugin.reattach_config().addr, flush=True)
    await asyncio.get_running_loop().create_future()

asyncio.run(main())
"""


@GO_HOST
@TLS
async def test_a_dead_python_host_wakes_what_waits_in_the_plugin(
    tmp_path: Path, auto_mtls: bool
) -> None:
    path = tmp_path / "notes"
    async with notes(path) as note:
        host = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            HOST,
            str(auto_mtls),
            *COMMAND,
            stdout=asyncio.subprocess.PIPE,
            env={
                **os.environ,
                "KV_NOTES": str(path),
                "PYTHONPATH": os.pathsep.join(sys.path),
                # Nobody removes the folder that a dead host made.
                "TMPDIR": str(tmp_path),
            },
        )
        try:
            assert host.stdout is not None
            async with timeout(PEER_TIMEOUT):
                pid, address = (await host.stdout.readline()).decode().split()
        finally:
            host.kill()
            await host.communicate()
        async with ending(int(pid)):
            assert (await note()).startswith(END)
    assert not Path(address).exists()
