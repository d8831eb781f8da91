"""What a plugin's own code prints: to its host, and to nobody else's harm."""

from __future__ import annotations

import asyncio
import io
import sys
import threading
from pathlib import Path
from typing import Any

import kv_pb2
import pytest

from pyplugin import Client, ClientConfig
from pyplugin._compat import timeout
from pyplugin._generated import empty_pb2, grpc_stdio_grpc
from pyplugin.host import stdio as stdio_module
from tests.fixtures import client
from tests.fixtures.logs import LIMIT, Keep, new_logger

FOLDER = Path(__file__).parent / "fixtures"
PLUGIN = [sys.executable, str(FOLDER / "printing.py")]
MIB = 1024 * 1024
# A text in which no two parts of the same length are the same.
TEXT = "for n in range({}): print(f'{{n:09}}', file=sys.{})"


def text(lines: int) -> bytes:
    return b"".join(b"%09d\n" % number for number in range(lines))


def plugin_that(code: str, *options: str) -> list[str]:
    """The plugin, with code of its own around ``main()``."""
    head = f"import atexit, logging, os, sys; sys.path.insert(0, {str(FOLDER)!r})\n"
    return [sys.executable, *options, "-c", head + "from printing import main\n" + code]


async def run(plugin: Client, code: str, *, where: str = "loop") -> None:
    key = f"{where} import os, subprocess, sys, threading\n{code}"
    await plugin.dispense("kv").Get(kv_pb2.GetRequest(key=key))


class Sink(io.RawIOBase):
    """Keeps what comes, and tells when there is enough of it."""

    def __init__(self) -> None:
        super().__init__()
        self.data = b""
        self._is_enough: asyncio.Event | None = None
        self._wanted = 0

    def write(self, data: Any, /) -> int:
        self.data += data
        if self._is_enough and len(self.data) >= self._wanted:
            self._loop.call_soon_threadsafe(self._is_enough.set)
        return len(data)

    async def until(self, count: int) -> bytes:
        """Waits until so much is there."""
        self._loop, self._wanted = asyncio.get_running_loop(), count
        self._is_enough = asyncio.Event()
        async with timeout(LIMIT):
            if len(self.data) < count:
                await self._is_enough.wait()
        return self.data


# From the plugin to the host


async def test_all_that_is_printed_comes_in_order() -> None:
    out, err = Sink(), Sink()
    async with client(PLUGIN, sync_stdout=out, sync_stderr=err) as plugin:
        await run(
            plugin,
            "print('a')\n"
            "os.write(1, b'b\\n')\n"
            "subprocess.run(['sh', '-c', 'echo c; echo d >&2'])\n"
            "print('e', file=sys.stderr)\n"
            "print('f')",
        )
        # It comes while the plugin runs.
        assert await out.until(8) == b"a\nb\nc\nf\n"
        assert await err.until(4) == b"d\ne\n"


@pytest.mark.parametrize("where", ["loop", "thread"])
@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
async def test_a_mebibyte_of_each_kind(where: str, auto_mtls: bool) -> None:
    out, err = io.BytesIO(), io.BytesIO()
    settings = {"auto_mtls": auto_mtls, "sync_stdout": out, "sync_stderr": err}
    async with client(PLUGIN, **settings) as plugin:
        code = TEXT.format(MIB // 10, "stdout") + "\n" + TEXT.format(MIB // 10, "stderr")
        await run(plugin, code, where=where)
    # kill() waits for the last of it.
    assert out.getvalue() == text(MIB // 10)
    assert err.getvalue() == text(MIB // 10)


async def test_a_storm_during_calls() -> None:
    out = io.BytesIO()
    async with client(PLUGIN, sync_stdout=out) as plugin, timeout(LIMIT):
        storm = asyncio.ensure_future(run(plugin, TEXT.format(300_000, "stdout"), where="thread"))
        for _ in range(200):
            await run(plugin, "")
        await storm
    assert out.getvalue() == text(300_000)


async def test_output_that_nobody_wants_holds_nobody_up() -> None:
    async with client(PLUGIN) as plugin, timeout(LIMIT):
        await run(plugin, TEXT.format(300_000, "stdout"), where="thread")
        await run(plugin, TEXT.format(300_000, "stderr"))


async def test_a_host_that_never_opens_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the loop prints goes on; a thread waits, until the plugin ends."""

    async def do_nothing(*_: Any) -> None:
        pass

    monkeypatch.setattr(stdio_module.StdioReader, "run", do_nothing)
    keep = Keep()
    async with client(PLUGIN, stderr_logger=new_logger(keep)) as plugin, timeout(LIMIT):
        await run(plugin, TEXT.format(200_000, "stdout"))
        waiting = "threading.Thread(target=lambda: os.write(1, bytes(2_000_000))).start()"
        await run(plugin, waiting)
        await run(plugin, "import logging; logging.warning('it still logs')")
        await keep.message("it still logs")
        await run(plugin, TEXT.format(200_000, "stderr"))
        await plugin.kill()
        assert plugin._runner is not None
        assert plugin._runner.exit_code == 0


async def test_what_no_newline_ended_comes_with_the_end() -> None:
    out = io.BytesIO()
    async with client(PLUGIN, sync_stdout=out) as plugin:
        await run(plugin, "print('one', end='')")
    assert out.getvalue() == b"one"


async def test_what_was_printed_before_the_handshake_comes_after_it() -> None:
    out = io.BytesIO()
    command = plugin_that("print('early'); main()")
    # Python keeps it, since stdout is a pipe.
    async with client(command, sync_stdout=out, env={"PYTHONUNBUFFERED": ""}) as plugin:
        await run(plugin, "print('late')")
    assert out.getvalue() == b"early\nlate\n"


@pytest.mark.parametrize(("agent", "most"), [("grpc-go/1.80.0", 1024), ("any", 16 * 1024)])
async def test_chunks_are_what_gos_are_where_the_host_is_go(
    agent: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def read(_: Any, channel: Any) -> None:
        nonlocal sizes
        stub = grpc_stdio_grpc.GRPCStdioStub(channel)
        async with stub.StreamStdio.open() as stream:
            await stream.send_message(empty_pb2.Empty(), end=True)
            async for message in stream:
                sizes += [len(message.data)]

    monkeypatch.setattr("pyplugin.net.grpc.channel.USER_AGENT", agent)
    monkeypatch.setattr(stdio_module.StdioReader, "run", read)
    async with client(PLUGIN) as plugin, timeout(LIMIT):
        await run(plugin, "os.write(1, bytes(100_000))", where="thread")
        await plugin.kill()
    assert (sum(sizes), max(sizes)) == (100_000, most)


# What is the log's


async def test_logging_keeps_the_real_stderr() -> None:
    keep, err = Keep(), io.BytesIO()
    command = plugin_that("logging.basicConfig(); main()")
    async with client(command, sync_stderr=err, stderr_logger=new_logger(keep)) as plugin:
        await run(plugin, "import logging; logging.warning('by a handler of its own')")
        await keep.message("WARNING:root:by a handler of its own")
    assert err.getvalue() == b""


async def test_an_exception_of_a_thread_is_logged() -> None:
    keep, err = Keep(), io.BytesIO()
    async with client(PLUGIN, sync_stderr=err, stderr_logger=new_logger(keep)) as plugin:
        await run(plugin, "threading.Thread(target=lambda: 1 / 0, name='worker').start()")
        await keep.message("worker ended with an exception")
        (record,) = keep.records.items
        assert record.levelname == "ERROR"
        assert "ZeroDivisionError" in str(vars(record)["fields"])
    assert err.getvalue() == b""


async def test_last_words_are_the_logs() -> None:
    keep, err = Keep(), io.BytesIO()
    command = plugin_that(
        "atexit.register(lambda: print('at exit', file=sys.stderr)); main(); raise KeyError('last')"
    )
    async with client(command, sync_stderr=err, stderr_logger=new_logger(keep)):
        pass
    assert keep.messages[-2:] == ["KeyError: 'last'", "at exit"]
    assert err.getvalue() == b""


async def test_a_fatal_error_is_the_logs() -> None:
    keep = Keep()
    command = plugin_that("main()", "-Xfaulthandler")
    async with client(command, stderr_logger=new_logger(keep)) as plugin:
        with pytest.raises(Exception, match="killed by SIGABRT"):
            await run(plugin, "os.abort()")
    assert "Fatal Python error: Aborted" in keep.messages


# In the host


class Raising(io.RawIOBase):
    """Cannot be written to."""

    def write(self, data: Any, /) -> int:
        raise OSError(28, "no space")


async def test_a_writer_that_raises_is_told_once_and_harms_nobody() -> None:
    keep, err = Keep(), Sink()
    settings = {"sync_stdout": Raising(), "sync_stderr": err, "logger": new_logger(keep)}
    async with client(PLUGIN, **settings) as plugin:
        for number in range(3):
            await run(plugin, "print('lost')\nprint('there', file=sys.stderr)")
            await err.until(6 * (number + 1))
    (error,) = [record for record in keep.records.items if record.levelname == "ERROR"]
    assert "plugin 'printing.py': sync_stdout: output is lost" in error.getMessage()
    assert "no space" in error.getMessage()
    assert err.data == b"there\n" * 3


async def test_a_writer_that_is_stuck_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(io.RawIOBase):
        def write(self, data: Any, /) -> int:
            go_on.wait()
            return len(data)

    monkeypatch.setattr(stdio_module, "_FINISH_TIMEOUT", 0.1)
    keep, go_on = Keep(), threading.Event()
    try:
        async with (
            timeout(LIMIT),
            client(PLUGIN, sync_stdout=Stuck(), logger=new_logger(keep)) as plugin,
        ):
            await run(plugin, TEXT.format(300_000, "stdout"))
            for _ in range(20):
                await run(plugin, "")
    finally:
        go_on.set()
    (error,) = [record for record in keep.records.items if record.levelname == "ERROR"]
    assert "sync_stdout: the last output is lost" in error.getMessage()


async def test_a_writer_may_take_a_part_and_lack_a_flush() -> None:
    class Slow:
        data = b""

        def write(self, data: bytes) -> int:
            self.data += data[:3]
            return len(data[:3])

    writer: Any = Slow()
    async with client(PLUGIN, sync_stdout=writer) as plugin:
        await run(plugin, "print('abcdefgh')")
    assert writer.data == b"abcdefgh\n"


async def test_a_plugin_without_the_service() -> None:
    keep = Keep()
    command = plugin_that(
        "from pyplugin.serving import stdio\n"
        "stdio.GRPCStdioServicer.__mapping__ = lambda self: {}\n"
        "main()"
    )
    async with client(command, logger=new_logger(keep), sync_stdout=Sink()) as plugin:
        await run(plugin, "")
    assert not [record for record in keep.records.items if record.levelno > 30]


def test_the_settings_are_named() -> None:
    assert not {"sync_stdout", "sync_stderr"} & set(ClientConfig.__match_args__)
