"""``Supervisor``: a plugin that is started again when it dies, and replaced without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ._compat import timeout
from .client import Client
from .errors import ProcessExitedError, PyPluginError
from .host.diagnose import plugin_name
from .host.process import describe_exit
from .net.tasks import TaskScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from .host.config import ClientConfig
    from .plugin import HasStub

__all__ = ["RestartPolicy", "Supervisor"]

Self = TypeVar("Self", bound="Supervisor")
Stub = TypeVar("Stub")


@dataclass(frozen=True, kw_only=True)
class RestartPolicy:
    """When a plugin that died is started again.

    Attributes:
        delay: Seconds before the first restart.
        factor: What each further restart multiplies that by.
        max_delay: The most that it becomes.
        max_restarts: How many restarts in a row, failed ones included, before it is given up; None
            for any number.
        stable_after: Seconds that a plugin must run for the row to begin anew.
    """

    delay: float = 0.1
    factor: float = 2.0
    max_delay: float = 30.0
    max_restarts: int | None = 10
    stable_after: float = 60.0

    def delay_of(self, restart: int) -> float:
        """Seconds before a restart, of which ``restart`` in a row came before."""
        try:
            return min(self.delay * self.factor**restart, self.max_delay)
        except OverflowError:
            return self.max_delay


class Supervisor:
    """Keeps one plugin running. ``async with``, or ``start()`` and ``close()``.

    Calls in flight when it dies end with ``PluginCrashed``: whether they may be made again only
    their caller knows. Later ones wait for the next plugin.

    Args:
        config: What to start.
        policy: When to start it again.
        drain_timeout: Seconds that ``swap()`` gives calls in flight.

    Attributes:
        restarts: How often it was started again.

    Raises:
        ValueError: ``config`` has no ``cmd``: a plugin that was attached to cannot be started.
    """

    def __init__(
        self,
        config: ClientConfig,
        policy: RestartPolicy | None = None,
        *,
        drain_timeout: float = 30.0,
    ) -> None:
        _check(config)
        self._config = config
        self._policy = policy or RestartPolicy()
        self._drain_timeout = drain_timeout
        self._logger = config.logger or logging.getLogger("pyplugin.host")
        self._tasks = TaskScope("supervisor", self._logger)
        # What ends everything else must not be ended with it.
        self._endings = TaskScope("supervisor", self._logger)
        self._closing: asyncio.Task[None] | None = None
        # Held while a plugin is started, so that there is never one too many.
        self._starting = asyncio.Lock()
        # The plugin that is called. None while there is none; then a failure says it stays so.
        self._client: Client | None = None
        self._failure: Exception | None = None
        self._is_started = False
        self._is_closed = False
        # Every plugin that is not known to have ended, and the calls in flight to it.
        self._calls: dict[Client, set[object]] = {}
        # Set, and replaced, with each change of the above.
        self._change = asyncio.Event()
        # Restarts in a row.
        self._row = 0
        self.restarts: int = 0

    async def start(self) -> None:
        """Starts the plugin. Idempotent.

        Raises:
            PyPluginError: As ``Client.start()``; a first start is not repeated.
            RuntimeError: The supervisor was closed.
        """
        async with self._starting:
            if self._is_closed:
                raise RuntimeError(f"{self} was closed; make a new one")
            if not self._is_started:
                self._use(await self._started(self._config))
                self._is_started = True

    async def close(self) -> None:
        """Ends the plugin, and the watch over it. Idempotent.

        When the caller is cancelled, the work goes on to its end in the background.
        """
        if self._closing is None:
            self._is_closed = True
            error = ProcessExitedError(f"{self} was closed; make a new one", plugin=self._name)
            self._set(None, error)
            self._closing = self._endings.spawn(self._close(), "close")
        await asyncio.shield(self._closing)

    async def client(self) -> Client:
        """The client of the plugin that runs, once one does.

        Raises:
            ProcessExitedError: The plugin was given up, or the supervisor closed.
            RuntimeError: The supervisor was not started.
        """
        if not self._is_started and not self._is_closed:
            raise RuntimeError(f"{self} was not started: `await start()` comes first")
        # Its end may be known before it is dealt with.
        while self._client is None or self._client.exited:
            if self._failure is not None:
                raise self._failure.with_traceback(None)
            await self._change.wait()
        return self._client

    @overload
    def dispense(self, name: str) -> Any: ...

    @overload
    def dispense(self, plugin: type[HasStub[Stub]], /) -> Stub: ...

    def dispense(self, name: Any) -> Any:
        """A stub of one plugin that outlives it: each call goes to what runs then.

        Its methods are awaited, or opened with ``open()``, as those of a grpclib stub. They raise
        what ``client()`` does, and ``KeyError`` where there is no such plugin.

        Args:
            name: What the plugin is called, or the class of its ``Plugin``: then type checkers
                know the stub.
        """
        return _Stub(self, name)

    async def swap(self, config: ClientConfig | None = None) -> None:
        """Replaces the plugin without a gap: starts a new one, switches, and ends the old.

        Calls in flight get ``drain_timeout`` seconds to come to their end with the old one. When
        the caller is cancelled before the switch, the old one goes on; after it, the old one is
        ended in the background. A plugin that was given up is replaced too.

        Args:
            config: What to start; None for the same again, from a new file for example.

        Raises:
            PyPluginError: The new one could not be started; the old one goes on.
            RuntimeError: The supervisor was not started, or was closed.
            ValueError: ``config`` has no ``cmd``.
        """
        config = config or self._config
        _check(config)
        async with self._starting:
            if not self._is_started or self._is_closed:
                raise RuntimeError(
                    f"{self} does not run: nothing can be replaced before start() or after close()"
                )
            new = await self._started(config)
            old, self._config, self._row = self._client, config, 0
            self._use(new)
        if old is not None:
            await asyncio.wait([self._tasks.spawn(self._drain(old), "drain")])

    @property
    def _name(self) -> str:
        return plugin_name(self._config.cmd or ())

    def __str__(self) -> str:
        return f"the supervisor of plugin {self._name!r}"

    async def __aenter__(self: Self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    @overload
    def call(self, name: str) -> AbstractAsyncContextManager[Any]: ...

    @overload
    def call(self, plugin: type[HasStub[Stub]], /) -> AbstractAsyncContextManager[Stub]: ...

    @contextlib.asynccontextmanager
    async def call(self, name: Any) -> AsyncIterator[Any]:
        """The stub that runs now, which ``swap()`` leaves running until the end of the block.

        Args:
            name: As for ``dispense()``.

        Raises:
            KeyError: The plugin has no such name; and what ``client()`` raises.
        """
        client, call = await self.client(), object()
        calls = self._calls[client]
        calls.add(call)
        try:
            yield client.dispense(name)
        finally:
            calls.discard(call)
            if client is not self._client:
                self._tell()

    async def _close(self) -> None:
        # A start under way fails by this.
        await asyncio.gather(*(client.kill() for client in list(self._calls)))
        await self._tasks.aclose()

    def _use(self, client: Client) -> None:
        self._set(client)
        self._tasks.spawn(self._watch(client), "watch")

    def _set(self, client: Client | None, failure: Exception | None = None) -> None:
        self._client, self._failure = client, failure
        self._tell()

    def _tell(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    async def _started(self, config: ClientConfig) -> Client:
        client = Client(replace(config))
        # Before it runs, so that close() ends it.
        self._calls[client] = set()
        try:
            await client.start()
        except BaseException:
            del self._calls[client]
            raise
        return client

    async def _watch(self, client: Client) -> None:
        """Waits for the end of ``client``'s plugin, and starts the next unless it was replaced."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        status = await client.wait_exited()
        is_missed = client is self._client
        if is_missed:
            self._set(None)
        await client.kill()
        del self._calls[client]
        if is_missed:
            if loop.time() - began >= self._policy.stable_after:
                self._row = 0
            await self._restart(client, status)

    async def _restart(self, last: Client, status: int | None) -> None:
        policy = self._policy
        error: Exception | None = None
        report = f"{last} {describe_exit(status)}"
        if last.stderr_tail:
            lines = b"\n  ".join(last.stderr_tail).decode("utf-8", "replace")
            report += f". Its stderr ended with:\n  {lines}"
        while policy.max_restarts is None or self._row < policy.max_restarts:
            await asyncio.sleep(policy.delay_of(self._row))
            async with self._starting:
                if self._is_closed or self._client is not None:
                    return
                self._row += 1
                self.restarts += 1
                try:
                    self._use(await self._started(self._config))
                    return
                except Exception as failure:
                    if self._is_closed:
                        return
                    error, report = failure, f"the last start failed: {failure}"
                    self._logger.warning(
                        "restart %d in a row of a plugin failed: %s", self._row, failure
                    )
        if self._is_closed or self._client is not None:
            return
        text = (
            f"plugin {self._name!r} was given up after {self._row} restarts in a row; swap() "
            f"starts it anew: {report}"
        )
        self._logger.error("%s", text)
        if isinstance(error, PyPluginError):
            status, tail = error.exit_code, error.stderr_tail
        else:
            tail = last.stderr_tail
        given_up = ProcessExitedError(text, plugin=self._name, exit_code=status, stderr_tail=tail)
        given_up.__cause__ = error
        self._set(None, given_up)

    async def _drain(self, client: Client) -> None:
        with contextlib.suppress(TimeoutError):
            async with timeout(self._drain_timeout):
                while self._calls.get(client):
                    await self._change.wait()
        # The rest does its watch.
        await client.kill()


def _check(config: ClientConfig) -> None:
    if config.cmd is None:
        raise ValueError("`cmd` must be set: a supervisor starts its plugin, again and again")


class _Stub:
    """A stub whose calls go to the plugin that runs when they are made."""

    def __init__(self, supervisor: Supervisor, name: Any) -> None:
        self._supervisor = supervisor
        self._name = name

    def __getattr__(self, method: str) -> _Method:
        if method.startswith("_"):
            # What copy, inspect and the like look for is no call.
            raise AttributeError(method)
        return _Method(self._supervisor, self._name, method)


class _Method:
    def __init__(self, supervisor: Supervisor, name: Any, method: str) -> None:
        self._supervisor = supervisor
        self._name = name
        self._method = method

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        async with self._supervisor.call(self._name) as stub:
            return await getattr(stub, self._method)(*arguments, **options)

    @contextlib.asynccontextmanager
    async def open(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with (
            self._supervisor.call(self._name) as stub,
            getattr(stub, self._method).open(*arguments, **options) as stream,
        ):
            yield stream
