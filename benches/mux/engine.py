"""Exchanges messages of 16 KiB between two sessions, as benches/go/yamux does in Go.

One message on each stream, until all of them are read; prints the median nanoseconds of one, for
each number of streams, as JSON. The first argument says what is between the sessions: "memory", or
"unix" for a pair of sockets and asyncio; then come how many samples there are for each number of
streams, and of how many messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import statistics
import sys
import time
from typing import TYPE_CHECKING

from pyplugin._rust import MuxSession
from pyplugin.net.mux import MuxConnection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin.net.mux import MuxStream

STREAMS = (1, 16, 256, 4096)
MESSAGE = bytes(16 * 1024)
# What is written and read at once, as in Rust's bench.
_CHUNK_BYTES = 64 * 1024
# Fewer than may wait to be accepted.
_OPENED_AT_ONCE = 128


class MemoryPair:
    """Two sessions that are joined by calls alone."""

    def __init__(self, count: int) -> None:
        self._client, self._server = MuxSession(True, 0.0), MuxSession(False, 0.0)
        self._streams = []
        for _ in range(count):
            self._streams.append(self._client.open_stream(0.0))
            self._carry()

    def exchange(self, each: int) -> None:
        """So many messages on each stream."""
        for _ in range(each):
            for number in self._streams:
                self._client.send(number, MESSAGE)
            read = self._carry()
            assert read == len(MESSAGE) * len(self._streams)

    def _carry(self) -> int:
        client, server, read = self._client, self._server, 0
        while chunk := client.take_out(_CHUNK_BYTES, 0.0):
            for kind, number, payload in server.receive(chunk, 0.0):
                if kind == MuxSession.DATA:
                    assert isinstance(payload, bytes)
                    read += len(payload)
                    server.consume(number, len(payload))
                elif kind == MuxSession.STREAM_OPENED:
                    server.accept(number)
            if answer := server.take_out(_CHUNK_BYTES, 0.0):
                client.receive(answer, 0.0)
        return read


class _Writer(asyncio.Protocol):
    """Writes what it is given when the stream takes it."""

    def __init__(self, spoken: asyncio.Semaphore) -> None:
        self._spoken = spoken
        self._left = 0
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # The peer has taken the stream.
        self._spoken.release()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        self.send(0)

    def send(self, more: int) -> None:
        """Sends so many more messages."""
        self._left += more
        while self._left and not self._is_paused:
            self._left -= 1
            self._transport.write(MESSAGE)


class _Reader(asyncio.Protocol):
    """Counts what comes on all streams."""

    def __init__(self) -> None:
        self._missing = 0
        self._is_read = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"+")

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if not self._missing:
            self._is_read.set()

    def expect(self, length: int) -> None:
        self._missing += length
        self._is_read.clear()

    async def wait(self) -> None:
        await self._is_read.wait()


class SocketPair:
    """Two connections that are joined by sockets."""

    def __init__(self, client: MuxConnection, reader: _Reader) -> None:
        self._client = client
        self._reader = reader
        self._writers: list[_Writer] = []

    async def open(self, count: int) -> None:
        """Opens so many streams."""
        spoken = asyncio.Semaphore(0)
        for number in range(count):
            if number >= _OPENED_AT_ONCE:
                await spoken.acquire()
            writer = _Writer(spoken)
            self._client.open_stream().start(writer)
            self._writers.append(writer)
        for _ in range(min(count, _OPENED_AT_ONCE)):
            await spoken.acquire()

    async def exchange(self, each: int) -> None:
        """So many messages on each stream."""
        self._reader.expect(each * len(self._writers) * len(MESSAGE))
        for writer in self._writers:
            writer.send(each)
        await self._reader.wait()


@contextlib.asynccontextmanager
async def socket_pair() -> AsyncIterator[SocketPair]:
    """A pair that has no stream yet."""
    loop = asyncio.get_running_loop()
    reader = _Reader()
    logger = logging.getLogger(__name__)

    def take(stream: MuxStream) -> None:
        stream.start(reader)

    client = MuxConnection(is_host=True, on_stream=lambda stream: stream.abort(), logger=logger)
    server = MuxConnection(is_host=False, on_stream=take, logger=logger)
    for connection, end in zip((client, server), socket.socketpair(), strict=True):
        await loop.create_connection(lambda it=connection: it, sock=end)  # type: ignore[misc]
    try:
        yield SocketPair(client, reader)
    finally:
        client.abort()
        server.abort()
        await asyncio.gather(client.aclose(), server.aclose())


async def measure(between: str, count: int, samples: int, messages: int) -> int:
    """The median nanoseconds of a message."""
    each = max(messages // count, 1)
    times = []
    if between == "memory":
        pair = MemoryPair(count)
        for _ in range(samples):
            began = time.perf_counter_ns()
            pair.exchange(each)
            times.append((time.perf_counter_ns() - began) // (each * count))
    else:
        async with socket_pair() as joined:
            await joined.open(count)
            for _ in range(samples):
                began = time.perf_counter_ns()
                await joined.exchange(each)
                times.append((time.perf_counter_ns() - began) // (each * count))
    return round(statistics.median(times))


async def main(between: str, samples: int, messages: int) -> dict[int, int]:
    """What all numbers of streams take."""
    return {count: await measure(between, count, samples, messages) for count in STREAMS}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))))
