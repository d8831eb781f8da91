"""The log pump and its loops: many of them, ends of them, and such as cannot watch pipes."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import select
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pyplugin import LogForward
from pyplugin.host import stderr as stderr_module
from tests.fixtures import client
from tests.fixtures.logs import (
    BLIND_LOOPS,
    LIMIT,
    LOOPS,
    PIPE_BYTES,
    QUEUE_BYTES,
    Keep,
    KeepLines,
    Pipe,
    host,
    joined,
    last_words,
    new_logger,
    numbered,
    pipe,
    run,
    write_until_stuck,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOP = pytest.mark.parametrize("name", LOOPS)
ANY_LOOP = pytest.mark.parametrize("name", [*LOOPS, *(f"blind-{name}" for name in BLIND_LOOPS)])
BLIND_LOOP = pytest.mark.parametrize("name", BLIND_LOOPS)


def messages(lines: list[bytes]) -> list[str]:
    return [line.decode() for line in lines]


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    """Waits for the threads that read in the loops' place."""
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("pyplugin:"):
            thread.join(LIMIT)
            assert not thread.is_alive(), thread


# Several loops in one process


@LOOP
def test_loops_in_threads_at_once(name: str) -> None:
    """Each has plugins of its own, which the same thread reads."""

    async def log() -> list[str]:
        keep = Keep()
        async with pipe(new_logger(keep)) as stderr:
            for _ in range(20):
                await stderr.write(joined(numbered(1_000)))
        return keep.messages

    async def start_plugin() -> list[str]:
        keep = Keep()
        async with client(stderr_logger=new_logger(keep), KV_LAST_LINES=200):
            pass
        return keep.messages

    with ThreadPoolExecutor(8) as pool:
        logs = [pool.submit(lambda: run(LOOPS[name](), log())) for _ in range(4)]
        plugins = [pool.submit(lambda: run(LOOPS[name](), start_plugin())) for _ in range(4)]
        for future in logs:
            assert future.result(LIMIT) == messages(numbered(1_000)) * 20
        for future in plugins:
            assert future.result(LIMIT) == messages(numbered(200))


@ANY_LOOP
def test_a_loop_that_was_just_closed_holds_nothing_of_the_next(name: str) -> None:
    loops = {**LOOPS, **{f"blind-{name}": loop for name, loop in BLIND_LOOPS.items()}}
    keep = Keep()
    kept = contextlib.AsyncExitStack()

    async def begin() -> Pipe:
        stderr = await kept.enter_async_context(pipe(new_logger(keep)))
        await stderr.write(joined(numbered(1_000)))
        await keep.records.count(1_000)
        return stderr

    async def use() -> None:
        async with pipe(new_logger(keep)) as stderr:
            await stderr.write(joined(numbered(1_000)))

    # Nothing is ended in it.
    first = loops[name]()
    stderr = first.run_until_complete(begin())
    first.run_until_complete(first.shutdown_default_executor())
    first.close()
    run(loops[name](), use())
    os.close(stderr.descriptor)
    del stderr
    kept.pop_all()
    assert keep.messages == messages(numbered(1_000)) * 2


# Hosts in processes of their own


def ends(pid: int) -> bool:
    """Whether a process, which is no child of this one, ends by itself."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if select.select([descriptor], [], [], LIMIT)[0]:
            return True
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        return False
    finally:
        os.close(descriptor)


@ANY_LOOP
@pytest.mark.parametrize("what", ["return_from_loop", "return_from_main", "exit_in_handler"])
def test_an_end_amid_a_storm(what: str, name: str) -> None:
    pid = host(what, name)
    assert ends(int(pid))


@LOOP
def test_loops_one_after_the_other(name: str) -> None:
    pids = host("three_loops", name)
    assert [ends(int(pid)) for pid in pids.split()] == [True] * 3


@LOOP
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_plugins_of_its_own(name: str) -> None:
    pid = host("fork", name)
    assert ends(int(pid))


@LOOP
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_does_not_forward_for_its_parent(name: str) -> None:
    host("fork_with_pending_lines", name)


@LOOP
@pytest.mark.parametrize("what", ["endless_line", "many_lines"])
def test_memory_does_not_grow_with_the_log(what: str, name: str) -> None:
    assert int(host(what, name)) < 16 * 2**20


# Loops that cannot watch pipes: threads read


@BLIND_LOOP
@pytest.mark.parametrize("count", [200, 10_486])
def test_threads_deliver_all_that_a_plugin_left(name: str, count: int) -> None:
    async def main() -> None:
        code = f"import os; os.write(2, {joined(numbered(10))!r} * {count // 10})"
        error = await last_words(code, stderr_logger=logger, stderr=copy)
        assert error.stderr_tail == tuple(numbered(10) * 4)
        keep.records.items.clear()
        async with client(stderr_logger=logger, KV_LAST_LINES=count):
            pass

    keep, copy = Keep(), io.BytesIO()
    logger = new_logger(keep)
    run(BLIND_LOOPS[name](), main())
    assert keep.messages == messages(numbered(count))
    assert copy.getvalue() == joined(numbered(10)) * (count // 10)


@BLIND_LOOP
def test_threads_deliver_lines_as_they_come(name: str) -> None:
    async def main() -> None:
        async with pipe(new_logger(keep)) as stderr:
            for count in range(100):
                stderr.put(b"%d\n" % count)
                await keep.records.count(count + 1)
            await stderr.write(joined(numbered(20_000)))

    keep = Keep()
    run(BLIND_LOOPS[name](), main())
    assert keep.messages == [*map(str, range(100)), *messages(numbered(20_000))]


@BLIND_LOOP
def test_threads_stop_reading_for_a_busy_loop(name: str) -> None:
    data = joined(numbered(40_000))
    sink = KeepLines()

    async def main() -> None:
        async with pipe(sink=sink) as stderr:
            written = write_until_stuck(stderr.descriptor, data)
            assert PIPE_BYTES <= written <= QUEUE_BYTES + 4 * PIPE_BYTES
            await stderr.write(data[written:])
            await sink.count(40_000)

    run(BLIND_LOOPS[name](), main())
    assert sink.items == numbered(40_000)


@BLIND_LOOP
def test_threads_deliver_all_to_a_slow_handler(name: str) -> None:
    """Slower than a thread may be at seeing the end of the pipe, which is another matter."""

    async def main() -> None:
        async with pipe(new_logger(keep)) as stderr:
            stderr.put(joined(numbered(150)))

    keep = Keep(lambda _: time.sleep(0.01))
    run(BLIND_LOOPS[name](), main())
    assert keep.messages == messages(numbered(150))


@BLIND_LOOP
@pytest.mark.parametrize("is_blocking", [True, False])
def test_threads_forward_to_a_slow_reader(name: str, is_blocking: bool) -> None:
    """Which begins to read when no more lines come."""
    read_end, write_end = os.pipe()
    received = bytearray()

    def read() -> None:
        while data := os.read(read_end, 1000):
            received.extend(data)

    async def main() -> None:
        thread = threading.Thread(target=read)
        async with pipe(forward=LogForward(write_end, "verbatim")) as stderr:
            written = write_until_stuck(stderr.descriptor, data)
            # The two pipes, and what is on its way between them.
            assert PIPE_BYTES <= written <= 5 * PIPE_BYTES
            thread.start()
            await stderr.write(data[written:])
        os.close(write_end)
        await asyncio.to_thread(thread.join, LIMIT)

    data = joined(numbered(20_000))
    os.set_blocking(write_end, is_blocking)
    run(BLIND_LOOPS[name](), main())
    os.close(read_end)
    assert received == data


@BLIND_LOOP
def test_threads_give_up_a_pipe_that_others_fill_for_ever(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def storm(descriptor: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            while True:
                os.write(descriptor, joined(numbered(100)))

    async def main() -> None:
        async with pipe(sink=lambda batch: known.update(entry.line for entry in batch)) as stderr:
            thread = threading.Thread(target=storm, args=(stderr.descriptor,))
            thread.start()
            await stderr.reader.finish()
            await asyncio.to_thread(thread.join, LIMIT)
            assert not thread.is_alive()

    monkeypatch.setattr(stderr_module, "_FINISH_TIMEOUT", 0.1)
    known = set(numbered(100))
    run(BLIND_LOOPS[name](), main())
    assert known == set(numbered(100))
