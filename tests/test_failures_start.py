"""Programs that do not become plugins, as docs/troubleshooting.md lists them: all is told."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import (
    AppProtocolMismatch,
    ChecksumMismatch,
    Client,
    CoreProtocolMismatch,
    HandshakeConfig,
    HandshakeError,
    PluginNotExecutable,
    PluginNotFound,
    ProcessExitedError,
    SecureConfig,
    StartTimeout,
    UnsupportedProtocol,
)
from tests.fixtures import PLUGIN, config, script
from tests.fixtures.failures import KV, assert_start_fails, assert_tells, writes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., list[str]]:
    """Makes a file called ``my-plugin``, and the command that runs it."""

    def make(content: bytes, mode: int = 0o700) -> list[str]:
        path = tmp_path / "my-plugin"
        path.write_bytes(content)
        path.chmod(mode)
        return [str(path)]

    return make


MINE = "plugin 'my-plugin'"


# The program cannot be run


async def test_no_such_file() -> None:
    await assert_start_fails(
        ["/no/such/my-plugin"],
        PluginNotFound,
        plugin=MINE,
        cause="'/no/such/my-plugin': No such file",
        remedy="Is the plugin installed, and the path right?",
    )


async def test_no_such_command() -> None:
    await assert_start_fails(
        ["no-such-plugin"],
        PluginNotFound,
        plugin="plugin 'no-such-plugin'",
        cause="There is no 'no-such-plugin' in the folders of PATH",
        remedy="give its whole path",
    )


async def test_not_executable(program: Any) -> None:
    await assert_start_fails(
        program(b"#!/bin/sh\n", 0o600),
        PluginNotExecutable,
        plugin=MINE,
        cause="is not executable",
        remedy="chmod +x it",
    )


async def test_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my-plugin"
    folder.mkdir()
    await assert_start_fails(
        [str(folder)],
        PluginNotExecutable,
        plugin=MINE,
        cause="is a folder, not a program",
        remedy="name the one in it",
    )


async def test_another_machine(program: Any) -> None:
    machine = 62 if os.uname().machine == "riscv64" else 243
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + bytes([2, 0, machine, 0])
    await assert_start_fails(
        program(header),
        HandshakeError,
        plugin=MINE,
        cause="was built for",
        remedy="install the one for this machine",
    )


async def test_an_empty_file(program: Any) -> None:
    await assert_start_fails(
        program(b""), HandshakeError, plugin=MINE, cause="is empty", remedy="install it anew"
    )


async def test_no_interpreter_line(program: Any) -> None:
    await assert_start_fails(
        program(b"print('hello')\n"),
        HandshakeError,
        plugin=MINE,
        cause="Exec format error",
        remedy="a script begins with #! and its interpreter",
    )


async def test_no_such_interpreter(program: Any) -> None:
    await assert_start_fails(
        program(b"#!/no/such/python\n"),
        PluginNotFound,
        plugin=MINE,
        cause="wants the interpreter '/no/such/python', which does not exist",
        remedy="install it, or change the first line",
    )


async def test_windows_line_ends(program: Any) -> None:
    await assert_start_fails(
        program(b"#!/bin/sh\r\n"),
        PluginNotFound,
        plugin=MINE,
        cause="has Windows line ends",
        remedy="with Unix ones",
    )


async def test_no_such_working_directory() -> None:
    await assert_start_fails(
        PLUGIN,
        PluginNotFound,
        cwd="/no/such/folder",
        plugin=KV,
        cause="its working directory '/no/such/folder' cannot be used: No such file",
        remedy="see `cwd`",
    )


async def test_another_file_than_the_checksums() -> None:
    await assert_start_fails(
        PLUGIN,
        ChecksumMismatch,
        secure_config=SecureConfig(checksum=bytes(32)),
        plugin=KV,
        cause="is not the one it should be: its sha256 is",
        remedy="install the right one, or correct secure_config",
    )


async def test_a_checksum_of_a_missing_file() -> None:
    await assert_start_fails(
        ["/no/such/my-plugin"],
        PluginNotFound,
        secure_config=SecureConfig(checksum=bytes(32)),
        plugin=MINE,
        cause="cannot be read for its checksum",
        remedy="Is the plugin installed, and the path right?",
    )


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
async def test_no_such_shared_library(tmp_path: Path) -> None:
    (tmp_path / "lib.c").write_text("int f(void) { return 0; }")
    (tmp_path / "main.c").write_text("int f(void); int main(void) { return f(); }")
    library, path = tmp_path / "libgone.so", tmp_path / "my-plugin"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "lib.c"], check=True)
    subprocess.run(["cc", "-o", path, tmp_path / "main.c", library], check=True)
    library.unlink()
    await assert_start_fails(
        [str(path)],
        ProcessExitedError,
        plugin=MINE,
        cause="libgone.so: cannot open shared object file",
        remedy="Install that library, or name its folder in LD_LIBRARY_PATH",
    )


async def test_no_such_python_module() -> None:
    await assert_start_fails(
        script("import no_such_module"),
        ProcessExitedError,
        cause="No module named 'no_such_module'",
        remedy="Install that module for the Python in `cmd`",
    )


# It says nothing, or the wrong thing


async def test_an_exit_with_last_words() -> None:
    await assert_start_fails(
        script("import sys; sys.exit('no license: buy one')"),
        ProcessExitedError,
        cause="exited with status 1.\nIts stderr ended with:\n  no license",
        remedy="buy one",
    )


async def test_an_exit_without_a_word() -> None:
    await assert_start_fails(
        script("raise SystemExit(3)"),
        ProcessExitedError,
        cause="it ended before it wrote a handshake\nIts process exited with status 3.",
        remedy="It wrote nothing to stderr: run it by hand to see why",
    )


async def test_a_death_by_signal() -> None:
    await assert_start_fails(
        script("import os; os.abort()"),
        ProcessExitedError,
        cause="was killed by SIGABRT",
        remedy="run it by hand to see why",
    )


async def test_another_magic_cookie() -> None:
    other = replace(config(), handshake_config=HandshakeConfig(1, "OTHER_PLUGIN", "x"))
    with pytest.raises(ProcessExitedError) as raised:
        await Client(other).start()
    cause, remedy = "This binary is a plugin", "Host and plugin must have the same magic cookie"
    assert_tells(raised.value, KV, cause, remedy)


async def test_garbage_on_stdout() -> None:
    await assert_start_fails(
        writes("Welcome!"),
        HandshakeError,
        cause="not a go-plugin handshake: expected at least 4 parts separated by '|', got 1 in \"W",
        remedy="a plugin must print nothing before its handshake",
    )


async def test_a_version_that_is_no_number() -> None:
    await assert_start_fails(
        writes("1|x|unix|/s|grpc|"),
        HandshakeError,
        cause='part 2 of the handshake (app protocol version) is not an integer: "x"',
        remedy="a plugin must print nothing before its handshake",
    )


async def test_silence() -> None:
    await assert_start_fails(
        script("import time; time.sleep(60)"),
        StartTimeout,
        start_timeout=0.3,
        cause="it wrote no handshake to its stdout within 0.3 s",
        remedy="it must call serve(), or plugin.Serve() in Go, or needs a longer start_timeout",
    )


async def test_a_closed_stdout() -> None:
    await assert_start_fails(
        script("import os, time; os.close(1); time.sleep(60)"),
        HandshakeError,
        cause="it wrote nothing, and closed its stdout",
        remedy="it must call serve(), or plugin.Serve() in Go",
    )


async def test_another_core_protocol() -> None:
    await assert_start_fails(
        writes("2|1|unix|/s|grpc|"),
        CoreProtocolMismatch,
        cause="speaks core protocol version 2, this host speaks 1",
        remedy="must be rebuilt with a go-plugin library of this core version",
    )


async def test_no_common_version() -> None:
    await assert_start_fails(
        writes("1|9|unix|/s|grpc|"),
        AppProtocolMismatch,
        cause="it speaks protocol version 9 of the application, this host 1",
        remedy="upgrade the older of the two",
    )


async def test_a_net_rpc_plugin() -> None:
    await assert_start_fails(
        writes("1|1|unix|/s|netrpc|"),
        UnsupportedProtocol,
        cause="it speaks 'netrpc', and only 'grpc' is supported",
        remedy="must set GRPCServer in its ServeConfig",
    )


async def test_an_unknown_network() -> None:
    await assert_start_fails(
        writes("1|1|udp|/s|grpc|"),
        HandshakeError,
        cause="its handshake names no usable address: unknown network 'udp'",
        remedy="expected 'unix' or 'tcp'",
    )


async def test_a_socket_path_that_is_too_long() -> None:
    await assert_start_fails(
        writes(f"1|1|unix|/{'x' * 120}|grpc|"),
        HandshakeError,
        cause="has 121 bytes, this system's limit is",
        remedy="set TMPDIR to a shorter folder",
    )


async def test_no_multiplexing() -> None:
    await assert_start_fails(
        writes("1|1|unix|/s|grpc|"),
        HandshakeError,
        grpc_broker_multiplex=True,
        cause="does not offer the multiplexing that this host asked for",
        remedy="update the plugin's go-plugin or pyplugin, or set grpc_broker_multiplex=False",
    )
