"""How a plugin is served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .hclog import check_log_level

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Awaitable, Callable, Mapping

    from grpclib.config import Configuration

    from ..handshake import HandshakeConfig
    from ..net.tls import TLSContexts
    from ..plugin import PluginSet, VersionedPlugins
    from ..reattach import ReattachConfig


class ServeTestConfig:
    """Serves a plugin inside a test's own process (go-plugin's ``ServeTestConfig``).

    The magic cookie is not checked, no handshake is written, signals are left alone.

        test = ServeTestConfig()
        serving = asyncio.create_task(serve_async(ServeConfig(..., test=test)))
        async with Client(ClientConfig(..., reattach=await test.reattach_config())) as client:
            ...
        test.stop.set()
        await serving

    It belongs to one event loop: the serving is a task of the test's own.

    Args:
        sync_stdio: What the process prints goes to the host, as that of a real plugin. For one
            plugin at a time.
        environment: What a host sets in the environment of a plugin it starts. None is nothing: the
            plugin is served in the clear, and each broker's channel on a connection of its own.

    Attributes:
        stop: Set it to end the serving.
        handshake: The line that a plugin with a process of its own writes; empty until it is
            served.
    """

    def __init__(
        self, *, sync_stdio: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        self.sync_stdio = sync_stdio
        self.environment: Mapping[str, str] = environment or {}
        self.handshake: str = ""
        self.stop: asyncio.Event = asyncio.Event()
        self._ready = asyncio.Event()
        self._reattach: ReattachConfig | None = None
        self._failure: BaseException | None = None

    async def reattach_config(self) -> ReattachConfig:
        """Waits until the plugin is served; returns what a ``Client`` attaches by.

        Raises:
            RuntimeError: It cannot be served; the cause is what ``serve_async()`` raised.
        """
        await self._ready.wait()
        if self._reattach is None:
            raise RuntimeError(f"the plugin is not served: {self._failure!r}") from self._failure
        return self._reattach

    def set_ready(self, reattach: ReattachConfig, handshake: str) -> None:
        """Tells whoever waits in ``reattach_config()``."""
        self._reattach, self.handshake = reattach, handshake
        self._ready.set()

    def set_failed(self, error: BaseException) -> None:
        """Tells them that ``error`` ended the serving."""
        self._failure = error
        self._ready.set()


@dataclass
class ServeConfig:
    """What ``serve()`` serves, and how (go-plugin's ``ServeConfig``).

    Attributes:
        handshake_config: What this plugin has in common with its host.
        plugins: Plugins by name, or plugin sets by protocol version.
        logger: Gets this package's records and the exceptions of handlers. None means the logger
            ``pyplugin.plugin``.
        test_mode: Serve inside a test: no cookie check, no handshake line, no signal handlers.
        force_tcp: Listen on TCP loopback where unix sockets are to be had too.
        grpc_options: A ``grpclib.config.Configuration``: its windows and keepalive, where they are
            not grpclib's defaults, are those of this plugin's connections, the broker's too.
            A list is for code written for the pure-Python port, which ignored it.
        log_level: The least level that is logged: trace, debug, info, warn, error or off. None
            means info. A program that set logging up itself has set its levels too.
        tls_provider: Gives the TLS to serve with, in place of AutoMTLS: a server's context, or
            ``TLSContexts``, where the broker is to dial too. Its host must have a ``tls_config``
            that goes with it.
        test: Serve inside a test, and tell it how to attach.
        on_shutdown: Called when the plugin is to end, because its host said so, or is gone, or by
            SIGTERM; before calls in flight are cancelled. What it logs and prints reaches the host,
            what it prints only as long as the host still listens: half a second.
        shutdown_grace: Seconds that ``on_shutdown`` may take.
        orphan_guard: End when the host is gone. A host that wants its plugin to outlive it can say
            so too, by ``orphan_guard=False`` in its ``ClientConfig``. What a plugin that goes on
            logs then is lost, and does it no harm.

    Raises:
        ValueError: There is no such ``log_level``.
    """

    handshake_config: HandshakeConfig
    plugins: PluginSet | VersionedPlugins
    logger: logging.Logger | None = None
    test_mode: bool = False
    force_tcp: bool = False
    grpc_options: Configuration | list[Any] = field(default_factory=list)
    log_level: str | None = field(default=None, kw_only=True)
    tls_provider: Callable[[], ssl.SSLContext | TLSContexts] | None = field(
        default=None, kw_only=True
    )
    test: ServeTestConfig | None = field(default=None, kw_only=True)
    on_shutdown: Callable[[], Awaitable[object]] | None = field(default=None, kw_only=True)
    shutdown_grace: float = field(default=1.0, kw_only=True)
    orphan_guard: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        check_log_level(self.log_level)
