"""Plugins over one multiplexed connection: real processes, in both directions."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import signal
import socket
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import (
    BrokerError,
    BrokerTimeout,
    Client,
    ClientConfig,
    HandshakeError,
    ReattachConfig,
)
from pyplugin._compat import timeout
from pyplugin.environment import PluginEnvironment
from pyplugin.handshake import parse_line
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address
from tests.conftest import ROOT
from tests.fixtures import HANDSHAKE, PLUGIN, KVPlugin, client, script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpclib.server import Stream

LIMIT = 30
STREAMING = ROOT / "examples" / "streaming"
TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
TCP = pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])


class Answering(kv_grpc.KVBase):
    """Served by the host: answers with the key, and keeps what it is given."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.answer = answer

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        value = request.key.encode() if self.answer is None else self.answer
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        self.answer = request.value
        await stream.send_message(kv_pb2.Empty())


@contextlib.asynccontextmanager
async def mux(cmd: list[str] = PLUGIN, **settings: Any) -> AsyncIterator[Client]:
    """A started plugin over one connection."""
    if settings.pop("tcp", False):
        settings["KV_TCP"] = 1
    async with timeout(LIMIT), client(cmd, grpc_broker_multiplex=True, **settings) as plugin:
        yield plugin


async def get(kv: Any, key: str) -> bytes:
    reply = await kv.Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


async def there(plugin: Client) -> None:
    """The plugin dials the host."""
    service_id = plugin.broker.next_id()
    server = await plugin.broker.accept_and_serve(service_id, [Answering()])
    assert await get(plugin.dispense("kv"), f"dial:{service_id}") == b"from the plugin"
    server.close()
    await server.wait_closed()


async def back(plugin: Client) -> None:
    """The host dials the plugin."""
    channel = await plugin.broker.dial(int(await get(plugin.dispense("kv"), "accept")))
    assert await get(kv_grpc.KVStub(channel), "bytes:3") == bytes(3)
    channel.close()
    await channel.wait_closed()


# Calls


@TLS
@TCP
async def test_calls(auto_mtls: bool, tcp: bool) -> None:
    async with mux(auto_mtls=auto_mtls, tcp=tcp) as plugin:
        kv = plugin.dispense("kv")
        await kv.Put(kv_pb2.PutRequest(key="key", value=b"value"))
        assert await get(kv, "key") == b"value"
        assert await get(kv, "env:PLUGIN_MULTIPLEX_GRPC") == b"true"
        with pytest.raises(GRPCError) as raised:
            await get(kv, "raise:it")
        assert raised.value.status is Status.UNKNOWN
        config = plugin.reattach_config()
        assert config is not None
        assert config.network == ("tcp" if tcp else "unix")
        assert len(await get(kv, f"bytes:{2**23}")) == 2**23


@TLS
async def test_the_four_kinds_of_calls(auto_mtls: bool, tmp_path: Any) -> None:
    async with streamer(auto_mtls=auto_mtls) as plugin:
        search_pb2, streamer_pb2 = import_example("search_pb2"), import_example("streamer_pb2")
        stubs = plugin.dispense("streamer")
        path = tmp_path / "file"
        await stubs.files.Configure(
            streamer_pb2.Configure.Request(path=str(path), chunk_size=2**16)
        )
        content = b"to be, or not to be" + bytes(2**21)
        chunks = [content[start : start + 2**15] for start in range(0, len(content), 2**15)]
        await stubs.files.Write(
            [streamer_pb2.Write.RequestChunk(bytes_to_write=chunk) for chunk in chunks]
        )
        assert path.read_bytes() == content
        answers = await stubs.files.Read(streamer_pb2.Read.Request())
        assert b"".join(answer.read_bytes for answer in answers) == content
        async with stubs.search.Search.open() as stream:
            await stream.send_request()
            for word, places in ((b"be", [3, 17]), (b"or", [7])):
                await stream.send_message(search_pb2.Word(text=word.decode()))
                found = await stream.recv_message()
                assert found is not None
                assert list(found.offsets) == places
            await stream.end()


def import_example(name: str) -> Any:
    """A module of examples/streaming."""
    if str(STREAMING) not in sys.path:
        sys.path.append(str(STREAMING))
    return importlib.import_module(name)


@contextlib.asynccontextmanager
async def streamer(**settings: Any) -> AsyncIterator[Client]:
    example = import_example("streamer")
    streaming = ClientConfig(
        handshake_config=example.HANDSHAKE,
        plugins={"streamer": example.StreamerPlugin()},
        cmd=[sys.executable, str(STREAMING / "plugin.py")],
        grpc_broker_multiplex=True,
        **settings,
    )
    async with timeout(LIMIT), Client(streaming) as plugin:
        yield plugin


async def test_what_the_plugin_prints_arrives() -> None:
    class Sink:
        def __init__(self) -> None:
            self.received = b""
            self.is_complete = asyncio.Event()

        def write(self, data: bytes) -> None:
            self.received += data
            if len(self.received) == 100_000:
                self.is_complete.set()

    sink = Sink()
    async with mux(sync_stdout=sink) as plugin:
        await get(plugin.dispense("kv"), "print:100000")
        await sink.is_complete.wait()


# Sub-channels


@TLS
@TCP
async def test_sub_channels_in_both_directions_one_after_the_other(
    auto_mtls: bool, tcp: bool
) -> None:
    async with mux(auto_mtls=auto_mtls, tcp=tcp) as plugin:
        for _ in range(30):
            await there(plugin)
            await back(plugin)
        assert plugin._mux is not None
        assert len(plugin._mux._streams) < 5


@TLS
@TCP
async def test_sub_channels_in_both_directions_at_once(auto_mtls: bool, tcp: bool) -> None:
    async with mux(auto_mtls=auto_mtls, tcp=tcp) as plugin:
        await asyncio.gather(
            *(there(plugin) for _ in range(50)), *(back(plugin) for _ in range(50))
        )


@TLS
async def test_each_dial_reaches_its_own_server(auto_mtls: bool) -> None:
    async with mux(auto_mtls=auto_mtls) as plugin:
        ids = [int(await get(plugin.dispense("kv"), "accept")) for _ in range(20)]
        channels = await asyncio.gather(*map(plugin.broker.dial, ids))
        for service_id, channel in zip(ids, channels, strict=True):
            value = str(service_id).encode()
            await kv_grpc.KVStub(channel).Put(kv_pb2.PutRequest(key="id", value=value))
        for service_id in reversed(ids):
            again = await plugin.broker.dial(service_id)
            assert await get(kv_grpc.KVStub(again), "id") == str(service_id).encode()


@TLS
async def test_a_large_message_over_a_sub_channel(auto_mtls: bool) -> None:
    value = bytes(range(256)) * 2**15
    async with mux(auto_mtls=auto_mtls) as plugin:
        channel = await plugin.broker.dial(int(await get(plugin.dispense("kv"), "accept")))
        kv = kv_grpc.KVStub(channel)
        await kv.Put(kv_pb2.PutRequest(key="large", value=value))
        assert await get(kv, "large") == value


@TLS
async def test_a_long_call_while_sub_channels_come_and_go(auto_mtls: bool, tmp_path: Any) -> None:
    """The answers of a call on the main connection, read slowly, hold up nothing."""
    example, streamer_pb2 = import_example("streamer"), import_example("streamer_pb2")
    path = tmp_path / "file"
    content = os.urandom(2**20) * 12
    path.write_bytes(content)
    code = f"""
    import sys
    sys.path[:0] = [{str(ROOT)!r}, {str(STREAMING)!r}]
    sys.path.insert(0, {str(ROOT / "examples" / "kv")!r})
    from streamer import StreamerPlugin
    from tests.fixtures.plugin import HANDSHAKE, KVPlugin
    from pyplugin import ServeConfig, serve
    plugins = {{"kv": KVPlugin(), "streamer": StreamerPlugin()}}
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins=plugins))
    """
    plugins = {"kv": KVPlugin(), "streamer": example.StreamerPlugin()}
    async with mux(script(textwrap.dedent(code)), auto_mtls=auto_mtls, plugins=plugins) as plugin:
        files = plugin.dispense("streamer").files
        await files.Configure(streamer_pb2.Configure.Request(path=str(path), chunk_size=2**14))
        received = bytearray()
        async with files.Read.open() as stream:
            await stream.send_message(streamer_pb2.Read.Request(), end=True)
            for _ in range(20):
                await asyncio.gather(*(there(plugin) for _ in range(5)))
                await asyncio.gather(*(back(plugin) for _ in range(5)))
                answer = await stream.recv_message()
                received += answer.read_bytes
            async for answer in stream:
                received += answer.read_bytes
        assert received == content


# Dials


async def test_an_id_that_nobody_accepts() -> None:
    async with mux() as plugin:
        with pytest.raises(BrokerTimeout, match=r"broker id 77 within 0\.2 s") as raised:
            await plugin.broker.dial(77, timeout=0.2)
        assert isinstance(raised.value, TimeoutError)
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


async def test_an_id_that_nobody_accepts_in_the_host() -> None:
    async with mux() as plugin:
        with pytest.raises(GRPCError, match="broker id 77"):
            await get(plugin.dispense("kv"), "dial:77")
        await there(plugin)


@TLS
async def test_an_id_may_be_dialled_before_it_is_accepted(auto_mtls: bool) -> None:
    async with mux(auto_mtls=auto_mtls) as plugin:
        dial = asyncio.ensure_future(plugin.broker.dial(1))
        await get(plugin.dispense("kv"), "bytes:1")
        assert not dial.done()
        assert await get(plugin.dispense("kv"), "accept") == b"1"
        assert await get(kv_grpc.KVStub(await dial), "bytes:1") == b"\0"


@TLS
async def test_the_plugin_may_dial_before_the_host_accepts(auto_mtls: bool) -> None:
    async with mux(auto_mtls=auto_mtls) as plugin:
        service_id = plugin.broker.next_id()
        kv = plugin.dispense("kv")
        call = asyncio.ensure_future(get(kv, f"dial:{service_id}"))
        await get(kv, "bytes:1")
        await plugin.broker.accept_and_serve(service_id, [Answering()])
        assert await call == b"from the plugin"


async def two_ids(plugin: Client) -> tuple[int, int]:
    """Two servers in the plugin, which know their ids."""
    ids = []
    for _ in range(2):
        service_id = int(await get(plugin.dispense("kv"), "accept"))
        channel = await plugin.broker.dial(service_id)
        value = str(service_id).encode()
        await kv_grpc.KVStub(channel).Put(kv_pb2.PutRequest(key="id", value=value))
        ids.append(service_id)
    return ids[0], ids[1]


@TLS
@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8])
async def test_a_cancelled_dial_does_not_mislead_the_next(auto_mtls: bool, turns: int) -> None:
    async with mux(auto_mtls=auto_mtls) as plugin:
        first, second = await two_ids(plugin)
        for _ in range(5):
            dial = asyncio.ensure_future(plugin.broker.dial(first))
            for _ in range(turns):
                await asyncio.sleep(0)
            dial.cancel()
            channel = await plugin.broker.dial(second)
            assert await get(kv_grpc.KVStub(channel), "id") == str(second).encode()
            with contextlib.suppress(asyncio.CancelledError):
                await dial
        channel = await plugin.broker.dial(first)
        assert await get(kv_grpc.KVStub(channel), "id") == str(first).encode()


async def test_a_dial_that_timed_out_does_not_mislead_the_next() -> None:
    """The answer to the knock of the first comes while the next one knocks."""
    async with mux() as plugin:
        first, _ = await two_ids(plugin)
        early = first + 2
        with pytest.raises(BrokerTimeout):
            await plugin.broker.dial(early, timeout=0.05)
        kv = plugin.dispense("kv")
        accepted, channel = await asyncio.gather(get(kv, "accept"), plugin.broker.dial(first))
        assert int(accepted) == early
        assert await get(kv_grpc.KVStub(channel), "id") == str(first).encode()
        channel = await plugin.broker.dial(early)
        with pytest.raises(GRPCError, match="no value"):
            await get(kv_grpc.KVStub(channel), "id")


async def test_a_server_that_was_closed_is_dialled_no_more() -> None:
    async with mux() as plugin:
        service_id = plugin.broker.next_id()
        kv = plugin.dispense("kv")
        server = await plugin.broker.accept_and_serve(service_id, [Answering(b"first")])
        assert await get(kv, f"dial:{service_id}") == b"first"
        server.close()
        await server.wait_closed()
        call = asyncio.ensure_future(get(kv, f"dial:{service_id}"))
        await get(kv, "bytes:1")
        assert not call.done()
        await plugin.broker.accept_and_serve(service_id, [Answering(b"second")])
        assert await call == b"second"


async def test_the_same_id_is_dialled_again_after_its_channel_was_closed() -> None:
    async with mux() as plugin:
        service_id = int(await get(plugin.dispense("kv"), "accept"))
        for number in range(3):
            async with await plugin.broker.dial(service_id) as channel:
                kv = kv_grpc.KVStub(channel)
                if number:
                    assert await get(kv, "number") == b"%d" % (number - 1)
                await kv.Put(kv_pb2.PutRequest(key="number", value=b"%d" % number))


# Ends


async def test_a_plugin_killed_in_mid_dial() -> None:
    async with mux() as plugin:
        dial = asyncio.ensure_future(plugin.broker.dial(77, timeout=60))
        await get(plugin.dispense("kv"), "bytes:1")
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match=r"plugin\.py"):
            await dial
        with pytest.raises(BrokerError):
            await plugin.broker.dial(1)
        with pytest.raises(GRPCError, match="SIGKILL") as raised:
            await get(plugin.dispense("kv"), "bytes:1")
        assert raised.value.status is Status.UNAVAILABLE


@TLS
async def test_kill_ends_dials_and_sub_channels(auto_mtls: bool) -> None:
    async with timeout(LIMIT):
        plugin = client(auto_mtls=auto_mtls, grpc_broker_multiplex=True)
        await plugin.start()
        channel = await plugin.broker.dial(int(await get(plugin.dispense("kv"), "accept")))
        call = asyncio.ensure_future(get(kv_grpc.KVStub(channel), "sleep:60000"))
        # One knocks, the others wait for their turn.
        dials = [asyncio.ensure_future(plugin.broker.dial(n, timeout=60)) for n in (77, 78, 79)]
        await get(kv_grpc.KVStub(channel), "bytes:1")
        await plugin.kill()
        for dial in dials:
            with pytest.raises(BrokerError, match="closed"):
                await dial
        with pytest.raises(GRPCError) as raised:
            await call
        assert raised.value.status is Status.UNAVAILABLE


async def test_a_client_starts_again() -> None:
    async with timeout(LIMIT):
        plugin = client(script("raise SystemExit(3)"), grpc_broker_multiplex=True)
        with pytest.raises(Exception, match="3"):
            await plugin.start()
        await plugin.kill()


@TLS
@TCP
async def test_a_plugin_ends_with_its_host(auto_mtls: bool, tcp: bool) -> None:
    code = f"""
    import asyncio, sys
    sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "examples" / "kv")!r}]
    from tests.fixtures import client
    async def main():
        settings = dict(KV_TCP=1) if {tcp} else {{}}
        plugin = client(auto_mtls={auto_mtls}, grpc_broker_multiplex=True, **settings)
        await plugin.start()
        print(plugin._socket_folder, flush=True)
        await asyncio.Event().wait()
    asyncio.run(main())
    """
    # The plugin's end of this pipe is the last to be closed.
    ours, theirs = os.pipe()
    async with timeout(LIMIT):
        try:
            host = await asyncio.create_subprocess_exec(
                *script(textwrap.dedent(code)), stdout=asyncio.subprocess.PIPE, stderr=theirs
            )
        finally:
            os.close(theirs)
        assert host.stdout is not None
        folder = (await host.stdout.readline()).decode().strip()
        assert folder
        host.kill()
        await host.wait()
        await closed(ours)
    # The one thing that a host must have lived to remove.
    os.rmdir(folder)


async def closed(descriptor: int) -> None:
    """Returns when nobody can write to this pipe any more."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", 0)
    )
    await reader.read()
    transport.close()
    await asyncio.sleep(0)


# The switch


async def test_a_plugin_that_does_not_offer_it() -> None:
    code = "print('1|1|unix|/tmp/no-such-socket|grpc|', flush=True); input()"
    with pytest.raises(HandshakeError, match="does not offer the multiplexing"):
        await client(script(code), grpc_broker_multiplex=True).start()


@pytest.mark.parametrize("part", ["false", "0", "", "junk"])
async def test_a_plugin_that_says_no(part: str) -> None:
    code = f"print('1|1|unix|/tmp/no-such-socket|grpc||{part}', flush=True); input()"
    with pytest.raises(HandshakeError, match="does not offer the multiplexing"):
        await client(script(code), grpc_broker_multiplex=True).start()


def test_it_cannot_be_had_with_reattach() -> None:
    reattach = ReattachConfig(pid=1, addr="/s", network="unix", protocol_version=1)
    with pytest.raises(ValueError, match="grpc_broker_multiplex"):
        ClientConfig(
            handshake_config=HANDSHAKE, plugins={}, reattach=reattach, grpc_broker_multiplex=True
        )


@TCP
async def test_a_second_connection_is_refused(tcp: bool) -> None:
    async with mux(tcp=tcp) as plugin:
        reattach = plugin.reattach_config()
        assert reattach is not None
        with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as sock:
            address = Address(reattach.network, reattach.addr)
            with pytest.raises(OSError):
                sock.connect(address.host_and_port() if tcp else address.address)
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


async def test_a_host_without_it_does_not_hand_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    async with client() as plugin:
        assert await get(plugin.dispense("kv"), "env:PLUGIN_MULTIPLEX_GRPC") == b""


# go-plugin's server.go: any value has the seventh part written, and only what strconv.ParseBool
# takes for true makes a multiplexed connection.
@pytest.mark.parametrize(
    ("value", "part", "is_mux"),
    [
        ("true", True, True),
        ("1", True, True),
        ("T", True, True),
        ("false", True, False),
        ("0", True, False),
        ("junk", True, False),
        ("yes", True, False),
        ("", False, False),
    ],
)
async def test_what_the_host_may_say(value: str, part: bool, is_mux: bool) -> None:
    assert PluginEnvironment(multiplex=value or None).wants_multiplex is is_mux
    async with timeout(LIMIT):
        child = await asyncio.create_subprocess_exec(
            *PLUGIN,
            env={**os.environ, "BASIC_PLUGIN": "hello", "PLUGIN_MULTIPLEX_GRPC": value},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert child.stdout is not None
            raw = (await child.stdout.readline()).decode().rstrip("\n")
            assert raw.split("|")[6:] == (["true"] if part else [])
            line = parse_line(raw)
            assert line.multiplex_supported is part
            if is_mux:
                await speaks_yamux(line.address)
            else:
                await speaks_http2(Address(line.network, line.address))
                child.terminate()
        finally:
            if is_mux:
                # It ends by itself, as its one connection has.
                await asyncio.wait_for(child.wait(), 10)
            await child.communicate()
    assert child.returncode == 0


async def speaks_yamux(path: str) -> None:
    ping = bytes.fromhex("0002000100000000000000ff")
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(ping)
    assert await reader.readexactly(12) == bytes.fromhex("0002000200000000000000ff")
    writer.close()
    await writer.wait_closed()


async def speaks_http2(address: Address) -> None:
    tasks = TaskScope("test", logging.getLogger("tests"))
    channel = PluginChannel(address, tls=None, tasks=tasks)
    try:
        assert await get(kv_grpc.KVStub(channel), "bytes:1") == b"\0"
    finally:
        channel.close()
        await channel.wait_closed()
        await tasks.aclose()


async def test_the_host_ignores_an_offer_that_it_did_not_ask_for() -> None:
    async with client(env={"PLUGIN_MULTIPLEX_GRPC": "false"}) as plugin:
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"
        await there(plugin)
        await back(plugin)


async def test_a_peer_that_talks_no_yamux_gets_no_plugin() -> None:
    """The plugin takes one connection in its life, be it spoilt."""
    async with timeout(LIMIT):
        child = await asyncio.create_subprocess_exec(
            *PLUGIN,
            env={**os.environ, "BASIC_PLUGIN": "hello", "PLUGIN_MULTIPLEX_GRPC": "true"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        line = parse_line((await child.stdout.readline()).decode().rstrip("\n"))
        reader, writer = await asyncio.open_unix_connection(line.address)
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        # A go-away that tells of a protocol error.
        assert (await reader.read()).endswith(bytes.fromhex("000300000000000000000001"))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        _, err = await child.communicate()
        assert child.returncode == 0
        assert b"a multiplexed connection failed" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_plugin_that_is_ended_before_its_host_connects(number: signal.Signals) -> None:
    async with timeout(LIMIT):
        child = await asyncio.create_subprocess_exec(
            *PLUGIN,
            env={**os.environ, "BASIC_PLUGIN": "hello", "PLUGIN_MULTIPLEX_GRPC": "true"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert child.stdout is not None
        line = parse_line((await child.stdout.readline()).decode().rstrip("\n"))
        child.send_signal(number)
        _, err = await child.communicate()
        assert b"Traceback" not in err
        assert child.returncode == (0 if number == signal.SIGTERM else -number)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(line.address)
