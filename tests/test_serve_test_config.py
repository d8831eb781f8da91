"""Plugins served inside the test's own process, by ``ServeTestConfig``."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.exceptions import GRPCError

from pyplugin import (
    Client,
    ClientConfig,
    GRPCBroker,
    HandshakeConfig,
    Plugin,
    ServeConfig,
    ServeTestConfig,
    serve_async,
)
from pyplugin._compat import timeout
from tests.fixtures.authors import BlockingServicer, BlockingStub
from tests.fixtures.logs import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpclib.client import Channel
    from grpclib.server import Stream

HANDSHAKE = HandshakeConfig(3, "NO_SUCH_COOKIE", "which nobody set")


class KVServicer(kv_grpc.KVBase):
    """Answers with the key; ``dial:ID`` asks the host, ``accept`` serves it."""

    def __init__(self, broker: GRPCBroker | None = None) -> None:
        self.broker = broker

    async def Get(self, stream: Stream[Any, Any]) -> None:
        request = await stream.recv_message()
        assert request is not None
        what, _, argument = request.key.partition(":")
        value = request.key.encode()
        if what == "dial":
            assert self.broker is not None
            async with await self.broker.dial(int(argument)) as channel:
                asked = kv_pb2.GetRequest(key="from the plugin")
                value = (await kv_grpc.KVStub(channel).Get(asked)).value
        elif what == "accept":
            assert self.broker is not None
            service_id = self.broker.next_id()
            await self.broker.accept_and_serve(service_id, [KVServicer()])
            value = str(service_id).encode()
        elif what == "wait":
            await asyncio.get_running_loop().create_future()
        elif what == "print":
            print(argument)
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[Any, Any]) -> None:
        raise NotImplementedError


class KVPlugin(Plugin):
    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [KVServicer(broker)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> kv_grpc.KVStub:
        return kv_grpc.KVStub(channel)


class BlockingPlugin(Plugin):
    """Another service, for a set of two."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [BlockingServicer()]

    def stub(self, broker: GRPCBroker, channel: Channel) -> BlockingStub:
        return BlockingStub(channel)


def serve_config(test: ServeTestConfig, **settings: Any) -> ServeConfig:
    plugins = settings.pop("plugins", {"kv": KVPlugin()})
    return ServeConfig(handshake_config=HANDSHAKE, plugins=plugins, test=test, **settings)


@contextlib.asynccontextmanager
async def served(test: ServeTestConfig, **settings: Any) -> AsyncIterator[asyncio.Task[None]]:
    """Serves until the end of the block, at least."""
    serving = asyncio.create_task(serve_async(serve_config(test, **settings)))
    try:
        async with timeout(LIMIT):
            yield serving
            test.stop.set()
            await serving
    finally:
        serving.cancel()
        await asyncio.wait([serving])


async def attach(test: ServeTestConfig, **settings: Any) -> Client:
    return Client(
        ClientConfig(
            handshake_config=HANDSHAKE,
            plugins=settings.pop("plugins", {"kv": KVPlugin()}),
            reattach=await test.reattach_config(),
            **settings,
        )
    )


async def ask(client: Client, key: str) -> str:
    reply = await client.dispense("kv").Get(kv_pb2.GetRequest(key=key))
    return str(reply.value, "utf-8")


@pytest.mark.parametrize("is_tcp", [False, True])
async def test_a_client_attaches_to_a_plugin_in_its_own_process(is_tcp: bool) -> None:
    test = ServeTestConfig()
    async with served(test, force_tcp=is_tcp) as serving:
        reattach = await test.reattach_config()
        assert (reattach.pid, reattach.test, reattach.protocol_version) == (os.getpid(), True, 3)
        assert reattach.network == ("tcp" if is_tcp else "unix")
        async with await attach(test) as client:
            assert await ask(client, "x") == "x"
            assert (client.negotiated_version, client.pid) == (3, os.getpid())
        # The client's kill() left both the process and the serving alone.
        assert not serving.done()
        async with await attach(test) as client:
            await client.ping()
    assert not Path(reattach.addr).exists()


async def test_a_process_serves_a_set_of_plugins() -> None:
    test, plugins = ServeTestConfig(), {"kv": KVPlugin(), "blocking": BlockingPlugin()}
    async with served(test, plugins=plugins), await attach(test, plugins=plugins) as client:
        assert await ask(client, "x") == "x"
        stub: Any = client.dispense("blocking")
        assert (await stub.Unary(kv_pb2.GetRequest(key="y"))).value == b"y"
        with pytest.raises(KeyError, match="other"):
            client.dispense("other")


async def test_the_broker_works_both_ways() -> None:
    test = ServeTestConfig()
    async with served(test), await attach(test) as client:
        service_id = client.broker.next_id()
        await client.broker.accept_and_serve(service_id, [KVServicer()])
        assert await ask(client, f"dial:{service_id}") == "from the plugin"
        theirs = int(await ask(client, "accept"))
        async with await client.broker.dial(theirs) as channel:
            reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="to the plugin"))
        assert reply.value == b"to the plugin"


async def test_cancelling_the_task_ends_the_serving() -> None:
    test = ServeTestConfig()
    serving = asyncio.create_task(serve_async(serve_config(test)))
    async with await attach(test) as client:
        waiting = asyncio.create_task(ask(client, "wait"))
        await client.ping()
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        with pytest.raises(GRPCError):
            await waiting


async def test_cancelled_twice_it_still_cleans_up() -> None:
    test = ServeTestConfig(sync_stdio=True)
    serving = asyncio.create_task(serve_async(serve_config(test)))
    reattach = await test.reattach_config()
    serving.cancel()
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()
    assert not Path(reattach.addr).exists()


async def test_the_stop_event_ends_calls_in_flight() -> None:
    test, calls = ServeTestConfig(), []

    async def on_shutdown() -> None:
        calls.append(waiting.done())

    async with served(test, on_shutdown=on_shutdown), await attach(test) as client:
        waiting = asyncio.create_task(ask(client, "wait"))
        await client.ping()
        test.stop.set()
        with pytest.raises(GRPCError):
            await waiting
    # Before they were cancelled.
    assert calls == [False]


async def test_two_in_one_process() -> None:
    one, two = ServeTestConfig(), ServeTestConfig()
    async with served(one), served(two), await attach(one) as first, await attach(two) as second:
        assert list(await asyncio.gather(ask(first, "1"), ask(second, "2"))) == ["1", "2"]
        await first.kill()
        assert await ask(second, "3") == "3"


class Sink(io.BytesIO):
    def __init__(self) -> None:
        super().__init__()
        self.loop, self.is_written = asyncio.get_running_loop(), asyncio.Event()

    def write(self, data: Any, /) -> int:
        self.loop.call_soon_threadsafe(self.is_written.set)
        return super().write(data)


async def test_what_the_process_prints_goes_to_the_host_if_so_wished(
    capfd: pytest.CaptureFixture[str],
) -> None:
    test = ServeTestConfig(sync_stdio=True)
    with capfd.disabled():
        sink = Sink()
        async with served(test), await attach(test, sync_stdout=sink):
            os.write(1, b"of a test\n")
            await sink.is_written.wait()
        assert sink.getvalue() == b"of a test\n"


async def test_else_it_goes_where_it_always_went(capfd: pytest.CaptureFixture[str]) -> None:
    test, sink = ServeTestConfig(), io.BytesIO()
    async with served(test), await attach(test, sync_stdout=sink) as client:
        os.write(1, b"of a test\n")
        await ask(client, "x")
    assert sink.getvalue() == b""
    assert capfd.readouterr().out == "of a test\n"


async def test_signals_and_the_environment_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, temporary_folder: Path
) -> None:
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "of another host")
    monkeypatch.setenv("PLUGIN_UNIX_SOCKET_DIR", "/no/such/folder")
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    test = ServeTestConfig()
    async with served(test), await attach(test) as client:
        assert await ask(client, "x") == "x"
        assert Path((await test.reattach_config()).addr).parent == temporary_folder
        during = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert during == before


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"plugins": {"kv": object()}}, TypeError),
        ({"tls_provider": lambda: [][0]}, LookupError),
    ],
)
async def test_who_waits_for_a_plugin_that_is_not_served_is_told(
    settings: Any, error: type[Exception]
) -> None:
    test = ServeTestConfig()
    waiting = asyncio.create_task(test.reattach_config())
    with pytest.raises(error):
        await serve_async(serve_config(test, **settings))
    async with timeout(LIMIT):
        with pytest.raises(RuntimeError, match="the plugin is not served") as raised:
            await waiting
    assert isinstance(raised.value.__cause__, error)
