"""The host: python examples/streaming/host.py FILE [WORD ...].

It has the plugin write a text to FILE, read it back, and look for words in it.

STREAMER_PLUGIN is the plugin's command, go-plugin's example plugin for instance; without it the
Python plugin beside this file runs. AUTO_MTLS=1 secures the connection.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import search_pb2
import streamer_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from streamer import HANDSHAKE, Streamer, StreamerPlugin

from pyplugin import Client, ClientConfig

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py"))]
TEXT = b"to be, or not to be, that is the question"
CHUNK_SIZE = 10


async def write(streamer: Streamer, data: bytes) -> None:
    """The host streams: many requests, one answer."""
    async with streamer.files.Write.open() as stream:
        await stream.send_request()
        for start in range(0, len(data), CHUNK_SIZE):
            chunk = data[start : start + CHUNK_SIZE]
            await stream.send_message(streamer_pb2.Write.RequestChunk(bytes_to_write=chunk))
        await stream.end()
        # Calling `Write` with a list would do, if the Go plugin did not end the call without an
        # answer: then this is None.
        await stream.recv_message()


async def read(streamer: Streamer) -> bytes:
    """The plugin streams: one request, many answers."""
    data = b""
    async with streamer.files.Read.open() as stream:
        await stream.send_message(streamer_pb2.Read.Request())
        async for chunk in stream:
            print(f"  Read: {chunk.read_bytes!r}")
            data += chunk.read_bytes
    return data


async def search(streamer: Streamer, words: tuple[str, ...]) -> None:
    """Both stream: each word is sent after the answer to the last."""
    async with streamer.search.Search.open() as stream:
        await stream.send_request()
        for word in words:
            await stream.send_message(search_pb2.Word(text=word))
            places = await stream.recv_message()
            assert places is not None
            print(f"  Search: {word!r} at {', '.join(map(str, places.offsets)) or 'no place'}")
        await stream.end()


async def main(path: str, *words: str) -> None:
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"streamer": StreamerPlugin()},
        cmd=shlex.split(os.environ.get("STREAMER_PLUGIN", "")) or PLUGIN,
        auto_mtls=os.environ.get("AUTO_MTLS") == "1",
    )
    async with Client(config) as client:
        streamer: Streamer = client.dispense("streamer")
        await streamer.files.Configure(
            streamer_pb2.Configure.Request(path=path, chunk_size=CHUNK_SIZE)
        )
        await write(streamer, TEXT)
        print(f"  Write: {len(TEXT)} bytes in chunks of {CHUNK_SIZE}")
        assert await read(streamer) == TEXT
        try:
            await search(streamer, words or ("be", "question"))
        except GRPCError as error:
            if error.status is not Status.UNIMPLEMENTED:
                raise
            print("  Search: this plugin has none")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    try:
        asyncio.run(main(*sys.argv[1:]))
    except GRPCError as error:
        sys.exit(f"Error: {error.message}")
