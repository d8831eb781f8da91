"""The life of a plugin, as its host sees it: against a real Python plugin in a real process."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import (
    AppProtocolMismatch,
    Client,
    ClientConfig,
    CoreProtocolMismatch,
    HandshakeError,
    PluginCrashed,
    PluginNotExecutable,
    PluginNotFound,
    ProcessExitedError,
    ReattachConfig,
    StartTimeout,
    TLSError,
    UnsupportedProtocol,
)
from tests.fixtures import HANDSHAKE, PLUGIN, KVPlugin, client, is_alive, script

if TYPE_CHECKING:
    from pathlib import Path

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
NETWORK = pytest.mark.parametrize("settings", [{}, {"KV_TCP": 1}], ids=["unix", "tcp"])


async def get(kv: Any, key: str, **options: Any) -> bytes:
    reply = await kv.Get(kv_pb2.GetRequest(key=key), **options)
    value: bytes = reply.value
    return value


# Starting and ending


@TLS
@NETWORK
async def test_a_plugin_is_started_called_and_ended(
    settings: dict[str, Any], auto_mtls: bool
) -> None:
    async with client(auto_mtls=auto_mtls, **settings) as plugin:
        kv = plugin.dispense("kv")
        await kv.Put(kv_pb2.PutRequest(key="k", value=b"v"))
        assert await get(kv, "k") == b"v"
        assert plugin.pid is not None
        assert is_alive(plugin.pid)
        assert plugin.negotiated_version == 1
    assert not is_alive(plugin.pid)


async def test_kill_ends_a_plugin_by_shutdown_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with client():
        pass
    assert "SIGTERM" not in caplog.text


async def test_start_and_kill_may_be_called_again() -> None:
    plugin = client()
    await asyncio.gather(plugin.start(), plugin.start())
    pid = plugin.pid
    await plugin.start()
    assert plugin.pid == pid
    await asyncio.gather(plugin.kill(), plugin.kill())
    await plugin.kill()


@TLS
async def test_a_start_is_known_by_its_line_and_its_phases(auto_mtls: bool) -> None:
    plugin = client(auto_mtls=auto_mtls)
    assert plugin.handshake_line is None
    assert plugin.start_times == {}
    async with plugin:
        assert plugin.handshake_line is not None
        core, version, network, address, protocol, cert = plugin.handshake_line.split("|")
        assert (core, version, network, protocol) == ("1", "1", "unix", "grpc")
        reattach = plugin.reattach_config()
        assert reattach is not None
        assert reattach.addr == address
        assert bool(cert) is auto_mtls
    names, times = zip(*plugin.start_times.items(), strict=True)
    assert names == ("process", "handshake", "connection", "health")
    assert list(times) == sorted(times)
    assert times[0] > 0


async def test_a_failed_start_is_known_as_far_as_it_came() -> None:
    plugin = client(script("print('2|1|unix|/x|grpc')"))
    with pytest.raises(CoreProtocolMismatch):
        await plugin.start()
    assert plugin.handshake_line == "2|1|unix|/x|grpc"
    assert list(plugin.start_times) == ["process"]
    plugin = client(script(""))
    with pytest.raises(ProcessExitedError):
        await plugin.start()
    assert plugin.handshake_line is None


async def test_a_killed_client_is_not_started_again() -> None:
    plugin = client()
    await plugin.kill()
    with pytest.raises(RuntimeError, match="was killed"):
        await plugin.start()


async def test_nothing_is_dispensed_before_start_and_after_kill() -> None:
    plugin = client()
    with pytest.raises(RuntimeError, match="was not started"):
        plugin.dispense("kv")
    with pytest.raises(RuntimeError, match="was not started"):
        _ = plugin.broker
    await plugin.start()
    with pytest.raises(KeyError, match=r"'other'.*it has: 'kv'"):
        plugin.dispense("other")
    await plugin.kill()
    with pytest.raises(RuntimeError, match="was killed"):
        plugin.dispense("kv")


async def test_a_stub_of_a_killed_client_says_so_at_once() -> None:
    async with client() as plugin:
        kv = plugin.dispense("kv")
    with pytest.raises(GRPCError, match="closed") as raised:
        await get(kv, "k")
    assert raised.value.status is Status.UNAVAILABLE


async def test_a_plugin_that_ignores_shutdown_gets_sigterm(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client(kill_timeout=2, KV_IGNORE_SHUTDOWN=1) as plugin:
        pid = plugin.pid
    assert "sending SIGTERM" in caplog.text
    assert "SIGKILL" not in caplog.text
    assert pid is not None
    assert not is_alive(pid)


async def test_a_plugin_that_ignores_everything_is_killed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client(kill_timeout=0.2, KV_IGNORE_SHUTDOWN=1, KV_IGNORE_SIGTERM=1) as plugin:
        pid = plugin.pid
    assert "sending SIGKILL" in caplog.text
    assert pid is not None
    assert not is_alive(pid)


async def test_a_handler_that_blocks_its_plugin_does_not_block_the_host() -> None:
    plugin = client(kill_timeout=0.2)
    await plugin.start()
    with pytest.raises(GRPCError) as raised:
        async with plugin.dispense("kv").Get.open() as blocking:
            await blocking.send_message(kv_pb2.GetRequest(key="block:60000"))
            with pytest.raises(asyncio.TimeoutError):
                await get(plugin.dispense("kv"), "k", timeout=0.1)
            await plugin.kill()
            await blocking.recv_message()
    assert raised.value.status is Status.UNAVAILABLE


async def test_a_cancelled_kill_still_ends_the_plugin() -> None:
    plugin = client(kill_timeout=0.2, KV_IGNORE_SHUTDOWN=1)
    await plugin.start()
    pid = plugin.pid
    assert pid is not None
    kill = asyncio.ensure_future(plugin.kill())
    await asyncio.sleep(0)
    kill.cancel()
    with pytest.raises(asyncio.CancelledError):
        await kill
    await plugin.kill()
    assert not is_alive(pid)


@pytest.mark.parametrize("answer", ["nothing", "garbage"])
async def test_a_senseless_answer_to_shutdown_spares_no_plugin(answer: str) -> None:
    code = f"""
import runpy
from grpclib.const import Cardinality, Handler
from pyplugin._generated.grpc_controller_pb2 import Empty
from pyplugin.controller import GRPCControllerServicer
class Garbage:
    def SerializeToString(self):
        return b"\\xff" * 3
async def shutdown(stream):
    await stream.recv_message()
    if {answer!r} == "garbage":
        await stream.send_message(Garbage())
    else:
        await stream.send_initial_metadata()
        stream._send_message_done = True
GRPCControllerServicer.__mapping__ = lambda self: {{
    "/plugin.GRPCController/Shutdown": Handler(
        shutdown, Cardinality.UNARY_UNARY, Empty, Garbage
    )
}}
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client(script(code), kill_timeout=0.2) as plugin:
        pid = plugin.pid
    assert pid is not None
    assert not is_alive(pid)


async def test_a_wrapper_and_what_it_started_end_together() -> None:
    shell = ["sh", "-c", f"{sys.executable} {PLUGIN[1]}; true"]
    async with client(shell, kill_timeout=0.2, KV_IGNORE_SHUTDOWN=1) as plugin:
        assert await get(plugin.dispense("kv"), "cwd")


async def test_fifty_plugins_live_at_once() -> None:
    plugins = [client() for _ in range(50)]
    try:
        await asyncio.gather(*(plugin.start() for plugin in plugins))
        values = await asyncio.gather(*(get(p.dispense("kv"), "bytes:1000") for p in plugins))
        assert values == [bytes(1000)] * 50
        assert len({plugin.pid for plugin in plugins}) == 50
    finally:
        await asyncio.gather(*(plugin.kill() for plugin in plugins))


# What the plugin gets


async def test_the_plugin_gets_environment_and_folder(tmp_path: Path) -> None:
    async with client(cwd=str(tmp_path), env={"GIVEN": "this"}) as plugin:
        kv = plugin.dispense("kv")
        assert await get(kv, "env:GIVEN") == b"this"
        assert await get(kv, "env:HOME") == os.environ.get("HOME", "").encode()
        assert await get(kv, "cwd") == str(tmp_path).encode()


async def test_the_host_environment_can_be_kept_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_HOST", "secret")
    async with client(skip_host_env=True, env={"PATH": os.environ["PATH"]}) as plugin:
        assert await get(plugin.dispense("kv"), "env:OF_THE_HOST") == b""


async def test_a_plugin_listens_in_the_range_of_ports_it_is_given() -> None:
    async with client(min_port=21450, max_port=21469, KV_TCP=1) as plugin:
        config = plugin.reattach_config()
        assert config is not None
        host, _, port = config.addr.rpartition(":")
        assert (config.network, host) == ("tcp", "127.0.0.1")
        assert 21450 <= int(port) <= 21469
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


async def test_a_host_that_is_a_plugin_hands_on_no_certificate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLUGIN_CLIENT_CERT", "of the outer host")
    monkeypatch.setenv("PLUGIN_MULTIPLEX_GRPC", "true")
    async with client() as plugin:
        assert await get(plugin.dispense("kv"), "env:PLUGIN_CLIENT_CERT") == b""
        assert await get(plugin.dispense("kv"), "env:PLUGIN_MULTIPLEX_GRPC") == b""


async def test_the_highest_common_version_is_chosen() -> None:
    plugins = {1: {"old": KVPlugin()}, 3: {"kv": KVPlugin()}, 4: {"new": KVPlugin()}}
    async with client(plugins=plugins, KV_VERSIONS="1,3,5") as plugin:
        assert plugin.negotiated_version == 3
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"
        with pytest.raises(KeyError):
            plugin.dispense("old")


# Logs and output


async def test_stderr_goes_to_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("of.the.host")
    code = (
        "import sys; print('plain', file=sys.stderr);"
        """print('{"@level":"warn","@message":"m","@module":"mod","n":1}', file=sys.stderr)"""
    )
    with caplog.at_level(logging.DEBUG), pytest.raises(ProcessExitedError):
        await client(script(code), logger=logger).start()
    plain, entry = (r for r in caplog.records if r.name == "of.the.host.stderr")
    assert (plain.levelname, plain.getMessage()) == ("INFO", "plain")
    assert (entry.levelname, entry.getMessage()) == ("WARNING", "m")
    assert vars(entry)["plugin"] == "mod"
    assert vars(entry)["fields"] == {"n": 1}


async def test_an_exception_of_a_handler_is_one_record_and_a_status(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client() as plugin:
        with pytest.raises(GRPCError) as raised:
            await get(plugin.dispense("kv"), "raise:the disk is full")
    assert raised.value.status is Status.UNKNOWN
    assert raised.value.message == "RuntimeError: the disk is full"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert errors[0].getMessage() == "/proto.KV/Get raised"
    assert "RuntimeError: the disk is full" in vars(errors[0])["fields"]["stacktrace"]


async def test_a_handler_that_forgets_to_answer_is_named() -> None:
    async with client() as plugin:
        with pytest.raises(GRPCError, match=r"/proto\.KV/Get returned without"):
            await get(plugin.dispense("kv"), "no-answer")


async def test_a_megabyte_on_stdout_after_the_handshake_blocks_nothing() -> None:
    async with client() as plugin:
        assert await get(plugin.dispense("kv"), f"print:{2**20}") == b"print"


async def test_a_logging_handler_that_raises_loses_only_its_line() -> None:
    lines: list[str] = []
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    class Raising(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage() == "bad":
                raise ValueError("of the handler")
            lines.append(record.getMessage())

    logger = logging.Logger("raising")
    logger.addHandler(Raising())
    with pytest.raises(ProcessExitedError):
        code = "import os; os.write(2, b'bad\\ngood\\n')"
        await client(script(code), stderr_logger=logger).start()
    assert lines == ["good"]
    assert [str(problem["exception"]) for problem in problems] == ["of the handler"]


# Starts that fail


async def failed_start(cmd: list[str], **settings: Any) -> Any:
    """The error of a start that must fail."""
    plugin = client(cmd, **settings)
    with pytest.raises(Exception) as raised:
        await plugin.start()
    with pytest.raises(RuntimeError):
        plugin.dispense("kv")
    return raised.value


async def test_a_missing_program() -> None:
    error = await failed_start(["/no/such/plugin"])
    assert isinstance(error, PluginNotFound)
    assert "plugin 'plugin'" in str(error)
    assert "'/no/such/plugin'" in str(error)
    assert error.exit_code is None


async def test_a_program_not_in_path() -> None:
    error = await failed_start(["no-such-plugin-anywhere"])
    assert isinstance(error, PluginNotFound)
    assert "PATH" in str(error)


async def test_a_file_that_is_not_executable(tmp_path: Path) -> None:
    path = tmp_path / "plugin"
    path.write_text("#!/bin/sh\n")
    error = await failed_start([str(path)])
    assert isinstance(error, PluginNotExecutable)
    assert "chmod +x" in str(error)


async def test_a_program_of_another_architecture(tmp_path: Path) -> None:
    path = tmp_path / "plugin"
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little")
    path.write_bytes(
        header + (243 if os.uname().machine != "riscv64" else 62).to_bytes(2, "little")
    )
    path.chmod(0o700)
    error = await failed_start([str(path)])
    assert isinstance(error, HandshakeError)
    assert "was built for" in str(error)


async def test_a_missing_working_directory() -> None:
    error = await failed_start(script(""), cwd="/no/such/folder")
    assert isinstance(error, PluginNotFound)
    assert "working directory '/no/such/folder'" in str(error)


async def test_garbage_before_the_handshake() -> None:
    error = await failed_start(script("print('Welcome!'); print('1|1|unix|/s|grpc|')"))
    assert isinstance(error, HandshakeError)
    assert "'Welcome!'" in str(error) or '"Welcome!"' in str(error)
    assert "print nothing before its handshake" in str(error)
    assert error.stdout_head.startswith(b"Welcome!\n")
    assert error.plugin is not None


async def test_binary_garbage_and_an_endless_line() -> None:
    error = await failed_start(
        script("import os\nwhile True: os.write(1, bytes(range(128, 256)) * 500)")
    )
    assert isinstance(error, HandshakeError)
    assert len(str(error)) < 10_000


async def test_an_exit_before_the_handshake() -> None:
    error = await failed_start(
        script("import sys; print('no license', file=sys.stderr); sys.exit(3)")
    )
    assert isinstance(error, ProcessExitedError)
    assert error.exit_code == 3
    assert error.stderr_tail == (b"no license",)
    assert "exited with status 3" in str(error)
    assert "no license" in str(error)


async def test_a_death_by_signal_before_the_handshake() -> None:
    error = await failed_start(script("import os; os.abort()"))
    assert isinstance(error, ProcessExitedError)
    assert error.exit_code == -signal.SIGABRT
    assert "was killed by SIGABRT" in str(error)


async def test_a_crash_on_a_partial_line() -> None:
    error = await failed_start(script("import os; os.write(1, b'1|1|un'); os._exit(4)"))
    assert isinstance(error, HandshakeError)
    assert error.exit_code == 4
    assert error.stdout_head == b"1|1|un"


async def test_silence() -> None:
    error = await failed_start(script("import time; time.sleep(60)"), start_timeout=0.3)
    assert isinstance(error, StartTimeout)
    assert "no handshake to its stdout within 0.3 s" in str(error)
    assert error.exit_code is None


async def test_a_closed_stdout() -> None:
    error = await failed_start(script("import os, time; os.close(1); time.sleep(60)"))
    assert isinstance(error, HandshakeError)
    assert "closed its stdout" in str(error)


async def test_a_zombie_of_a_plugin_that_never_answers(tmp_path: Path) -> None:
    path = tmp_path / "s"
    code = (
        f"import socket, time; s = socket.socket(socket.AF_UNIX); s.bind({str(path)!r});"
        f"s.listen(); print('1|1|unix|{path}|grpc|'); time.sleep(60)"
    )
    error = await failed_start(script(code), start_timeout=3)
    assert isinstance(error, StartTimeout)
    assert "did not answer a health check" in str(error)


@pytest.mark.parametrize(
    ("line", "kind", "text"),
    [
        ("2|1|unix|/s|grpc|", CoreProtocolMismatch, "core protocol version 2"),
        ("1|9|unix|/s|grpc|", AppProtocolMismatch, "version 9 of the application"),
        ("1|x|unix|/s|grpc|", HandshakeError, 'part 2 .*"x"'),
        ("1|1|unix|/s", UnsupportedProtocol, "'netrpc'"),
        ("1|1|unix|/s|netrpc|", UnsupportedProtocol, "'netrpc'"),
        ("1|1|udp|/s|grpc|", HandshakeError, "unknown network 'udp'"),
        ("1|1|tcp|localhost|grpc|", HandshakeError, "'localhost' is no TCP address"),
        ("1|1|tcp|localhost:99999|grpc|", HandshakeError, "no TCP address"),
        ("1|1|unix||grpc|", HandshakeError, "no path of a unix socket"),
        (f"1|1|unix|/{'x' * 120}|grpc|", HandshakeError, "121 bytes, this system's limit is"),
        (f"1|1|unix|/s|grpc|{'A' * 64}", TLSError, "did not ask for"),
        ("", HandshakeError, "an empty line"),
    ],
)
async def test_a_handshake_that_is_refused(line: str, kind: type[Exception], text: str) -> None:
    error = await failed_start(script(f"import time; print({line!r}); time.sleep(60)"))
    assert type(error) is kind
    assert re.search(text, str(error)), str(error)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("1|1|unix|/s|grpc|", "offers no certificate.*auto_mtls=False"),
        (f"1|1|unix|/s|grpc|{'!' * 64}", "no base64"),
        (f"1|1|unix|/s|grpc|{'A' * 64}", "the peer's certificate cannot be read"),
    ],
)
async def test_a_handshake_without_a_usable_certificate(line: str, text: str) -> None:
    error = await failed_start(
        script(f"import time; print({line!r}); time.sleep(60)"), auto_mtls=True
    )
    assert isinstance(error, TLSError)
    assert re.search(text, str(error)), str(error)


async def test_an_end_right_after_the_handshake() -> None:
    error = await failed_start(script("print('1|1|unix|/no/such/socket|grpc|')"))
    assert isinstance(error, ProcessExitedError)
    assert "right after its handshake" in str(error)
    assert error.exit_code == 0


async def test_a_handshake_before_the_socket_listens(tmp_path: Path) -> None:
    """Not every plugin listens before it writes its line: this one is a tenth of a second late."""
    path = tmp_path / "s"
    code = f"""
import os, runpy, threading
real_write = os.write
def write(descriptor, data):
    if descriptor != 1:
        return real_write(descriptor, data)
    parts = data.split(b"|")
    threading.Timer(0.1, os.link, [parts[3], {str(path)!r}]).start()
    parts[3] = {str(path).encode()!r}
    real_write(1, b"|".join(parts))
    return len(data)
os.write = write
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client(script(code)) as plugin:
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


async def test_a_cancelled_start_leaves_nothing() -> None:
    plugin = client(script("import time; time.sleep(60)"))
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    pid = plugin.pid
    assert pid is not None
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert not is_alive(pid)


async def test_a_start_that_is_cancelled_twice_does_not_spoil_the_next(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = (
        f"import os, runpy, time\n"
        f"if not os.path.exists({str(flag)!r}): time.sleep(60)\n"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')"
    )
    plugin = client(script(code))
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    start.cancel()
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    flag.touch()
    async with plugin:
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


async def test_an_interpreter_whose_name_is_too_long_for_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plugin"
    path.write_bytes(b"#!/" + b"a" * 3000)
    path.chmod(0o700)
    with pytest.raises(HandshakeError, match=r"aaa', which does not exist: install it"):
        await client([str(path)]).start()


async def test_a_second_start_knows_nothing_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "plugin"
    path.write_text("#!/bin/sh\necho first failure >&2; exit 3\n")
    path.chmod(0o700)
    plugin = client([str(path)])
    with pytest.raises(ProcessExitedError, match="first failure"):
        await plugin.start()
    path.unlink()
    with pytest.raises(PluginNotFound) as raised:
        await plugin.start()
    assert "first failure" not in str(raised.value)
    assert raised.value.exit_code is None


async def test_kill_ends_a_start_under_way() -> None:
    plugin = client(script("import time; time.sleep(60)"))
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    assert plugin.pid is not None
    await plugin.kill()
    with pytest.raises(ProcessExitedError, match=r"kill\(\) ended it"):
        await start


async def test_a_failed_start_can_be_tried_again(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    code = (
        f"import os, runpy, sys\n"
        f"if not os.path.exists({str(flag)!r}): sys.exit(1)\n"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')"
    )
    plugin = client(script(code))
    with pytest.raises(ProcessExitedError):
        await plugin.start()
    flag.touch()
    async with plugin:
        assert await get(plugin.dispense("kv"), "bytes:1") == b"\0"


# Plugins that die


@TLS
@pytest.mark.parametrize(
    ("key", "code", "words"),
    [
        ("exit", 7, "exited with status 7"),
        ("stderr-exit", 9, "three"),
        ("abort", -6, "was killed by SIGABRT"),
    ],
)
async def test_a_crash_during_a_call(auto_mtls: bool, key: str, code: int, words: str) -> None:
    async with client(auto_mtls=auto_mtls) as plugin:
        kv = plugin.dispense("kv")
        with pytest.raises(PluginCrashed, match=words) as raised:
            await get(kv, key)
        error = raised.value
        assert isinstance(error, GRPCError)
        assert error.status is Status.UNAVAILABLE
        assert error.exit_code == code
        assert error.plugin == "plugin.py"
        assert (b"three" in error.stderr_tail) == (key == "stderr-exit")
        with pytest.raises(PluginCrashed, match=str(plugin.pid)) as raised:
            await get(kv, "k")
        assert raised.value.exit_code == code


async def test_every_call_in_flight_hears_of_a_crash() -> None:
    async with client() as plugin:
        kv = plugin.dispense("kv")
        calls = [asyncio.ensure_future(get(kv, "sleep:60000")) for _ in range(20)]
        await asyncio.sleep(0)
        await get(kv, "bytes:1")
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in errors} == {PluginCrashed}
    assert {getattr(error, "exit_code", None) for error in errors} == {-signal.SIGKILL}


async def test_killing_a_plugin_that_is_dead_is_quick_and_quiet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with client(kill_timeout=60) as plugin:
        with pytest.raises(PluginCrashed):
            await get(plugin.dispense("kv"), "exit")
    assert "SIGTERM" not in caplog.text


# Reattaching


def reattach(config: ReattachConfig | None, **settings: Any) -> Client:
    return Client(
        ClientConfig(
            handshake_config=HANDSHAKE, plugins={"kv": KVPlugin()}, reattach=config, **settings
        )
    )


@TLS
async def test_a_second_host_attaches(auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as first:
        await first.dispense("kv").Put(kv_pb2.PutRequest(key="k", value=b"v"))
        config = first.reattach_config()
        assert config is not None
        async with reattach(config) as second:
            assert second.pid == first.pid
            assert second.reattach_config() == config
            assert await get(second.dispense("kv"), "k") == b"v"


async def test_a_test_plugin_outlives_the_host_that_attached() -> None:
    async with client() as first:
        config = first.reattach_config()
        assert config is not None
        settings = {**vars(config), "test": True}
        async with reattach(ReattachConfig(**settings)) as second:
            assert await get(second.dispense("kv"), "bytes:1") == b"\0"
        assert await get(first.dispense("kv"), "bytes:1") == b"\0"


async def test_attaching_under_tls_needs_the_first_hosts_key() -> None:
    async with client(auto_mtls=True) as first:
        config = first.reattach_config()
        assert config is not None
        assert "PRIVATE" not in repr(config)
        settings = {**vars(config), "client_key_pem": None}
        with pytest.raises(TLSError, match="lacks the certificate and key"):
            await reattach(ReattachConfig(**settings)).start()


async def test_attaching_to_nothing() -> None:
    with pytest.raises(HandshakeError, match="nothing listens"):
        await reattach(ReattachConfig(pid=1, addr="/no/such/socket"), start_timeout=5).start()


@pytest.mark.parametrize("settings", [{}, {"cmd": ["x"], "reattach": ReattachConfig(1, "/s")}])
def test_exactly_one_way_to_a_plugin(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        Client(ClientConfig(handshake_config=HANDSHAKE, plugins={}, **settings))
