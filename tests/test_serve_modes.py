"""A plugin's process in the ways its author may serve it: the real one, from outside."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from grpclib.exceptions import GRPCError

from pyplugin import Client, HandshakeError, ReattachConfig
from tests.fixtures import client, config, is_alive, script
from tests.fixtures.authors import AuthorPlugin, Request
from tests.fixtures.logs import LIMIT, Keep, new_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

AUTHOR = [sys.executable, str(Path(__file__).parent / "fixtures" / "authors.py")]
LOOPS = ["asyncio", "uvloop"]


def author(**settings: Any) -> Client:
    return client(AUTHOR, plugins={"kv": AuthorPlugin()}, **settings)


async def test_serve_after_one_that_could_not() -> None:
    code = (
        "import os\n"
        "from pyplugin import HandshakeConfig, ServeConfig, serve\n"
        "config = ServeConfig(HandshakeConfig(1, 'BASIC_PLUGIN', 'hello'), {})\n"
        "os.environ['PLUGIN_MAX_PORT'] = '70000'\n"
        "try: serve(config)\n"
        "except SystemExit: os.environ['PLUGIN_MAX_PORT'] = '25000'\n"
        "serve(config)"
    )
    async with client(script(code)) as plugin:
        await plugin.ping()


# serve_async


@pytest.mark.parametrize("loop", LOOPS)
async def test_a_program_with_a_loop_of_its_own(loop: str, tmp_path: Path) -> None:
    file = tmp_path / "after"
    async with author(KV_HOW="async", KV_LOOP=loop, KV_FILE=file) as started:
        stub = started.dispense("kv")
        assert (await stub.Get(Request(key="x"))).value == str(started.pid).encode()
        assert (await stub.Unary(Request(key="x"))).value == b"x"
        assert not file.exists()
    assert await started.wait_exited() == 0
    # It went on once the host had asked it to end, with nothing of the plugin left.
    assert file.read_text() == "cancelled: False, tasks: 1"


async def test_its_host_still_ends_a_program_that_does_not_end(tmp_path: Path) -> None:
    file = tmp_path / "after"
    plugin = author(KV_HOW="async", KV_FILE=file, KV_LINGER=600, kill_timeout=1.0)
    async with plugin as started:
        pass
    # SIGTERM is the program's own again.
    assert await started.wait_exited() == -signal.SIGTERM
    assert file.read_text() == "cancelled: False, tasks: 1"


@pytest.mark.parametrize("loop", LOOPS)
async def test_signals_that_a_program_has_its_loop_handle(loop: str, tmp_path: Path) -> None:
    file = tmp_path / "after"
    settings = {"KV_HOW": "async", "KV_LOOP": loop, "KV_FILE": file, "KV_HANDLES_SIGNALS": 1}
    async with author(**settings, kill_timeout=LIMIT) as started:
        assert started.pid is not None
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(started.pid, number)
        await started.ping()
    assert await started.wait_exited() == 0
    assert file.read_text() == "cancelled: False, tasks: 1"


async def test_a_program_may_cancel_the_serving(tmp_path: Path) -> None:
    file = tmp_path / "after"
    async with author(KV_HOW="async", KV_FILE=file, KV_CANCEL=0.3) as started:
        assert await asyncio.wait_for(started.wait_exited(), LIMIT) == 0
        with pytest.raises(GRPCError):
            await started.ping()
    assert file.read_text() == "cancelled: True, tasks: 1"


# serve_dev


@contextlib.asynccontextmanager
async def dev(**variables: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A plugin that a developer started, and what it printed."""
    process = await asyncio.create_subprocess_exec(
        *AUTHOR,
        env={**os.environ, "KV_HOW": "dev", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), LIMIT)
        yield process, json.loads(line)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_plugin_that_a_developer_started(loop: str, number: signal.Signals) -> None:
    async with dev(KV_LOOP=loop) as (process, printed):
        assert printed == {
            "example.com/me/mine": {
                "Protocol": "grpc",
                "ProtocolVersion": 1,
                "Pid": process.pid,
                "Test": True,
                "Addr": {
                    "Network": "unix",
                    "String": printed["example.com/me/mine"]["Addr"]["String"],
                },
            }
        }
        reattach = ReattachConfig.from_go(printed["example.com/me/mine"])
        for _ in range(2):
            plugins = {"kv": AuthorPlugin()}
            settings = config(cmd=None, reattach=reattach, plugins=plugins)  # type: ignore[arg-type]
            settings.env = None
            async with Client(settings) as attached:
                reply = await attached.dispense("kv").Get(Request(key="x"))
                assert reply.value == str(process.pid).encode()
            # Its kill() has left it running.
            assert process.returncode is None
        process.send_signal(number)
        _, err = await asyncio.wait_for(process.communicate(), LIMIT)
        assert (process.returncode, err) == (0, b"")
        assert not Path(reattach.addr).exists()


async def test_a_developer_is_told_why_it_cannot_be_served() -> None:
    process = await asyncio.create_subprocess_exec(
        *AUTHOR,
        env={**os.environ, "KV_HOW": "dev", "TMPDIR": "/no/such/folder"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), LIMIT)
    assert (process.returncode, out) == (1, b"")
    assert b"OSError" in err.splitlines()[-1] or b"FileNotFoundError" in err.splitlines()[-1]
    assert b"/no/such/folder" in err.splitlines()[-1]


# on_shutdown


def messages(keep: Keep) -> list[str]:
    return [record.getMessage() for record in keep.records.items]


@pytest.mark.parametrize("loop", LOOPS)
async def test_on_shutdown_is_called_once_when_the_host_asks(loop: str) -> None:
    import io

    keep, sink = Keep(), io.BytesIO()
    plugin = author(
        KV_ON_SHUTDOWN="yes", KV_LOOP=loop, stderr_logger=new_logger(keep), sync_stdout=sink
    )
    async with plugin as started:
        call = asyncio.create_task(started.dispense("kv").Get(Request(key="sleep:60")))
        await started.ping()
    assert await started.wait_exited() == 0
    assert messages(keep) == ["on_shutdown was called", "on_shutdown has ended"]
    assert sink.getvalue() == b"printed at the end\n"
    with pytest.raises(GRPCError):
        await call


async def test_on_shutdown_is_called_at_sigterm() -> None:
    keep = Keep()
    async with author(KV_ON_SHUTDOWN="yes", stderr_logger=new_logger(keep)) as started:
        assert started.pid is not None
        os.kill(started.pid, signal.SIGTERM)
        assert await asyncio.wait_for(started.wait_exited(), LIMIT) == 0
    assert messages(keep) == ["on_shutdown was called", "on_shutdown has ended"]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("long", "on_shutdown did not end within 0.1 s: see shutdown_grace"),
        ("raise", "on_shutdown raised"),
    ],
)
async def test_on_shutdown_that_fails(what: str, message: str) -> None:
    keep = Keep()
    async with author(KV_ON_SHUTDOWN=what, KV_GRACE=0.1, stderr_logger=new_logger(keep)) as started:
        pass
    assert await started.wait_exited() == 0
    assert messages(keep) == ["on_shutdown was called", message]


# Methods that block


async def test_a_process_ends_although_a_method_blocks_for_ever() -> None:
    async with author(kill_timeout=5.0) as started:
        stub = started.dispense("kv")
        calls = [asyncio.create_task(stub.Unary(Request(key="block"))) for _ in range(20)]
        await started.ping()
        assert (await stub.Unary(Request(key="x"))).value == b"x"
    # By itself, not by a signal.
    assert await started.wait_exited() == 0
    assert all(
        isinstance(end, GRPCError) for end in await asyncio.gather(*calls, return_exceptions=True)
    )


# The handshake comes first


async def test_what_is_printed_before_the_handshake_is_warned_of() -> None:
    import io

    keep, sink = Keep(), io.BytesIO()
    plugin = author(
        KV_PRINT="hello\n", PYTHONUNBUFFERED="", stderr_logger=new_logger(keep), sync_stdout=sink
    )
    async with plugin as started:
        await started.ping()
    (message,) = messages(keep)
    assert message.startswith("this plugin printed to stdout before its handshake: 'hello\\n'.")
    assert sink.getvalue() == b"hello\n"


@pytest.mark.parametrize("text", ["hello ", "hello\n"])
async def test_what_is_written_before_the_handshake_fails_the_start(text: str) -> None:
    plugin = author(KV_WRITE=text, PYTHONUNBUFFERED="1")
    with pytest.raises(HandshakeError, match="must print nothing before its handshake"):
        await plugin.start()
    await plugin.kill()


@pytest.mark.parametrize("loop", LOOPS)
async def test_what_the_host_has_not_read_yet_is_warned_of(loop: str, tmp_path: Path) -> None:
    variables = {"BASIC_PLUGIN": "hello", "KV_WRITE": "hello\n", "KV_LOOP": loop}
    read_end, write_end = os.pipe()
    error = (tmp_path / "stderr").open("wb")
    with error:
        process = await asyncio.create_subprocess_exec(
            *AUTHOR, env={**os.environ, **variables}, stdout=write_end, stderr=error
        )
    os.close(write_end)
    try:
        # The plugin has written it all before anybody reads.
        os.set_blocking(read_end, True)
        while not (written := (tmp_path / "stderr").read_bytes()).endswith(b"\n"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert os.read(read_end, 6) == b"hello\n"
    finally:
        os.close(read_end)
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
    entry = json.loads(written.splitlines()[0])
    assert (entry["@level"], entry["@message"][:40]) == (
        "warn",
        "6 bytes were written to stdout before th",
    )
    assert not is_alive(process.pid)
