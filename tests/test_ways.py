"""Knocks, against peers that are played here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin.errors import BrokerError, BrokerTimeout
from pyplugin.net.grpc.connection import configured
from pyplugin.net.tasks import TaskScope
from pyplugin.ways import Knocks, Means, knock
from tests.net.test_mux import Recorder, joined

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin._generated.grpc_broker_pb2 import ConnInfo
    from pyplugin.net.grpc.channel import PluginChannel
    from pyplugin.net.mux import MuxConnection, MuxStream

LOGGER = logging.getLogger("tests.ways")


class Peer:
    """Whom a host knocks at, and who knows which id each stream was taken for.

    Args:
        connection: Its end.
        keeps_order: As Go's, which has each stream be the oldest knock's; else the newest's.
    """

    def __init__(self, connection: MuxConnection, *, keeps_order: bool) -> None:
        connection.on_stream = self._take
        self.knocks: asyncio.Queue[int] = asyncio.Queue()
        self.routed: dict[int, int | None] = {}
        self._keeps_order = keeps_order
        self._expected: deque[int] = deque()
        self._changed = asyncio.Event()

    async def send(self, info: ConnInfo) -> None:
        """What the host sends to it."""
        self.knocks.put_nowait(info.service_id)

    async def answer(self, way: Knocks, *, error: str = "") -> int:
        """Answers the next knock."""
        service_id = await self.knocks.get()
        if not error:
            if not self._keeps_order:
                self._expected.clear()
            self._expected.append(service_id)
        way.receive(knock(service_id, ack=True, error=error))
        return service_id

    async def route(self, channel: PluginChannel) -> int | None:
        """For which id it took the stream of ``channel``."""
        assert channel.live is not None
        number: int = channel.live.transport._number  # type: ignore[attr-defined]
        await self.until_routed(number)
        return self.routed[number]

    async def until_routed(self, number: int) -> None:
        """Returns when the stream of this number has come."""
        while number not in self.routed:
            self._changed.clear()
            await self._changed.wait()

    def _take(self, stream: MuxStream) -> None:
        self.routed[stream._number] = self._expected.popleft() if self._expected else None
        stream.start(Recorder())
        self._changed.set()


@contextlib.asynccontextmanager
async def knocking(*, keeps_order: bool = True) -> AsyncIterator[tuple[Knocks, Peer]]:
    tasks = TaskScope("test", LOGGER)
    async with joined() as (host, plugin):
        peer = Peer(plugin.connection, keeps_order=keeps_order)
        means = Means(peer.send, None, tasks, None, LOGGER, configured(None))
        try:
            yield Knocks(means, host.connection), peer
        finally:
            await tasks.aclose()


@contextlib.asynccontextmanager
async def dialling(way: Knocks, service_id: int) -> AsyncIterator[asyncio.Task[Any]]:
    dial = asyncio.ensure_future(way.dial(service_id, 5))
    try:
        yield dial
    finally:
        dial.cancel()
        with contextlib.suppress(asyncio.CancelledError, BrokerError):
            (await dial).close()


PEERS = pytest.mark.parametrize("keeps_order", [True, False], ids=["go", "python"])


@PEERS
async def test_a_dial_reaches_its_id(keeps_order: bool) -> None:
    async with knocking(keeps_order=keeps_order) as (way, peer):
        for service_id in (3, 1, 3):
            async with dialling(way, service_id) as dial:
                assert await peer.answer(way) == service_id
                assert await peer.route(await dial) == service_id


async def test_one_knock_at_a_time() -> None:
    async with (
        knocking() as (way, peer),
        dialling(way, 1) as first,
        dialling(way, 2) as second,
    ):
        assert await peer.answer(way) == 1
        assert await peer.route(await first) == 1
        assert await peer.answer(way) == 2
        assert await peer.route(await second) == 2


async def test_a_knock_that_is_refused() -> None:
    async with knocking() as (way, peer), dialling(way, 1) as dial:
        await peer.answer(way, error="no listener")
        with pytest.raises(BrokerError, match="refused broker id 1: no listener"):
            await dial
        async with dialling(way, 2) as other:
            await peer.answer(way)
            assert await peer.route(await other) == 2


@PEERS
@pytest.mark.parametrize("again", [1, 2], ids=["the same", "another"])
async def test_a_dial_cancelled_between_knock_and_answer(keeps_order: bool, again: int) -> None:
    async with knocking(keeps_order=keeps_order) as (way, peer):
        async with dialling(way, 1):
            while peer.knocks.empty():  # noqa: ASYNC110 -- it is answered later
                await asyncio.sleep(0)
        async with dialling(way, again) as dial:
            for _ in range(10):
                await asyncio.sleep(0)
            assert await peer.answer(way) == 1
            # Sent before the next knock, so it comes before that.
            await peer.until_routed(1)
            assert await peer.answer(way) == again
            assert await peer.route(await dial) == again
            assert peer.routed[1] == 1


@PEERS
async def test_an_answer_that_comes_too_late_leaves_no_stream_expected(keeps_order: bool) -> None:
    async with knocking(keeps_order=keeps_order) as (way, peer):
        with pytest.raises(BrokerTimeout):
            await way.dial(1, 0.01)
        await peer.answer(way)
        while peer._expected:  # noqa: ASYNC110 -- nothing tells
            await asyncio.sleep(0)
        assert list(peer.routed.values()) == [1]
