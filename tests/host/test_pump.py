"""The log pump: order, completeness, backpressure, fairness."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import random
import threading
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest

from tests.fixtures import client
from tests.fixtures.logs import (
    LIMIT,
    PIPE_BYTES,
    QUEUE_BYTES,
    Keep,
    KeepLines,
    Pipe,
    joined,
    new_logger,
    numbered,
    pipe,
    write_until_stuck,
)

if TYPE_CHECKING:
    from pyplugin import Client, LogBatch


# Order and completeness


def is_read_by_the_loop(stderr: Pipe) -> bool:
    """Whether the loop reads it, as is best while little comes; otherwise the thread does."""
    return stderr.reader._is_watched


@pytest.mark.parametrize("outlet", ["logger", "sink"])
async def test_bursts_and_single_lines_keep_their_order(outlet: str) -> None:
    """A burst goes to the thread; what is quiet for a while goes back to the loop."""
    keep, sink = Keep(), KeepLines()
    settings: dict[str, Any] = {"sink": sink} if outlet == "sink" else {}
    written: list[bytes] = []

    async def log(stderr: Pipe, count: int) -> None:
        lines = [b"%d%s" % (len(written) + n, b"." * (n % 90)) for n in range(count)]
        written.extend(lines)
        await stderr.write(joined(lines))
        await (sink if outlet == "sink" else keep.records).count(len(written))

    async with pipe(new_logger(keep), **settings) as stderr:
        for burst in (100, 2_000, 20_000):
            assert is_read_by_the_loop(stderr)
            await log(stderr, 1)
            await log(stderr, burst)
            while not is_read_by_the_loop(stderr):
                await log(stderr, 1)
    lines = sink.items if outlet == "sink" else [text.encode() for text in keep.messages]
    assert lines == written


@pytest.mark.parametrize("outlet", ["logger", "sink", "copy"])
@pytest.mark.parametrize("seed", range(2))
async def test_lines_keep_their_order_whatever_their_rhythm(seed: int, outlet: str) -> None:
    """A writer that waits for nobody, in pieces that end anywhere."""
    keep, sink, copy = Keep(), KeepLines(), io.BytesIO()
    settings: dict[str, dict[str, Any]] = {"sink": {"sink": sink}, "copy": {"copy": copy}}
    lines = numbered(20_000)
    data, chooser = joined(lines), random.Random(seed)

    def write(descriptor: int) -> None:
        start = 0
        while start < len(data):
            size = chooser.choice([1, 50, 100, 100, 101, 5_000, 100_000, 300_000])
            os.write(descriptor, data[start : start + size])
            start += size

    async with pipe(new_logger(keep), **settings.get(outlet, {})) as stderr:
        await asyncio.to_thread(write, stderr.descriptor)
    if outlet == "copy":
        assert copy.getvalue() == data
    else:
        received = sink.items or [text.encode() for text in keep.messages]
        assert received == lines


# Backpressure


@pytest.mark.parametrize("outlet", ["logger", "sink", "copy"])
async def test_a_plugin_waits_for_whoever_takes_its_lines(outlet: str) -> None:
    """It can write what the pipe and the queue hold, and what is on its way between them."""
    lines = numbered(40_000)
    data = joined(lines)
    gone_on = threading.Event()
    received: list[bytes] = []

    def take(data: bytes) -> None:
        assert gone_on.wait(LIMIT)
        received.append(data)

    class Copy(io.BytesIO):
        def write(self, data: Any) -> int:
            take(data)
            return len(data)

    def sink(batch: LogBatch) -> None:
        take(joined(entry.line for entry in batch))

    settings: dict[str, dict[str, Any]] = {"sink": {"sink": sink}, "copy": {"copy": Copy()}}
    keep = Keep(lambda record: take(record.getMessage().encode() + b"\n"))
    logger = new_logger(keep, level=logging.CRITICAL if outlet == "copy" else logging.DEBUG)
    async with pipe(logger, **settings.get(outlet, {})) as stderr:

        def write() -> int:
            written = write_until_stuck(stderr.descriptor, data)
            gone_on.set()
            os.write(stderr.descriptor, data[written:])
            return written

        # Nobody looks at the loop but the outlet, which does not return from its first line.
        written = await asyncio.to_thread(write)
    assert PIPE_BYTES <= written <= QUEUE_BYTES + PIPE_BYTES + 3 * PIPE_BYTES
    assert b"".join(received) == data


async def test_a_plugin_waits_while_its_loop_is_busy_elsewhere() -> None:
    lines = numbered(40_000)
    sink = KeepLines()
    async with pipe(sink=sink) as stderr:
        # From here on the thread reads it.
        await stderr.write(joined(lines[:1_000]))
        await sink.count(1_000)
        written = write_until_stuck(stderr.descriptor, joined(lines[1_000:]))
        assert PIPE_BYTES <= written <= QUEUE_BYTES + 3 * PIPE_BYTES
        assert len(sink.items) == 1_000
        await stderr.write(joined(lines[1_000:])[written:])
        await sink.count(len(lines))
    assert sink.items == lines


# Fairness


class Turns:
    """Counts the turns of the loop."""

    def __init__(self) -> None:
        self.count = 0
        self._loop = asyncio.get_running_loop()
        self._next = self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self.count += 1
        self._next = self._loop.call_soon(self._turn)

    def stop(self) -> None:
        self._next.cancel()


async def test_a_line_waits_a_few_turns_of_the_loop_while_others_storm() -> None:
    turns, storm = Turns(), joined(numbered(10_000))
    written_at = arrived_at = 0

    def on_noise(record: logging.LogRecord) -> None:
        nonlocal written_at
        if not written_at and len(noise.records.items) == 2_000:
            written_at = turns.count
            quiet_stderr.put(b"quiet\n")

    def on_quiet(record: logging.LogRecord) -> None:
        nonlocal arrived_at
        arrived_at = turns.count

    noise, quiet = Keep(on_noise), Keep(on_quiet)
    async with pipe(new_logger(noise)) as stderr, pipe(new_logger(quiet)) as quiet_stderr:
        await stderr.write(storm)
        await quiet.message("quiet")
        turns.stop()
    # In the next turn the loop sees it, at the latest in the one after that it is handed on.
    assert 0 <= arrived_at - written_at <= 3
    assert noise.messages == [line.decode() for line in numbered(10_000)]


# Plugins that do more than log


async def test_sixteen_storming_plugins_answer_their_calls() -> None:
    async def storms(plugin: Client, keep: Keep) -> None:
        kv = plugin.dispense("kv")
        await kv.Get(kv_pb2.GetRequest(key="storm"))
        await keep.records.count(1)
        for number in range(10):
            seen = len(keep.records.items)
            await kv.Put(kv_pb2.PutRequest(key="k", value=b"%d" % number))
            reply = await kv.Get(kv_pb2.GetRequest(key="k"))
            assert reply.value == b"%d" % number
            # Its lines go on, too.
            await keep.records.count(seen + 1)

    keeps = [Keep() for _ in range(16)]
    plugins = [client(stderr_logger=new_logger(keep), kill_timeout=LIMIT) for keep in keeps]
    try:
        await asyncio.wait_for(asyncio.gather(*(plugin.start() for plugin in plugins)), LIMIT)
        pairs = zip(plugins, keeps, strict=True)
        await asyncio.wait_for(asyncio.gather(*(storms(*pair) for pair in pairs)), LIMIT)
    finally:
        await asyncio.gather(*(plugin.kill() for plugin in plugins))
    for keep in keeps:
        storm = [text for text in keep.messages if text.startswith("storm")]
        assert storm == [f"storm {number}" for number in range(len(storm))]
