"""A plugin whose host is gone, of whatever it died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyplugin._compat import timeout
from pyplugin.serving.orphan import HostWatch
from tests.fixtures import is_alive
from tests.fixtures.logs import LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTHOR = [sys.executable, str(Path(__file__).parents[1] / "fixtures" / "authors.py")]
LOOPS = ["asyncio", "uvloop"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="its pipes cannot be watched")


@contextlib.contextmanager
def orphan(*wrapper: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A plugin that has written its handshake, whose host is this test."""
    with subprocess.Popen(
        [*wrapper, *AUTHOR],
        env={**os.environ, "BASIC_PLUGIN": "hello", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"1|1|unix|")
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def close(process: subprocess.Popen[bytes], *names: str) -> None:
    for name in names:
        getattr(process, name).close()


def names_of_sockets(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if entry.name.startswith("plugin")}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_plugin_ends_with_its_host(loop: str, temporary_folder: Path) -> None:
    with orphan(KV_LOOP=loop, KV_LINGER="600") as process:
        assert names_of_sockets(temporary_folder)
        close(process, "stdout", "stderr")
        # In the way that Shutdown ends it: what follows serve() runs.
        asyncio.run(until_gone(temporary_folder))
        assert process.poll() is None


async def until_gone(folder: Path) -> None:
    async with timeout(LIMIT):
        while names_of_sockets(folder):  # noqa: ASYNC110 -- nothing tells when it is gone
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("loop", LOOPS)
def test_its_process_ends_in_a_second(loop: str) -> None:
    with orphan(KV_LOOP=loop) as process:
        close(process, "stdout", "stderr")
        assert process.wait(LIMIT) == 0


def test_behind_a_wrapper_too(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    code = f'"$@" & echo $! > {file}; wait'
    with orphan("/bin/sh", "-c", code, "sh") as process:
        pid = int(file.read_text())
        # The wrapper, which knows nothing of this, lives on as long as the plugin.
        close(process, "stdout", "stderr")
        process.wait(LIMIT)
        assert not is_alive(pid)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_host_may_close_one_of_the_pipes(loop: str, name: str) -> None:
    with orphan(KV_LOOP=loop) as process:
        close(process, name)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        close(process, *({"stdout", "stderr"} - {name}))
        assert process.wait(LIMIT) == 0


@pytest.mark.parametrize("name", ["KV_ORPHAN_GUARD", "PYPLUGIN_ORPHAN_GUARD"])
def test_a_plugin_that_is_to_outlive_its_host(name: str) -> None:
    with orphan(**{name: "0"}) as process:
        close(process, "stdout", "stderr")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.terminate()
        assert process.wait(LIMIT) == 0


@contextlib.contextmanager
def descriptors(*replacements: int) -> Iterator[None]:
    """Descriptors 1 and 2 are others for the block."""
    saved = [os.dup(1), os.dup(2)]
    for number, replacement in enumerate(replacements, 1):
        os.dup2(replacement, number)
    try:
        yield
    finally:
        for number, before in enumerate(saved, 1):
            os.dup2(before, number)
            os.close(before)


async def test_both_pipes_must_break() -> None:
    (read_1, write_1), (read_2, write_2) = os.pipe(), os.pipe()
    gone = asyncio.Event()
    watch = HostWatch(gone.set)
    with descriptors(write_1, write_2):
        watch.start()
    os.close(write_1)
    os.close(write_2)
    os.close(read_1)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not gone.is_set()
    # What is in a pipe, unread, is no sign of life.
    os.close(read_2)
    async with timeout(LIMIT):
        await gone.wait()
    watch.close()


async def test_what_is_no_pipe_is_not_watched() -> None:
    def on_gone() -> None:
        raise AssertionError

    watch = HostWatch(on_gone)
    null = os.open(os.devnull, os.O_WRONLY)
    with descriptors(null, null):
        watch.start()
    os.close(null)
    await asyncio.sleep(0)
    watch.close()


async def test_nothing_is_left_when_it_is_closed_first() -> None:
    read_end, write_end = os.pipe()
    watch = HostWatch(lambda: None)
    with descriptors(write_end, write_end):
        watch.start()
    watch.close()
    watch.close()
    os.close(write_end)
    # Nobody holds the other end any more.
    assert os.read(read_end, 1) == b""
    os.close(read_end)


async def test_a_full_pipe_costs_nothing() -> None:
    """It is "writable" never again, and watched for its end only."""
    read_end, write_end = os.pipe()
    gone = asyncio.Event()
    watch = HostWatch(gone.set)
    with descriptors(write_end, write_end):
        watch.start()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(65536))
    calls = 0
    on_event = watch._on_event

    def count(pipe: int) -> None:
        nonlocal calls
        calls += 1
        on_event(pipe)

    watch._on_event = count  # type: ignore[method-assign]
    for _ in range(20):
        await asyncio.sleep(0)
    assert calls == 0
    os.close(write_end)
    os.close(read_end)
    async with timeout(LIMIT):
        await gone.wait()
    watch.close()
