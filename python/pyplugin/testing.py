"""Helps to test plugins: host and plugin in one process, and a check for what a test leaves.

It knows no test framework; the fixtures that pytest gets are in ``pyplugin.pytest_plugin``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .client import Client
from .handshake import HandshakeConfig
from .host.config import ClientConfig
from .net.tasks import TaskScope
from .server import serve_async
from .serving.config import ServeConfig, ServeTestConfig

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Iterator

    from .host.runner import PluginCommand
    from .plugin import PluginSet, VersionedPlugins

__all__ = ["no_leaked_tasks", "no_leaks", "plugin_pair", "temporary_folder"]

_HANDSHAKE = HandshakeConfig(1, "PYPLUGIN_PAIR", "a host and its plugin in one process")


@contextlib.asynccontextmanager
async def plugin_pair(
    plugins: PluginSet | VersionedPlugins,
    *,
    handshake_config: HandshakeConfig = _HANDSHAKE,
    tls: bool = True,
    multiplex: bool = False,
    force_tcp: bool = False,
) -> AsyncIterator[Client]:
    """A host and its plugin in this process, over a real socket.

    The plugin is started, found well and ended as one with a process of its own: handshake, choice
    of the version, AutoMTLS, broker and Shutdown are the real ones. It shares the event loop, the
    memory and ``logging`` with the host, and what it prints goes where prints of the process go.

    Args:
        plugins: What both sides have: plugins by name, or plugin sets by protocol version.
        handshake_config: The handshake of both.
        tls: Mutual TLS, as ``ClientConfig.auto_mtls``.
        multiplex: One connection for everything, as ``ClientConfig.grpc_broker_multiplex``.
        force_tcp: TCP where unix sockets are to be had too.

    Returns:
        The host's client, started; it is killed at the end of the block.

    Raises:
        PyPluginError: As ``Client.start()``.
    """

    def run(logger: logging.Logger, command: PluginCommand, folder: str) -> _Served:
        test = ServeTestConfig(environment=command.env)
        serve = ServeConfig(handshake_config, plugins, force_tcp=force_tcp, test=test)
        return _Served(serve, test, logger)

    config = ClientConfig(
        handshake_config,
        plugins,
        auto_mtls=tls,
        grpc_broker_multiplex=multiplex,
        runner_func=run,
    )
    async with Client(config) as client:
        yield client


class _Served:
    """A ``Runner`` whose plugin is a task of this process."""

    name = id = "in this process"
    stdout: BinaryIO
    stderr: BinaryIO

    def __init__(self, config: ServeConfig, test: ServeTestConfig, logger: logging.Logger) -> None:
        self._config = config
        self._test = test
        self._tasks = TaskScope("pair", logger)
        self._serving: asyncio.Task[None] | None = None
        # The plugin's ends of its pipes.
        self._pipes = contextlib.ExitStack()

    async def start(self) -> None:
        self._serving = self._tasks.spawn(serve_async(self._config), "serve")
        await self._test.reattach_config()
        self.stdout, written = self._pipe()
        self.stderr, _ = self._pipe()
        os.write(written, os.fsencode(self._test.handshake + "\n"))

    async def wait(self) -> int | None:
        assert self._serving is not None
        await asyncio.wait([self._serving])
        self._pipes.close()
        return 0

    async def kill(self) -> None:
        await self._tasks.aclose()

    async def diagnose(self) -> str:
        return ""

    def plugin_to_host(self, network: str, address: str) -> tuple[str, str]:
        return network, address

    def host_to_plugin(self, network: str, address: str) -> tuple[str, str]:
        return network, address

    def _pipe(self) -> tuple[BinaryIO, int]:
        read, write = os.pipe()
        self._pipes.callback(os.close, write)
        return os.fdopen(read, "rb", buffering=0), write


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A temporary folder that is the process's TMPDIR until the end of the block.

    What is made in the temporary folder meanwhile is seen in it, and goes with it. Its path is
    short enough for those of unix sockets.
    """
    parent = None if sys.platform == "win32" else "/tmp"  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="pt-", dir=parent) as folder:
        variable, default = os.environ.get("TMPDIR"), tempfile.tempdir
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = default
            del os.environ["TMPDIR"]
            if variable is not None:
                os.environ["TMPDIR"] = variable


@contextlib.contextmanager
def no_leaks(folder: Path) -> Iterator[None]:
    """Looks at the end of the block, which no event loop runs, for what it left behind.

    Processes and descriptors are seen on Linux. What pytest makes in the folder does not count.

    Args:
        folder: Where no file is to be left: that of ``temporary_folder()``.

    Raises:
        AssertionError: A process, a descriptor or a file is left.
    """
    if "uvloop" in sys.modules:
        _open_what_uvloop_keeps()
    files, descriptors, children = _files(folder), _descriptors(), _children()
    yield
    gc.collect()
    for what, left in (
        ("files left behind", _files(folder) - files),
        ("processes left behind", _children() - children),
        ("descriptors left open", _descriptors() - descriptors),
    ):
        if left:
            raise AssertionError(f"{what}: {', '.join(sorted(left))}")


@contextlib.asynccontextmanager
async def no_leaked_tasks() -> AsyncIterator[None]:
    """Looks at the end of the block for tasks that it left pending.

    Raises:
        AssertionError: A task is left.
    """
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    # anyio has a task of its own that waits for the one that runs a fixture.
    names = [repr(task) for task in left if "coro=<TestRunner." not in repr(task)]
    if names:
        raise AssertionError(f"tasks left pending: {', '.join(names)}")


@functools.cache
def _open_what_uvloop_keeps() -> None:
    """The first loop of libuv opens descriptors that it keeps for the life of the process."""
    import uvloop

    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.closing(uvloop.new_event_loop()) as loop,
    ):
        server = loop.run_until_complete(
            loop.create_unix_server(asyncio.Protocol, f"{folder}/warm-up")
        )
        server.close()
        loop.run_until_complete(server.wait_closed())


def _files(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir() if not entry.name.startswith("pytest-of-")}


def _children() -> set[str]:
    try:
        tasks = Path("/proc/self/task").iterdir()
        return {child for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return set()


def _descriptors() -> set[str]:
    found = set()
    try:
        for entry in Path("/proc/self/fd").iterdir():
            try:
                found.add(f"{entry.name}: {entry.readlink()}")
            except OSError:
                continue
    except OSError:
        return set()
    return found
