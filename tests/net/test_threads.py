"""Servicer methods that block, each call in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import re
import threading
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import current_call
from pyplugin._compat import timeout
from pyplugin.testing import plugin_pair
from tests.fixtures.authors import AuthorPlugin, BlockingServicer, Request, Response
from tests.fixtures.logs import LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin import Client

# More than threads in asyncio's own pool, on any machine.
MANY = 40


@contextlib.asynccontextmanager
async def attached(servicer: Any) -> AsyncIterator[tuple[Any, Client]]:
    """A stub of a plugin that serves ``servicer`` in this process, and its client."""
    plugins = {"kv": AuthorPlugin(servicer)}
    try:
        async with timeout(LIMIT), plugin_pair(plugins, tls=False) as client:
            yield client.dispense("kv"), client
    finally:
        if isinstance(servicer, BlockingServicer):
            servicer.release.set()
        await asyncio.to_thread(_join_threads)
    assert _threads() == []


def _threads() -> list[threading.Thread]:
    """The threads of calls."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("pyplugin:")]


def _join_threads() -> None:
    for thread in _threads():
        thread.join(LIMIT)


async def noticed(servicer: BlockingServicer) -> None:
    assert await asyncio.to_thread(servicer.noticed.wait, LIMIT)


async def test_every_kind_of_method() -> None:
    servicer = BlockingServicer()
    requests = [Request(key=key) for key in ("a", "b", "c")]
    async with attached(servicer) as (stub, _):
        assert (await stub.Unary(Request(key="one"))).value == b"one"
        assert [reply.value for reply in await stub.Many(Request(key=":3"))] == [b"0", b"1", b"2"]
        assert await stub.Many(Request(key=":0")) == []
        assert (await stub.Join(requests)).value == b"a,b,c"
        assert [reply.value for reply in await stub.Echo(requests)] == [b"a", b"b", b"c"]
        assert await stub.Echo([]) == []
    assert servicer.seen[0] is not threading.main_thread()
    assert servicer.seen[0].daemon


async def test_answers_come_while_requests_go() -> None:
    async with attached(BlockingServicer()) as (stub, _), stub.Echo.open() as stream:
        for key in ("a", "b", "c"):
            await stream.send_message(Request(key=key))
            assert (await stream.recv_message()).value == key.encode()
        await stream.end()
        assert await stream.recv_message() is None


async def test_a_method_sees_the_metadata_and_the_deadline_of_its_call() -> None:
    def name() -> Any:
        metadata = current_call().metadata
        assert metadata is not None
        return Response(value=str(metadata["name"]).encode())

    class Servicer(BlockingServicer):
        def Unary(self, request: Any) -> Any:
            deadline = current_call().deadline
            assert deadline is not None
            self.seen.append(deadline.time_remaining())
            return name()

        def Many(self, request: Any) -> Any:
            for _ in range(2):
                yield name()

    servicer = Servicer()
    async with attached(servicer) as (stub, _):
        names = [f"call {number}" for number in range(20)]
        calls = [stub.Unary(Request(), metadata={"name": name}, timeout=LIMIT) for name in names]
        values = [reply.value.decode() for reply in await asyncio.gather(*calls)]
        assert values == names
        assert all(0 < seconds <= LIMIT for seconds in servicer.seen)
        many = await stub.Many(Request(), metadata={"name": "many"})
        assert [reply.value for reply in many] == [b"many", b"many"]
    with pytest.raises(LookupError, match="no servicer method runs in this thread"):
        current_call()


async def test_blocked_methods_hold_nobody_up() -> None:
    servicer = BlockingServicer()
    async with attached(servicer) as (stub, client):
        blocked = [asyncio.create_task(stub.Unary(Request(key="block"))) for _ in range(MANY)]
        for _ in blocked:
            assert await asyncio.to_thread(servicer.blocked.acquire, timeout=LIMIT)
        await client.ping()
        assert (await stub.Unary(Request(key="one more"))).value == b"one more"
        assert (await stub.Get(Request(key="x"))).value == str(os.getpid()).encode()
        servicer.release.set()
        assert [reply.value for reply in await asyncio.gather(*blocked)] == [b"block"] * MANY


async def test_the_end_of_the_serving_does_not_wait_for_them() -> None:
    servicer = BlockingServicer()
    async with attached(servicer) as (stub, _):
        blocked = asyncio.create_task(stub.Unary(Request(key="block")))
        assert await asyncio.to_thread(servicer.blocked.acquire, timeout=LIMIT)
    with pytest.raises(GRPCError):
        await blocked


@pytest.mark.parametrize(
    ("key", "status", "message"),
    [
        ("status", Status.ALREADY_EXISTS, "^there is one$"),
        ("raise:ValueError", Status.UNKNOWN, "^ValueError: no good$"),
        ("raise:StopIteration", Status.UNKNOWN, "StopIteration"),
        ("coroutine", Status.UNKNOWN, "async def"),
        ("nothing", Status.UNKNOWN, "TypeError"),
    ],
)
async def test_what_a_method_raises(
    key: str, status: Status, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with attached(BlockingServicer()) as (stub, client):
        with pytest.raises(GRPCError) as raised:
            await stub.Unary(Request(key=key))
        await client.ping()
    assert raised.value.status is status
    assert re.search(message, raised.value.message or "")
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == (status is Status.UNKNOWN)


async def test_a_stream_that_ends_with_a_status() -> None:
    async with attached(BlockingServicer()) as (stub, _):
        with pytest.raises(GRPCError, match="no more"):
            async with stub.Many.open() as stream:
                await stream.send_message(Request(key="raise:2"), end=True)
                replies = [reply.value async for reply in stream]
    assert replies == [b"0", b"1"]


@pytest.mark.parametrize("is_waiting", [True, False])
async def test_a_call_that_is_cancelled(is_waiting: bool, caplog: pytest.LogCaptureFixture) -> None:
    servicer = BlockingServicer()
    async with attached(servicer) as (stub, client):
        if is_waiting:
            # For a request.
            async with stub.Echo.open() as stream:
                await stream.send_message(Request(key="a"))
                await stream.recv_message()
                await stream.cancel()
            await noticed(servicer)
            assert isinstance(servicer.seen[-1], GRPCError)
            assert servicer.seen[-1].status is Status.CANCELLED
        else:
            # Its answers have no end, so that it meets the window of flow control.
            async with stub.Many.open() as stream:
                await stream.send_message(Request(key=":1000000000"), end=True)
                await stream.recv_message()
                await stream.cancel()
            await noticed(servicer)
            assert isinstance(servicer.seen[-1], GRPCError | GeneratorExit)
        await client.ping()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_method_that_fails_when_nobody_waits_for_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(BlockingServicer):
        def Unary(self, request: Any) -> Any:
            super().Unary(Request(key="block"))
            raise ValueError("too late")

    servicer = Failing()
    async with attached(servicer) as (stub, client):
        with pytest.raises(asyncio.TimeoutError):
            async with timeout(LIMIT):
                call = asyncio.create_task(stub.Unary(Request(key="x"), timeout=0.2))
                await call
        servicer.release.set()
        await asyncio.to_thread(_join_threads)
        await client.ping()
    assert "a handler raised after its call had ended" in caplog.messages


def logged(method: Any) -> Any:
    @functools.wraps(method)
    def call(*arguments: Any) -> Any:
        return method(*arguments)

    return call


async def test_a_decorated_coroutine_function_is_one() -> None:
    class KV(kv_grpc.KVBase):
        @logged
        async def Get(self, stream: Any) -> None:
            request = await stream.recv_message()
            await stream.send_message(Response(value=request.key.encode()))

        async def Put(self, stream: Any) -> None:
            raise NotImplementedError

    class Both(AuthorPlugin):
        def servicers(self, broker: Any) -> list[Any]:
            return [KV()]

    async with plugin_pair({"kv": Both()}, tls=False) as client:
        reply = await client.dispense("kv").Get(kv_pb2.GetRequest(key="x"))
        assert reply.value == b"x"
