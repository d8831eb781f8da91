"""``Supervisor``: a plugin that is started again when it dies, and replaced without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from ._compat import timeout
from .client import Client
from .errors import ProcessExitedError, PyPluginError
from .net.tasks import TaskScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from .host.config import ClientConfig

__all__ = ["RestartPolicy", "Supervisor"]

Self = TypeVar("Self", bound="Supervisor")


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
    """

    def __init__(
        self,
        config: ClientConfig,
        policy: RestartPolicy | None = None,
        *,
        drain_timeout: float = 30.0,
    ) -> None:
        self._config = config
        self._policy = policy or RestartPolicy()
        self._drain_timeout = drain_timeout
        self._logger = config.logger or logging.getLogger("pyplugin.host")
        self._tasks = TaskScope("supervisor", self._logger)
        self._client: Client | None = None
        self._calls: dict[Client, set[object]] = {}
        self._has_changed = asyncio.Condition()
        self._failure: Exception | None = None
        self.restarts = 0

    async def start(self) -> None:
        """Starts the plugin.

        Raises:
            PyPluginError: As ``Client.start()``; a first start is not repeated.
        """
        await self._set(await self._started(self._config))
        self._tasks.spawn(self._run(), "run")

    async def close(self) -> None:
        """Ends the plugin, and the watch over it."""
        await self._tasks.aclose()
        await self._set(None, ProcessExitedError("the supervisor of this plugin was closed"))
        await asyncio.gather(*(client.kill() for client in list(self._calls)))
        self._calls.clear()

    async def client(self) -> Client:
        """The client of the plugin that runs, once one does.

        Raises:
            ProcessExitedError: The supervisor was closed.
            PyPluginError: The plugin was given up; the last error.
        """
        async with self._has_changed:
            await self._has_changed.wait_for(lambda: self._client or self._failure)
        if self._client is None:
            assert self._failure is not None
            raise self._failure
        return self._client

    def dispense(self, name: str) -> Any:
        """A stub of the plugin called ``name`` that outlives it: each call goes to what runs then.

        Its methods are awaited, or opened with ``open()``, as those of a grpclib stub.
        """
        return _Stub(self, name)

    async def swap(self, config: ClientConfig | None = None) -> None:
        """Replaces the plugin without a gap: starts a new one, switches, and ends the old.

        Calls in flight get ``drain_timeout`` seconds to come to their end with the old one.

        Args:
            config: What to start; None for the same again, from a new file for example.

        Raises:
            PyPluginError: The new one could not be started; the old one goes on.
        """
        new = await self._started(config or self._config)
        self._config = config or self._config
        old = self._client
        await self._set(new)
        if old is not None:
            with contextlib.suppress(TimeoutError):
                async with timeout(self._drain_timeout), self._has_changed:
                    await self._has_changed.wait_for(lambda: not self._calls.get(old))
            await self._end(old)

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

    @contextlib.asynccontextmanager
    async def call(self, name: str) -> AsyncIterator[Any]:
        """The stub that runs now, which ``swap()`` leaves running until the end of the block."""
        client, call = await self.client(), object()
        calls = self._calls.setdefault(client, set())
        calls.add(call)
        try:
            yield client.dispense(name)
        finally:
            calls.discard(call)
            async with self._has_changed:
                self._has_changed.notify_all()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        row, began = 0, loop.time()
        while True:
            client = self._client
            assert client is not None
            await client.wait_exited()
            if client is not self._client:
                began = loop.time()
                continue
            if loop.time() - began >= self._policy.stable_after:
                row = 0
            await self._set(None)
            await self._end(client)
            new, row = await self._restarted(row)
            if new is None:
                return
            began = loop.time()
            await self._set(new)

    async def _restarted(self, row: int) -> tuple[Client | None, int]:
        policy = self._policy
        error: Exception = ProcessExitedError("the plugin ended, and was given up")
        while policy.max_restarts is None or row < policy.max_restarts:
            await asyncio.sleep(min(policy.delay * policy.factor**row, policy.max_delay))
            row += 1
            self.restarts += 1
            try:
                return await self._started(self._config), row
            except PyPluginError as failure:
                error = failure
                self._logger.warning("restart %d of a plugin failed: %s", row, failure)
        self._logger.error("a plugin was given up after %d restarts in a row", row)
        await self._set(None, error)
        return None, row

    async def _started(self, config: ClientConfig) -> Client:
        client = Client(replace(config))
        await client.start()
        self._calls[client] = set()
        return client

    async def _end(self, client: Client) -> None:
        await client.kill()
        self._calls.pop(client, None)

    async def _set(self, client: Client | None, failure: Exception | None = None) -> None:
        async with self._has_changed:
            self._client, self._failure = client, failure
            self._has_changed.notify_all()


class _Stub:
    """A stub whose calls go to the plugin that runs when they are made."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self._name = name

    def __getattr__(self, method: str) -> _Method:
        return _Method(self._supervisor, self._name, method)


class _Method:
    def __init__(self, supervisor: Supervisor, name: str, method: str) -> None:
        self._supervisor = supervisor
        self._name = name
        self._method = method

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        async with self._supervisor.call(self._name) as stub:
            answer = getattr(stub, self._method)(*arguments, **options)
            return await answer if inspect.isawaitable(answer) else answer

    @contextlib.asynccontextmanager
    async def open(self, *arguments: Any, **options: Any) -> AsyncIterator[Any]:
        async with (
            self._supervisor.call(self._name) as stub,
            getattr(stub, self._method).open(*arguments, **options) as stream,
        ):
            yield stream
