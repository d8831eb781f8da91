"""A plugin's stderr, from what it writes to whoever wants its log."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest

from pyplugin import LogBatch, LogEntry, LogForward, PluginCrashed
from pyplugin._compat import timeout
from tests.fixtures import client
from tests.fixtures.logs import (
    LIMIT,
    LOOPS,
    Arrivals,
    Keep,
    KeepLines,
    Pipe,
    entry,
    joined,
    last_words,
    new_logger,
    numbered,
    pipe,
    run,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass
class Outlet:
    """A way that lines take to the user.

    Attributes:
        settings: Of ``ClientConfig``.
        received: The log as it came there.
        keep: What the logger got, which is more than nothing only where lines were lost.
    """

    settings: dict[str, Any]
    received: Callable[[], bytes]
    keep: Keep

    def of_reader(self) -> dict[str, Any]:
        """The settings as those of ``StderrReader``."""
        names = {"log_sink": "sink", "log_forward": "forward", "stderr": "copy"}
        settings = {names[name]: value for name, value in self.settings.items() if name in names}
        return {**settings, "level": self.settings.get("log_level")}

    @property
    def logger(self) -> logging.Logger:
        logger: logging.Logger = self.settings["stderr_logger"]
        return logger


@pytest.fixture(params=["logger", "sink", "forward", "copy"])
def outlet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outlet]:
    """Each of them."""
    keep = Keep()
    settings: dict[str, Any] = {"stderr_logger": new_logger(keep)}
    if request.param == "logger":
        yield Outlet(settings, lambda: joined(text.encode() for text in keep.messages), Keep())
    elif request.param == "sink":
        lines = settings["log_sink"] = KeepLines()
        yield Outlet(settings, lambda: joined(lines.items), keep)
    elif request.param == "copy":
        copy = settings["stderr"] = io.BytesIO()
        settings["log_level"] = "off"
        yield Outlet(settings, copy.getvalue, keep)
    else:
        path = tmp_path / "log"
        with path.open("wb") as file:
            settings["log_forward"] = LogForward(file.fileno(), "verbatim")
            yield Outlet(settings, path.read_bytes, keep)
    assert request.param == "logger" or keep.messages == []


async def ask(plugin: Any, key: str) -> None:
    await plugin.dispense("kv").Get(kv_pb2.GetRequest(key=key))


# What a plugin leaves in its pipe

COUNTS = pytest.mark.parametrize("count", [200, 10_486], ids=["200-lines", "1-mebibyte"])
LOG = "import os; os.write(2, b''.join(b'%09d%s\\n' % (n, b'.' * 90) for n in range({})));"


@COUNTS
async def test_a_failed_start_delivers_all_lines(outlet: Outlet, count: int) -> None:
    error = await last_words(LOG.format(count), **outlet.settings)
    lines = numbered(count)
    assert outlet.received() == joined(lines)
    assert error.stderr_tail == tuple(lines[-40:])


@COUNTS
async def test_kill_delivers_all_lines(outlet: Outlet, count: int) -> None:
    async with client(KV_LAST_LINES=count, **outlet.settings):
        pass
    assert outlet.received() == joined(numbered(count))


@COUNTS
async def test_a_crash_delivers_all_lines_before_its_calls_fail(outlet: Outlet, count: int) -> None:
    lines = numbered(count)
    async with client(**outlet.settings) as plugin:
        with pytest.raises(PluginCrashed) as raised:
            await ask(plugin, f"log-exit:{count}")
        assert raised.value.stderr_tail == tuple(lines[-40:])
        assert outlet.received() == joined(lines)
    assert outlet.received() == joined(lines)


async def test_lines_come_while_the_plugin_runs(outlet: Outlet) -> None:
    async with timeout(LIMIT), client(**outlet.settings) as plugin:
        for calls in range(1, 4):
            await ask(plugin, "log:5")
            while outlet.received() != joined(numbered(5) * calls):
                await ask(plugin, "bytes:1")


async def test_a_plugin_that_closes_its_stderr_lives_on(outlet: Outlet) -> None:
    async with timeout(LIMIT), client(**outlet.settings) as plugin:
        await ask(plugin, "log:5")
        await ask(plugin, "close-stderr")
        while outlet.received() != joined(numbered(5)):
            await ask(plugin, "bytes:1")
        await ask(plugin, "bytes:1")


async def test_lines_are_whole_however_they_are_written() -> None:
    keep = Keep()
    code = "import os\nfor byte in b'one\\ntwo\\r\\n\\nthree': os.write(2, bytes([byte]))\n"
    error = await last_words(code, stderr_logger=new_logger(keep))
    assert keep.messages == ["one", "two", "three"]
    assert error.stderr_tail == (b"one", b"two", b"three")


# Stderr that another process has too


@pytest.mark.parametrize("count", [1, 1000])
async def test_what_a_plugin_leaves_behind_holds_nothing_up(
    outlet: Outlet, tmp_path: Path, count: int
) -> None:
    """It has the plugin's stderr still, which does not end therefore."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    keeper = os.open(path, os.O_RDWR)
    code = f"""
import subprocess
child = subprocess.Popen(["sh", "-c", "exec < {path}; echo; read x"], stdout=subprocess.PIPE)
child.stdout.readline()
"""
    try:
        await last_words(code + LOG.format(count), **outlet.settings)
    finally:
        os.close(keeper)
    assert outlet.received() == joined(numbered(count))
    assert outlet.keep.messages == []


async def test_what_others_write_for_ever_is_not_waited_for(outlet: Outlet) -> None:
    async with pipe(outlet.logger, **outlet.of_reader()) as stderr:
        ended = threading.Event()

        def storm() -> None:
            try:
                while True:
                    os.write(stderr.descriptor, joined(numbered(100)))
            except BrokenPipeError:
                ended.set()

        threading.Thread(target=storm, daemon=True).start()
        await asyncio.wait_for(stderr.reader.finish(), LIMIT)
        assert await asyncio.to_thread(ended.wait, LIMIT)
    known = set(numbered(100))
    assert all(line in known for line in outlet.received().splitlines()[:-1])


# What raises


class Problems(Arrivals[BaseException]):
    """What is reported to the loop."""

    def __init__(self) -> None:
        super().__init__()
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: self.add(context["exception"])
        )

    @property
    def texts(self) -> list[str]:
        return [str(problem) for problem in self.items]


async def test_a_handler_that_raises_loses_that_line_alone() -> None:
    problems = Problems()

    def on_record(record: logging.LogRecord) -> None:
        if record.getMessage().startswith("bad"):
            raise ValueError(record.getMessage())

    bad, good = Keep(on_record), Keep()
    async with pipe(new_logger(bad, good)) as stderr:
        stderr.put(b"one\nbad 1\ntwo\nbad 2\n")
        await bad.message("two")
        stderr.put(b"three\n")
    assert bad.messages == ["one", "two", "three"]
    assert good.messages == ["one", "bad 1", "two", "bad 2", "three"]
    assert problems.texts == ["bad 1", "bad 2"]


async def test_a_sink_that_raises_loses_that_batch_alone() -> None:
    problems, seen, taken = Problems(), Arrivals[str](), []

    def sink(batch: LogBatch) -> None:
        (entry,) = batch
        seen.add(entry.message)
        if entry.message.startswith("bad"):
            raise ValueError(entry.message)
        taken.append(entry.message)

    async with pipe(sink=sink) as stderr:
        for count, line in enumerate(["one", "bad 1", "two", "bad 2", "three"], 1):
            stderr.put(line.encode() + b"\n")
            await seen.count(count)
    assert taken == ["one", "two", "three"]
    assert problems.texts == ["bad 1", "bad 2"]


async def test_a_copy_that_raises_loses_no_record() -> None:
    problems, keep = Problems(), Keep()

    class Copy(io.BytesIO):
        def write(self, data: Any) -> int:
            if data.startswith(b"bad"):
                raise ValueError("of the copy")
            return super().write(data)

    copy = Copy()
    async with pipe(new_logger(keep), copy=copy) as stderr:
        for line in ("one", "bad", "two"):
            stderr.put(line.encode() + b"\n")
            await keep.message(line)
    assert keep.messages == ["one", "bad", "two"]
    assert copy.getvalue() == b"one\ntwo\n"
    assert problems.texts == ["of the copy"]


@pytest.mark.parametrize("loop_name", LOOPS)
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["handler", "stream", "sink", "copy"])
def test_what_ends_a_program_is_let_through(
    where: str, kind: type[BaseException], loop_name: str
) -> None:
    """Ctrl-C may come while a handler runs. What comes later is delivered, if anything does."""
    received: list[str] = []

    def take(data: object) -> None:
        if "end" in str(data):
            raise kind(1)
        received.append(str(data))

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            take(text)
            return len(text)

    class Copy(io.BytesIO):
        def write(self, data: Any) -> int:
            take(data)
            return len(data)

    handlers: dict[str, logging.Handler] = {
        "handler": Keep(lambda record: take(record.getMessage())),
        "stream": logging.StreamHandler(Stream()),
    }
    settings: dict[str, Any] = {
        "sink": {"sink": lambda batch: take(batch[0].message)},
        "copy": {"copy": Copy()},
    }
    handler = handlers.get(where, logging.NullHandler())
    stack = contextlib.AsyncExitStack()
    loop = LOOPS[loop_name]()

    async def open_pipe() -> Pipe:
        return await stack.enter_async_context(pipe(new_logger(handler), **settings.get(where, {})))

    async def log_more() -> None:
        stderr.put(b"later\n")
        await stack.aclose()
        # Another thread may log to the handler too.
        await asyncio.wait_for(asyncio.to_thread(handler.acquire), LIMIT)

    stderr = loop.run_until_complete(open_pipe())
    stderr.put(b"end\n")
    with pytest.raises(kind):
        loop.run_until_complete(asyncio.wait_for(loop.create_future(), LIMIT))
    run(loop, log_more())
    assert [text.rstrip().strip("b'\\n") for text in received] == ["later"]


# What a sink gets


async def test_a_batch_is_a_sequence_of_entries() -> None:
    batches = Arrivals[LogBatch]()
    lines = [
        entry("m", module="mod", n=1),
        b"2024-01-02T15:04:05 [WARN]  a.b: pretty\n",
        b"x\xff\n",
    ]
    async with pipe(sink=batches.add, name="the plugin") as stderr:
        stderr.put(b"".join(lines))
        await batches.count(1)
    (batch,) = batches.items
    assert (batch.plugin, len(batch), len(list(batch))) == ("the plugin", 3, 3)
    assert [entry.line + b"\n" for entry in batch] == lines
    assert batch[-1].line == batch[2].line == b"x\xff"
    assert [entry.message for entry in batch[::-2]] == ["x\ufffd", "m"]
    for index in (3, -4):
        with pytest.raises(IndexError):
            _ = batch[index]
    with pytest.raises(TypeError):
        _ = batch["a"]  # type: ignore[call-overload]
    assert repr(batch) == "<LogBatch of 3 entries of plugin 'the plugin'>"
    assert repr(batch[0]) == "<LogEntry info 'm'>"


async def test_an_entry_is_decoded_as_far_as_it_is_asked() -> None:
    """Also long after its batch, and its plugin, are gone."""
    entries: list[LogEntry] = []
    line = (
        b'{"@level":"warn","@message":"\\u00fc","@timestamp":"2024-01-02T15:04:05.000000Z","a":[1]}'
    )
    async with pipe(sink=entries.extend, name="the plugin") as stderr:
        stderr.put(line + b"\n")
    (entry,) = entries
    assert (entry.plugin, entry.level, entry.levelno) == ("the plugin", "warn", 30)
    assert (entry.message, entry.module, entry.line) == ("\u00fc", "", line)
    assert entry.timestamp == "2024-01-02T15:04:05.000000Z"
    assert entry.fields == {"a": [1]}
    entry.fields["a"].append(2)
    assert entry.fields == {"a": [1]}
