"""How a plugin is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .hclog import check_log_level

if TYPE_CHECKING:
    import logging

    from ..handshake import HandshakeConfig
    from ..plugin import PluginSet, VersionedPlugins


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
        grpc_options: Accepted for code written for the pure-Python port, which ignored it too.
        log_level: The least level that is logged: trace, debug, info, warn, error or off. None
            means info. A program that set logging up itself has set its levels too.

    Raises:
        ValueError: There is no such ``log_level``.
    """

    handshake_config: HandshakeConfig
    plugins: PluginSet | VersionedPlugins
    logger: logging.Logger | None = None
    test_mode: bool = False
    force_tcp: bool = False
    grpc_options: list[Any] = field(default_factory=list)
    log_level: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        check_log_level(self.log_level)
