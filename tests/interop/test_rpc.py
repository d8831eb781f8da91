"""Calls of all kinds, thousands of them and with everything that HTTP/2 has, to and from Go's gRPC.

The short form runs with the tests, the long one with SOAK=1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from grpclib.client import StreamStreamMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from pyplugin._compat import timeout
from pyplugin.environment import PluginEnvironment
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.grpc.server import PluginServer
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address, open_listener

from .peers import MARKS, PEER_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    import grpclib.client
    import grpclib.server

    from .peers import Peers

    ClientStream = grpclib.client.Stream[BytesValue, BytesValue]
    ServerStream = grpclib.server.Stream[BytesValue, BytesValue]

IS_LONG = bool(os.environ.get("SOAK"))
CALLS = 100_000 if IS_LONG else 2000
LIMIT = 1200.0 if IS_LONG else PEER_TIMEOUT

pytestmark = [*MARKS[:1], pytest.mark.timeout(2 * LIMIT, func_only=True)]

LOGGER = logging.getLogger("tests.rpc")
# More than the windows of both sides hold.
PIECE, PIECES = 256 * 1024, 64


def numbered(number: int, size: int) -> bytes:
    """A value that is like no other."""
    return str(number).encode()[:size].ljust(size, b"\0")


# Go serves


@contextlib.asynccontextmanager
async def served(
    peers: Peers, folder: Path
) -> AsyncIterator[tuple[PluginChannel, asyncio.subprocess.Process]]:
    """A channel to Go's server."""
    socket = str(folder / "s")
    process = await asyncio.create_subprocess_exec(
        *(peers.rpc_peer, "serve", socket),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    tasks = TaskScope("test", LOGGER)
    channel = PluginChannel(Address("unix", socket), tls=None, tasks=tasks)
    try:
        async with timeout(LIMIT):
            assert process.stdout is not None
            assert await process.stdout.readline() == b"serving\n"
            yield channel, process
    finally:
        channel.close()
        await channel.wait_closed()
        await tasks.aclose()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
        await process.communicate()


def opened(channel: PluginChannel, name: str, **options: Any) -> ClientStream:
    method = StreamStreamMethod(channel, f"/peer.Peer/{name}", BytesValue, BytesValue)
    return method.open(**options)


async def do(channel: PluginChannel, name: str, *values: bytes, **options: Any) -> list[bytes]:
    """Sends all of the values, and gives all answers."""
    async with opened(channel, name, **options) as stream:
        await stream.send_request()
        for value in values:
            await stream.send_message(BytesValue(value=value))
        await stream.end()
        return [message.value async for message in stream]


async def many_calls(channel: PluginChannel, count: int) -> None:
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            value = numbered(number, 10 + number % 500)
            assert await do(channel, "Echo", value) == [value]

    await asyncio.gather(*(work() for _ in range(64)))


async def test_streams_of_all_kinds(peers: Peers, tmp_path: Path) -> None:
    async def use(number: int) -> None:
        value = numbered(number, 1000)
        assert await do(channel, "Echo", value) == [value]
        values = [numbered(0, 10), b"", numbered(2, 70_000)]
        assert await do(channel, "Sum", *values) == [b"3:70010"]
        assert await do(channel, "Count", b"3:40000") == [numbered(n, 40_000) for n in range(3)]
        assert await do(channel, "Chat", *values) == values

    async with served(peers, tmp_path) as (channel, _):
        await asyncio.gather(*(use(number) for number in range(20)))


async def test_thousands_of_calls(peers: Peers, tmp_path: Path) -> None:
    async with served(peers, tmp_path) as (channel, _):
        await many_calls(channel, CALLS)


async def test_calls_that_are_cancelled_and_that_fail(peers: Peers, tmp_path: Path) -> None:
    async def hang() -> None:
        async with opened(channel, "Hang") as stream:
            await stream.send_request()
            message = await stream.recv_message()
            assert message is not None
            assert message.value == b"hanging"
            hanging.release()
            await stream.recv_message()

    hanging = asyncio.Semaphore(0)
    async with served(peers, tmp_path) as (channel, _):
        calls = [asyncio.ensure_future(hang()) for _ in range(50)]
        for _ in calls:
            await hanging.acquire()
        for call in calls:
            call.cancel()
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {asyncio.CancelledError}
        assert await do(channel, "Ends") == [b"50"]
        got = []
        with pytest.raises(GRPCError) as raised:
            async with opened(channel, "Fail") as stream:
                await stream.send_message(BytesValue(), end=True)
                while (message := await stream.recv_message()) is not None:
                    got.append(message.value)
        assert got == [b"one"]
        assert raised.value.status is Status.FAILED_PRECONDITION
        assert raised.value.message == "100 % größer\n"


async def test_deadlines(peers: Peers, tmp_path: Path) -> None:
    async with served(peers, tmp_path) as (channel, _):
        assert await do(channel, "Deadline") == [b"none"]
        (left,) = await do(channel, "Deadline", timeout=3600)
        assert 3_500_000 < int(left) <= 3_600_000
        for _ in range(10):  # now this side's clock is the first, now Go's
            with pytest.raises(asyncio.TimeoutError):
                await do(channel, "Hang", timeout=0.02)
        await do(channel, "Ends")


async def test_metadata_of_every_kind(peers: Peers, tmp_path: Path) -> None:
    metadata: list[tuple[str, Any]] = [
        ("x-text", "plain ~ text, with, commas"),
        ("x-repeated", "one"),
        ("x-repeated", "two"),
        ("x-repeated", "one"),
        ("x-some-bin", b"\0\xff\n\x80"),
        ("x-some-bin", b""),
        ("x-long", "long " * 12_000),
    ]
    async with served(peers, tmp_path) as (channel, _):
        async with opened(channel, "Echo", metadata=metadata) as stream:
            await stream.send_message(BytesValue(), end=True)
            await stream.recv_message()
            await stream.recv_trailing_metadata()
        for back in (stream.initial_metadata, stream.trailing_metadata):
            assert back is not None
            assert sorted(back.items()) == sorted(metadata)
            assert back.getall("x-repeated") == ["one", "two", "one"]
        with pytest.raises(ValueError, match="größer"):
            await do(channel, "Echo", b"", metadata={"x-text": "größer"})
        assert await do(channel, "Echo", b"v") == [b"v"]


async def test_messages_of_5_mib_both_ways(peers: Peers, tmp_path: Path) -> None:
    value = b"0123456789abcdef" * (5 * 65536)
    async with served(peers, tmp_path) as (channel, _):
        got = await asyncio.gather(*(do(channel, "Echo", value) for _ in range(4)))
    assert got == [[value]] * 4


async def test_a_stream_that_is_read_late_holds_up_no_call(peers: Peers, tmp_path: Path) -> None:
    async with served(peers, tmp_path) as (channel, _), opened(channel, "Count") as stream:
        await stream.send_message(BytesValue(value=b"%d:%d" % (PIECES, PIECE)), end=True)
        await many_calls(channel, 500)
        number = 0
        async for message in stream:
            assert message.value == numbered(number, PIECE)
            number += 1
        assert number == PIECES


async def test_a_peer_that_reads_late_holds_up_no_call(peers: Peers, tmp_path: Path) -> None:
    pieces = [numbered(number, PIECE) for number in range(PIECES)]
    async with served(peers, tmp_path) as (channel, _):
        late = asyncio.ensure_future(do(channel, "Slow", *pieces))
        await many_calls(channel, 500)
        assert not late.done()
        await do(channel, "Release", b"")
        assert await late == [b"%d:%d" % (PIECES, PIECES * PIECE)]


async def chatting(
    channel: PluginChannel, stack: contextlib.AsyncExitStack, count: int
) -> list[Any]:
    """Streams that are open at the same time, once each has had a message back."""
    streams = [await stack.enter_async_context(opened(channel, "Chat")) for _ in range(count)]
    await chat(streams, 0)
    return streams


async def chat(streams: Sequence[Any], turn: int) -> None:
    for number, stream in enumerate(streams):
        await stream.send_message(BytesValue(value=numbered(number, 100 + turn)))
    for number, stream in enumerate(streams):
        assert (await stream.recv_message()).value == numbered(number, 100 + turn)


async def test_300_streams_at_once(peers: Peers, tmp_path: Path) -> None:
    async with served(peers, tmp_path) as (channel, _), contextlib.AsyncExitStack() as stack:
        streams = await chatting(channel, stack, 300)
        await chat(streams, 1)
        for stream in streams:
            await stream.end()
            assert await stream.recv_message() is None


async def test_a_server_that_goes_away_ends_what_it_has_begun(peers: Peers, tmp_path: Path) -> None:
    async with served(peers, tmp_path) as (channel, process), contextlib.AsyncExitStack() as stack:
        streams = await chatting(channel, stack, 20)
        await do(channel, "Stop", b"")
        await chat(streams, 1)
        with pytest.raises(GRPCError) as raised:
            # GOAWAY may be on its way yet; it has come before long.
            await many_calls(channel, CALLS)
        assert raised.value.status is Status.UNAVAILABLE
        await chat(streams, 2)
        for stream in streams:
            await stream.end()
            assert await stream.recv_message() is None
        assert await process.wait() == 0


# Go calls


class Servicer:
    """What Go's server has, see ``server.go``, and a call that it drops."""

    def __init__(self) -> None:
        self.begun = self.ended = 0
        self.changed = asyncio.Condition()
        self.release = asyncio.Event()

    async def echo(self, stream: ServerStream) -> None:
        message = await stream.recv_message()
        assert message is not None
        assert stream.metadata is not None
        back = [pair for pair in stream.metadata.items() if pair[0].startswith("x-")]
        await stream.send_initial_metadata(metadata=back)
        await stream.send_message(message)
        await stream.send_trailing_metadata(metadata=back)

    async def sum(self, stream: ServerStream) -> None:
        sizes = [len(message.value) async for message in stream]
        await stream.send_message(BytesValue(value=b"%d:%d" % (len(sizes), sum(sizes))))

    async def count(self, stream: ServerStream) -> None:
        message = await stream.recv_message()
        assert message is not None
        messages, size = map(int, message.value.split(b":"))
        for number in range(messages):
            await stream.send_message(BytesValue(value=numbered(number, size)))

    async def chat(self, stream: ServerStream) -> None:
        async for message in stream:
            await stream.send_message(message)

    async def slow(self, stream: ServerStream) -> None:
        await self.release.wait()
        await self.sum(stream)

    async def release_it(self, stream: ServerStream) -> None:
        self.release.set()
        await stream.send_message(BytesValue())

    async def hang(self, stream: ServerStream) -> None:
        self.begun += 1
        try:
            await stream.send_message(BytesValue(value=b"hanging"))
            await asyncio.get_running_loop().create_future()
        finally:
            async with self.changed:
                self.ended += 1
                self.changed.notify_all()

    async def ends(self, stream: ServerStream) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.ended == self.begun)
        await stream.send_message(BytesValue(value=b"%d" % self.ended))

    async def deadline(self, stream: ServerStream) -> None:
        left = b"none"
        if stream.deadline is not None:
            left = b"%d" % (stream.deadline.time_remaining() * 1000)
        await stream.send_message(BytesValue(value=left))

    async def fail(self, stream: ServerStream) -> None:
        await stream.send_message(BytesValue(value=b"one"))
        raise GRPCError(Status.FAILED_PRECONDITION, "100 % größer\n")

    async def drop(self, stream: ServerStream) -> None:
        await stream.send_message(BytesValue(value=b"one"))
        await stream.cancel()

    def __mapping__(self) -> dict[str, Handler]:
        methods = {
            "Echo": self.echo,
            "Sum": self.sum,
            "Count": self.count,
            "Chat": self.chat,
            "Slow": self.slow,
            "Release": self.release_it,
            "Hang": self.hang,
            "Ends": self.ends,
            "Deadline": self.deadline,
            "Fail": self.fail,
            "Drop": self.drop,
        }
        return {
            f"/peer.Peer/{name}": Handler(method, Cardinality.STREAM_STREAM, BytesValue, BytesValue)
            for name, method in methods.items()
        }


@pytest.mark.parametrize(
    "scenario",
    [
        *("streams", "calls", "cancel", "deadline", "metadata"),
        *("large", "unread", "unwritten", "many"),
    ],
)
async def test_gos_client(peers: Peers, scenario: str) -> None:
    listener = open_listener(PluginEnvironment())
    server = PluginServer([Servicer()], logger=LOGGER)
    await server.serve_on(listener, tls=None)
    try:
        process = await asyncio.create_subprocess_exec(
            *(peers.rpc_peer, "call", listener.address.address, scenario, str(CALLS)),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with timeout(LIMIT):
                _, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.communicate()
        assert (process.returncode, err.decode()) == (0, "")
    finally:
        server.close()
        await server.wait_closed()
