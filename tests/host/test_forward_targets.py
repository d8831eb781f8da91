"""Forwarded lines: the descriptors that they are written to."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import io
import os
import select
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import kv_pb2
import pytest

from pyplugin import LogForward
from pyplugin._compat import timeout
from pyplugin.host import stderr as stderr_module
from tests.fixtures import client
from tests.fixtures.logs import (
    LIMIT,
    PIPE_BYTES,
    Keep,
    joined,
    new_logger,
    numbered,
    pipe,
    write_until_stuck,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

if sys.platform == "linux":
    import fcntl


class Target:
    """What lines are forwarded to, and who reads it.

    Attributes:
        descriptor: Where to write.
        received: What was read.
    """

    def __init__(self, kind: str, *, is_blocking: bool = True, is_tiny: bool = False) -> None:
        if kind == "pipe":
            self._read_end, self.descriptor = os.pipe()
            if is_tiny:
                fcntl.fcntl(self.descriptor, fcntl.F_SETPIPE_SZ, 4096)
        else:
            ends = socket.socketpair()
            if is_tiny:
                ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
            self.descriptor, self._read_end = (end.detach() for end in ends)
        os.set_blocking(self.descriptor, is_blocking)
        self.received = bytearray()
        self._thread = threading.Thread(target=self._read)
        self._size = 4096

    def read(self, size: int = 65536) -> None:
        """Begins to read, ``size`` bytes at once."""
        self._size = size
        self._thread.start()

    def _read(self) -> None:
        while data := os.read(self._read_end, self._size):
            self.received.extend(data)

    def stop_reading(self) -> None:
        """Nobody will read."""
        os.close(self._read_end)
        self._read_end = -1

    def end(self) -> bytes:
        """Closes it, and returns all that came."""
        if self.descriptor != -1:
            os.close(self.descriptor)
            self.descriptor = -1
        if self._read_end != -1:
            if self._thread.ident is None:
                self._thread.start()
            self._thread.join(LIMIT)
            os.close(self._read_end)
            self._read_end = -1
        return bytes(self.received)

    @property
    def is_full(self) -> bool:
        """Whether nothing more can be written to it now."""
        return not select.select([], [self.descriptor], [], 0)[1]

    @property
    def forward(self) -> LogForward:
        return LogForward(self.descriptor, "verbatim")


@pytest.fixture
def target() -> Iterator[Target]:
    """A pipe that nobody reads yet."""
    target = Target("pipe")
    yield target
    target.end()


def errors(keep: Keep) -> list[str]:
    return [record.getMessage() for record in keep.records.items if record.levelname == "ERROR"]


# Files


async def test_lines_are_appended_to_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    with path.open("ab") as file:
        async with pipe(forward=LogForward(file.fileno(), "verbatim")) as stderr:
            await stderr.write(b"one\n")
            # Somebody else appends, too.
            with path.open("ab") as other:
                other.write(b"other\n")
            await stderr.write(joined(numbered(10_000)))
        # It is the caller's still.
        file.write(b"after\n")
    lines = path.read_bytes().split(b"\n")
    assert (lines.pop(0), lines.pop(), lines.pop()) == (b"before", b"", b"after")
    lines.remove(b"other")
    assert lines == [b"one", *numbered(10_000)]


async def test_the_caller_may_close_its_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        forward = LogForward(file.fileno(), "verbatim")
        context = pipe(forward=forward)
        stderr = await context.__aenter__()
    # The number may be another file's by now.
    with (tmp_path / "other").open("wb") as file:
        assert file.fileno() == forward.fd
        await stderr.write(b"one\n")
        async with pipe(forward=forward) as other:
            await other.write(b"two\n")
        await context.__aexit__(None, None, None)
    assert path.read_bytes() == b"one\n"
    assert (tmp_path / "other").read_bytes() == b"two\n"


@pytest.mark.skipif(sys.platform != "linux", reason="there is no full device")
async def test_a_full_disk_loses_lines_and_says_so_once() -> None:
    keep = Keep()
    with Path("/dev/full").open("wb", buffering=0) as file:  # noqa: ASYNC230 -- a device
        forward = LogForward(file.fileno())
        async with pipe(new_logger(keep), name="the plugin", forward=forward) as stderr:
            for _ in range(5):
                await stderr.write(joined(numbered(1_000)))
            await keep.records.count(1)
    (text,) = errors(keep)
    assert "plugin 'the plugin'" in text
    assert "lost" in text
    assert os.strerror(errno.ENOSPC) in text


# Pipes and sockets


@pytest.mark.skipif(sys.platform != "linux", reason="pipes have one size")
@pytest.mark.parametrize("size", [7, 5_000])
@pytest.mark.parametrize("is_blocking", [True, False], ids=["blocking", "non-blocking"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_slow_reader_gets_all_lines(kind: str, is_blocking: bool, size: int) -> None:
    """In as many pieces as need be; and the caller's descriptor is as it was."""
    target = Target(kind, is_blocking=is_blocking, is_tiny=True)
    lines = numbered(300)
    async with pipe(forward=target.forward) as stderr:
        await stderr.write(joined(lines))
        target.read(size)
        # Longer than all that a pipe of one page takes.
        await stderr.write(b"x" * 9_999 + b"\n")
    assert os.get_blocking(target.descriptor) == is_blocking
    assert await asyncio.to_thread(target.end) == joined([*lines, b"x" * 9_999])


async def test_who_does_not_read_stops_the_plugin_and_nobody_else(
    target: Target, tmp_path: Path
) -> None:
    data, keep = joined(numbered(10_000)), Keep()
    with (tmp_path / "log").open("wb") as file:
        async with (
            pipe(forward=target.forward) as stuck,
            pipe(new_logger(keep)) as logged,
            pipe(forward=LogForward(file.fileno(), "verbatim")) as forwarded,
        ):
            written = await asyncio.to_thread(write_until_stuck, stuck.descriptor, data)
            # Both pipes, and what is on its way between them.
            assert PIPE_BYTES <= written <= 4 * PIPE_BYTES
            for stderr in (logged, forwarded):
                await stderr.write(data)
            await keep.records.count(10_000)
            await forwarded.end()
            target.read()
            await stuck.write(data[written:])
    assert (tmp_path / "log").read_bytes() == data
    assert await asyncio.to_thread(target.end) == data


async def test_a_copy_comes_though_the_target_is_stuck(target: Target) -> None:
    """All that was read is copied, and none of it again."""
    data, copy = joined(numbered(10_000)), io.BytesIO()
    async with pipe(forward=target.forward, copy=copy) as stderr:
        written = await asyncio.to_thread(write_until_stuck, stderr.descriptor, data)
        target.read()
        await stderr.write(data[written:])
    assert copy.getvalue() == data
    assert await asyncio.to_thread(target.end) == data


async def test_kill_does_not_wait_for_a_reader_for_ever(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stderr_module, "_FORWARD_TIMEOUT", 0.2)
    keep = Keep()
    async with (
        timeout(LIMIT),
        client(
            log_forward=target.forward, stderr_logger=new_logger(keep), kill_timeout=0.2
        ) as plugin,
    ):
        kv = plugin.dispense("kv")
        log = asyncio.ensure_future(kv.Get(kv_pb2.GetRequest(key="log:100000")))
        while not target.is_full:  # noqa: ASYNC110 -- nothing tells that it is
            await asyncio.sleep(0)
        await plugin.kill()
        await asyncio.wait({log})
    assert log.exception() is not None
    (text,) = errors(keep)
    assert "plugin 'plugin.py'" in text
    assert "lost" in text
    received = (await asyncio.to_thread(target.end)).split(b"\n")
    # The last one may be cut; what the plugin itself logs may come before.
    lines = [line for line in received[:-1] if not line.startswith(b"{")]
    assert lines == numbered(100_000)[: len(lines)]


# Readers that leave


async def test_a_reader_that_left_stops_nobody(target: Target) -> None:
    keep = Keep()
    target.stop_reading()
    async with pipe(new_logger(keep), name="the plugin", forward=target.forward) as stderr:
        for _ in range(5):
            await stderr.write(joined(numbered(10_000)))
        await keep.records.count(1)
    (text,) = errors(keep)
    assert "plugin 'the plugin'" in text
    assert "lost" in text
    assert os.strerror(errno.EPIPE) in text


async def test_a_reader_that_leaves_while_lines_wait_stops_nobody(target: Target) -> None:
    keep, data = Keep(), joined(numbered(10_000))
    async with pipe(new_logger(keep), name="the plugin", forward=target.forward) as stderr:
        written = await asyncio.to_thread(write_until_stuck, stderr.descriptor, data)
        assert written < len(data)
        target.stop_reading()
        await stderr.write(data)
    (text,) = errors(keep)
    assert "plugin 'the plugin'" in text
    assert os.strerror(errno.EPIPE) in text


async def test_each_plugin_of_a_reader_that_left_is_named(target: Target) -> None:
    keep = Keep()
    target.stop_reading()
    async with contextlib.AsyncExitStack() as stack:
        for name in ("one", "two", "three"):
            stderr = await stack.enter_async_context(
                pipe(new_logger(keep), name=name, forward=target.forward)
            )
            await stderr.write(b"a line\n")
    assert sorted(text.split("'")[1] for text in errors(keep)) == ["one", "three", "two"]


async def test_a_plugin_that_logs_nothing_loses_nothing(target: Target) -> None:
    keep = Keep()
    target.stop_reading()
    async with pipe(new_logger(keep), forward=target.forward):
        pass
    assert keep.messages == []


# One descriptor for several plugins


@pytest.mark.parametrize("kind", ["file", "pipe", "socket"])
async def test_lines_of_several_plugins_are_never_torn(kind: str, tmp_path: Path) -> None:
    """However long they are, and though the reader takes them in small pieces."""
    path = tmp_path / "log"
    target = Target(kind, is_tiny=sys.platform == "linux") if kind != "file" else None
    descriptor = target.descriptor if target else os.open(path, os.O_CREAT | os.O_WRONLY)
    written = {
        name: [
            b"%s %d %s" % (name.encode(), number, b"x" * (number * 997 % 20_000))
            for number in range(100)
        ]
        for name in ("one", "two", "three")
    }
    async with contextlib.AsyncExitStack() as stack:
        pipes = [
            await stack.enter_async_context(
                pipe(name=name, forward=LogForward(descriptor, "verbatim"))
            )
            for name in written
        ]
        if target:
            target.read(10_000)
        await asyncio.gather(
            *(
                stderr.write(joined(written[name]))
                for stderr, name in zip(pipes, written, strict=True)
            )
        )
    if target:
        received = await asyncio.to_thread(target.end)
    else:
        os.close(descriptor)
        received = path.read_bytes()
    lines = received.split(b"\n")
    assert lines.pop() == b""
    for name, expected in written.items():
        assert [line for line in lines if line.startswith(name.encode())] == expected
    assert len(lines) == 300
