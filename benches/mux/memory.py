"""How much memory an idle stream takes; prints the bytes as JSON.

The first argument is "session" for two sessions joined in memory, of which Python knows nothing but
themselves, or "connection" for one connection whose peer is another process; the second how many
streams there are.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pyplugin._rust import MuxSession
from pyplugin.net.mux import MuxConnection

if TYPE_CHECKING:
    from pyplugin.net.mux import MuxStream

# Fewer than may wait to be accepted.
_OPENED_AT_ONCE = 128
# Opened before anything is measured, so that all is there that is there once.
_WARM = 128
_LOGGER = logging.getLogger(__name__)


def resident_bytes() -> int:
    """What this process has of the memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def of_sessions(count: int) -> float:
    """Bytes of a stream at one end, both having as many."""
    client, server = MuxSession(True, 0.0), MuxSession(False, 0.0)

    def open_streams(more: int) -> None:
        for _ in range(more):
            client.open_stream(0.0)
            for kind, number, _ in server.receive(client.take_out(4096, 0.0), 0.0):
                if kind == MuxSession.STREAM_OPENED:
                    server.accept(number)
            client.receive(server.take_out(4096, 0.0), 0.0)

    open_streams(_WARM)
    began = resident_bytes()
    open_streams(count)
    return (resident_bytes() - began) / (2 * count)


class _Opened(asyncio.Protocol):
    """Of all streams that the measured end opens: each is told once that the peer has taken it."""

    def __init__(self) -> None:
        self.taken = asyncio.Semaphore(0)

    def data_received(self, data: bytes) -> None:
        self.taken.release()


async def of_connection(count: int) -> float:
    """Bytes of a stream of a connection, at the end that opens it."""
    near, far = socket.socketpair()
    with far:
        peer = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, stdin=far.fileno()
        )
    connection = await _connection(near, is_host=True)
    opened = _Opened()

    async def open_streams(more: int) -> None:
        for begin in range(0, more, _OPENED_AT_ONCE):
            numbers = range(begin, min(begin + _OPENED_AT_ONCE, more))
            for _ in numbers:
                connection.open_stream().start(opened)
            for _ in numbers:
                await opened.taken.acquire()

    try:
        await open_streams(_WARM)
        began = resident_bytes()
        await open_streams(count)
        return (resident_bytes() - began) / count
    finally:
        # The peer ends when its end does.
        connection.abort()
        await connection.aclose()
        await peer.wait()


class _Taken(asyncio.Protocol):
    """Of all streams that the peer takes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"+")


async def be_peer() -> None:
    """Takes every stream of the connection that is this process's stdin."""
    connection = await _connection(socket.socket(fileno=os.dup(0)), is_host=False)
    await connection.lost


async def _connection(end: socket.socket, *, is_host: bool) -> MuxConnection:
    taken = _Taken()

    def take(stream: MuxStream) -> None:
        stream.start(taken)

    connection = MuxConnection(is_host=is_host, on_stream=take, logger=_LOGGER)
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=end)
    return connection


def main(arguments: list[str]) -> None:
    """Measures, or is the peer."""
    if not arguments:
        asyncio.run(be_peer())
        return
    of, count = arguments[0], int(arguments[1])
    value = of_sessions(count) if of == "session" else asyncio.run(of_connection(count))
    print(json.dumps({"bytes": round(value)}))


if __name__ == "__main__":
    main(sys.argv[1:])
