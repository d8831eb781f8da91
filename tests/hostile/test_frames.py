"""What a plugin can send as what it prints, and what becomes of the host's writers."""

from __future__ import annotations

import io
import logging
import sys
from typing import Any

import pytest

from pyplugin._compat import timeout
from tests.fixtures import PLUGIN, client
from tests.fixtures.lives import get
from tests.fixtures.logs import LIMIT, Keep, new_logger

from .starts import MOST_BYTES, resident_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")

WAYS = pytest.mark.parametrize(
    "settings",
    [{}, {"auto_mtls": True}, {"grpc_broker_multiplex": True}],
    ids=["plain", "mtls", "mux"],
)


def sending(code: str) -> list[str]:
    """A KV plugin whose stream of output is this; ``say(channel, data)`` sends a frame."""
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    program = f"""
import asyncio, os, runpy
from grpclib import GRPCError, Status
from pyplugin._generated.grpc_stdio_pb2 import StdioData
from pyplugin.serving.stdio import GRPCStdioServicer
async def stream_stdio(self, stream):
    async def say(channel, data):
        await stream.send_message(StdioData(channel=channel, data=data))
    raw = lambda data: stream._stream.send_data(data)
    await stream.recv_message()
{body}
GRPCStdioServicer.StreamStdio = stream_stdio
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    return [sys.executable, "-c", program]


def above_info(keep: Keep) -> list[str]:
    return [record.getMessage() for record in keep.records.items if record.levelno > logging.INFO]


@WAYS
async def test_frames_of_no_channel_are_dropped(settings: dict[str, Any]) -> None:
    """And those that are empty, or large, are frames as any."""
    code = """
for channel in (0, 3, 99, -1, 2**31 - 1, -2**31):
    await say(channel, b"lost")
for data in (b"", b"one", b"", bytes(3 * 2**20), b"\\xff\\x00", b""):
    await say(1, data)
    await say(2, data)
await stream.send_message(StdioData())
"""
    keep, out, err = Keep(), io.BytesIO(), io.BytesIO()
    writers = {"sync_stdout": out, "sync_stderr": err, "logger": new_logger(keep)}
    async with timeout(LIMIT), client(sending(code), **writers, **settings) as plugin:
        assert plugin._stdio is not None
        await plugin._stdio._has_ended.wait()
        assert await get(plugin, "bytes:1") == b"\0"
    assert out.getvalue() == err.getvalue() == b"one" + bytes(3 * 2**20) + b"\xff\0"
    assert above_info(keep) == []


@pytest.mark.parametrize("wanted", [False, True], ids=["unwanted", "wanted"])
async def test_output_without_end(wanted: bool) -> None:
    """It takes no memory, and no call waits for it; nor does the end of the plugin."""

    class Counting(io.RawIOBase):
        count = 0

        def write(self, data: Any, /) -> int:
            self.count += len(data)
            return len(data)

    code = """
while True:
    await say(1, bytes(2**16))
    await asyncio.sleep(0)
"""
    out = Counting()
    settings: dict[str, Any] = {"sync_stdout": out if wanted else None, "kill_timeout": 0.5}
    async with timeout(LIMIT), client(sending(code), **settings) as plugin:
        before = resident_bytes()
        while wanted and out.count < MOST_BYTES:
            assert await get(plugin, "bytes:1") == b"\0"
        for _ in range(20):
            assert await get(plugin, "bytes:1") == b"\0"
        assert resident_bytes() - before < MOST_BYTES


@pytest.mark.parametrize(
    ("end", "words"),
    [
        ("raise GRPCError(Status.PERMISSION_DENIED, 'no')", "ended: no"),
        ("raise GRPCError(Status.OK)", ""),
        ("await stream.cancel()", "ended: the peer reset the stream"),
        ("await raw(b'\\0\\0\\0\\0\\x09' + b'\\xff' * 9)", "cannot be read"),
        (
            "await raw(b'\\x01\\0\\0\\0\\x02\\x08\\x01' + b'\\0\\0\\0\\0\\x01\\xff')",
            "cannot be read",
        ),
        ("await raw(b'\\0\\xff\\xff\\xff\\xff')", "a message has 4294967295 bytes"),
        ("await raw(b'\\0\\0')", ""),
        ("stream._stream.connection._transport.abort()", ""),
    ],
)
@pytest.mark.parametrize("wanted", [False, True], ids=["unwanted", "wanted"])
async def test_a_stream_that_breaks_off(end: str, words: str, wanted: bool) -> None:
    """What came before is there, the rest is lost, and that is said once and harms nobody else."""
    keep, out = Keep(), io.BytesIO()
    command = sending(f"await say(1, b'before')\n{end}")
    settings: dict[str, Any] = {"sync_stdout": out if wanted else None, "kill_timeout": 0.5}
    async with timeout(LIMIT), client(command, logger=new_logger(keep), **settings) as plugin:
        assert plugin._stdio is not None
        await plugin._stdio._has_ended.wait()
        assert await get(plugin, "bytes:1") == b"\0"
    if wanted and ("raise" in end or "raw" in end):
        # A reset may overtake what came before it.
        assert out.getvalue() == b"before"
    # A message is not looked into where nobody wants it.
    if words and (wanted or "cannot" not in words):
        (said,) = above_info(keep)
        assert said.startswith("plugin 'python': the stream of what it prints")
        assert words in said
    else:
        assert above_info(keep) == []


@WAYS
async def test_writers_that_raise_whatever_it_is(settings: dict[str, Any]) -> None:
    """Each is told of once, and its thread goes on."""

    class Raising(io.RawIOBase):
        def __init__(self, error: BaseException) -> None:
            self.error, self.calls = error, 0

        def write(self, data: Any, /) -> int:
            self.calls += 1
            raise self.error

    code = "for n in range(300):\n    await say(1 + n % 2, b'lost')\n    await asyncio.sleep(0.001)"
    keep, out, err = Keep(), Raising(ValueError("closed")), Raising(OSError(28, "full"))
    writers = {"sync_stdout": out, "sync_stderr": err, "logger": new_logger(keep)}
    async with timeout(LIMIT), client(sending(code), **writers, **settings) as plugin:
        assert plugin._stdio is not None
        await plugin._stdio._has_ended.wait()
        assert await get(plugin, "bytes:1") == b"\0"
    assert out.calls > 1
    assert err.calls > 1
    assert sorted(line.split(": ")[1] for line in above_info(keep)) == [
        "sync_stderr",
        "sync_stdout",
    ]
