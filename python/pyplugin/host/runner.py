"""Plugins that run elsewhere than in a process of this host's (go-plugin ``runner/runner.go``)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from .._compat import timeout
from ..errors import HandshakeError
from ..net.tasks import TaskScope
from ..net.transport import AddressTranslator
from ..reattach import AttachedRunner
from .process import PluginProcess

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AddressTranslator", "AttachedRunner", "PluginCommand", "Runner"]

# Seconds for a runner whose plugin is to end, and for what it knows of a failed start.
_END_TIMEOUT = 10.0
_DIAGNOSE_TIMEOUT = 2.0


@dataclass(frozen=True, kw_only=True)
class PluginCommand:
    """What a runner is to run.

    Attributes:
        args: Program and arguments, as ``ClientConfig.cmd`` has them; empty without.
        env: The whole environment of the plugin. ``PLUGIN_UNIX_SOCKET_DIR`` is the path of the
            socket folder in the host: a runner whose plugin sees another one changes it.
        cwd: Its working directory; None for the runner to choose.
    """

    args: Sequence[str]
    env: Mapping[str, str] = field(repr=False)
    cwd: str | None = None


class Runner(AttachedRunner, Protocol):
    """Runs one plugin: in a container, on another machine, in a sandbox.

    Its methods run in the event loop, and are called in this order: ``start``, then ``wait`` at
    once, ``kill`` at most once, ``diagnose`` when the start failed.
    """

    @property
    def name(self) -> str:
        """A name for people, not a unique one."""

    @property
    def stdout(self) -> BinaryIO:
        """The plugin's stdout, a file with a descriptor that is the client's to close."""

    @property
    def stderr(self) -> BinaryIO:
        """The plugin's stderr, likewise."""

    async def start(self) -> None:
        """Starts the plugin. What was done when it raises or is cancelled, ``kill()`` undoes."""

    async def diagnose(self) -> str:
        """Whatever may help people to understand why it did not start; else nothing."""


RunnerFunc: TypeAlias = "Callable[[logging.Logger, PluginCommand, str], Runner]"


class AttachedRunnerProcess(PluginProcess):
    """What an ``AttachedRunner`` has running, as a process.

    Args:
        runner: What knows it.
        plugin: What logs call it.
        logger: Where is logged what the runner raises.
    """

    is_ours = False
    has_signals = False

    def __init__(self, runner: AttachedRunner, plugin: str, logger: logging.Logger) -> None:
        self.pid: int | None = None
        self.name: str = ""
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.translator: AddressTranslator = runner
        self._attached = runner
        self._plugin = plugin
        self._logger = logger
        self._tasks = TaskScope("runner", logger)
        self._killing: asyncio.Task[None] | None = None
        self._is_watched = False

    def watch(self) -> None:
        """It runs: waits for its end from here on."""
        self.name = self._attached.id
        self._is_watched = True
        self._tasks.spawn(self._wait(), "wait")

    def terminate(self) -> None:
        """Runners know of no such thing."""

    def kill(self) -> None:
        if self._killing is None and not self.exited.done():
            self._killing = self._tasks.spawn(self._kill(), "kill")

    async def aclose(self) -> None:
        if self._killing is not None:
            await asyncio.wait([self._killing], timeout=_END_TIMEOUT)
            if self._is_watched and not await self.wait(_END_TIMEOUT):
                self._logger.error("plugin %r: its runner does not end", self._plugin)
                self._set_exited(None)
        await self._tasks.aclose()

    async def _wait(self) -> None:
        status = None
        try:
            status = await self._attached.wait()
        except Exception:
            self._logger.exception("plugin %r: its runner's wait raised", self._plugin)
        self._set_exited(status)

    def _set_exited(self, status: int | None) -> None:
        if not self.exited.done():
            self.exited.set_result(status)

    async def _kill(self) -> None:
        try:
            await self._attached.kill()
        except Exception:
            self._logger.exception("plugin %r: its runner's kill raised", self._plugin)


class RunnerProcess(AttachedRunnerProcess):
    """What a ``Runner`` runs, as a process.

    Args:
        runner: It was not started yet.
        plugin: What logs call the plugin.
        logger: Where is logged what the runner raises.
    """

    is_ours = True

    def __init__(self, runner: Runner, plugin: str, logger: logging.Logger) -> None:
        super().__init__(runner, plugin, logger)
        self._runner = runner
        self._starting: asyncio.Task[Exception | None] | None = None
        self._has_given_pipes = False

    async def start(self) -> tuple[BinaryIO, BinaryIO]:
        """Starts it. Returns its stdout and stderr.

        Raises:
            HandshakeError: It could not be started.
        """
        self._starting = self._tasks.spawn(self._start(), "start")
        try:
            await asyncio.wait([self._starting])
        finally:
            self._starting.cancel()
        if self._starting.cancelled():
            raise HandshakeError("its runner was told to end it while it was starting")
        if (error := self._starting.result()) is not None:
            # Not its repr, which leaves out the path of an OSError.
            reason = f"{type(error).__name__}: {error}"
            raise HandshakeError(f"its runner could not start it: {reason}") from error
        self._has_given_pipes = True
        return self._runner.stdout, self._runner.stderr

    async def aclose(self) -> None:
        await super().aclose()
        if self._is_watched and not self._has_given_pipes:
            self._runner.stdout.close()
            self._runner.stderr.close()

    async def diagnose(self) -> str:
        """What the runner knows of a failed start."""
        try:
            async with timeout(_DIAGNOSE_TIMEOUT):
                return await self._runner.diagnose()
        except Exception:
            self._logger.exception("plugin %r: its runner's diagnose raised", self._plugin)
            return ""

    async def _start(self) -> Exception | None:
        try:
            await self._runner.start()
        except Exception as error:
            return error
        # Here, as whoever waits for this may be cancelled at the same time.
        self.watch()
        return None

    async def _kill(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting], timeout=_END_TIMEOUT)
        await super()._kill()
