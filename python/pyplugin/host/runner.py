"""Plugins that run elsewhere than in a process of this host's (go-plugin ``runner/runner.go``)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from .._compat import timeout
from ..errors import HandshakeError
from ..net.tasks import TaskScope
from ..net.transport import AddressTranslator
from .process import PluginProcess

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["AddressTranslator", "PluginCommand", "Runner"]

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


class Runner(AddressTranslator, Protocol):
    """Runs one plugin: in a container, on another machine, in a sandbox.

    Its methods run in the event loop, and are called in this order: ``start``, then ``wait`` at
    once, ``kill`` at most once, ``diagnose`` when the start failed.
    """

    @property
    def name(self) -> str:
        """A name for people, not a unique one."""

    @property
    def id(self) -> str:
        """What names the running plugin: the id of a container for example."""

    @property
    def stdout(self) -> BinaryIO:
        """The plugin's stdout, a file with a descriptor that is the client's to close."""

    @property
    def stderr(self) -> BinaryIO:
        """The plugin's stderr, likewise."""

    async def start(self) -> None:
        """Starts the plugin. What was done when it raises or is cancelled, ``kill()`` undoes."""

    async def wait(self) -> int | None:
        """Waits for the end of the plugin, of whatever. Returns its exit status, where known."""

    async def kill(self) -> None:
        """Ends the plugin at once, and removes what it left."""

    async def diagnose(self) -> str:
        """Whatever may help people to understand why it did not start; else nothing."""


RunnerFunc: TypeAlias = "Callable[[logging.Logger, PluginCommand, str], Runner]"


class RunnerProcess(PluginProcess):
    """What a ``Runner`` runs, as a process.

    Args:
        runner: It was not started yet.
        logger: Where is logged what it raises.
    """

    has_signals = False

    def __init__(self, runner: Runner, logger: logging.Logger) -> None:
        self.pid: int | None = None
        self.name: str = ""
        self.exited: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        self.translator: AddressTranslator = runner
        self._runner = runner
        self._logger = logger
        self._tasks = TaskScope("runner", logger)
        self._starting: asyncio.Task[Exception | None] | None = None
        self._killing: asyncio.Task[None] | None = None
        self._is_waited_for = False
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

    def terminate(self) -> None:
        """Runners know of no such thing."""

    def kill(self) -> None:
        if self._killing is None and not self.exited.done():
            self._killing = self._tasks.spawn(self._kill(), "kill")

    async def aclose(self) -> None:
        if self._killing is not None:
            await asyncio.wait([self._killing], timeout=_END_TIMEOUT)
        if self._is_waited_for and not await self.wait(_END_TIMEOUT):
            self._logger.error("plugin %r: its runner does not end", self._runner.name)
        if self._is_waited_for and not self._has_given_pipes:
            self._runner.stdout.close()
            self._runner.stderr.close()
        await self._tasks.aclose()

    async def diagnose(self) -> str:
        """What the runner knows of a failed start."""
        try:
            async with timeout(_DIAGNOSE_TIMEOUT):
                return await self._runner.diagnose()
        except Exception:
            self._logger.exception("plugin %r: its runner's diagnose raised", self._runner.name)
            return ""

    async def _start(self) -> Exception | None:
        try:
            await self._runner.start()
        except Exception as error:
            return error
        # Here, as whoever waits for this may be cancelled at the same time.
        self.name = self._runner.id
        self._is_waited_for = True
        self._tasks.spawn(self._wait(), "wait")
        return None

    async def _wait(self) -> None:
        status = None
        try:
            status = await self._runner.wait()
        except Exception:
            self._logger.exception("plugin %r: its runner's wait raised", self._runner.name)
        finally:
            if not self.exited.done():
                self.exited.set_result(status)

    async def _kill(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting], timeout=_END_TIMEOUT)
        try:
            await self._runner.kill()
        except Exception:
            self._logger.exception("plugin %r: its runner's kill raised", self._runner.name)
