"""How a host starts, or finds, a plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..constants import (
    DEFAULT_KILL_TIMEOUT,
    DEFAULT_MAX_PORT,
    DEFAULT_MIN_PORT,
    DEFAULT_START_TIMEOUT,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Mapping, Sequence

    from ..handshake import HandshakeConfig
    from ..plugin import PluginSet, VersionedPlugins
    from ..reattach import ReattachConfig


@dataclass
class ClientConfig:
    """What ``Client`` needs to know (go-plugin's ``ClientConfig``).

    Exactly one of ``cmd`` and ``reattach`` is set.

    Attributes:
        handshake_config: What this host has in common with the plugin.
        plugins: Plugins by name, or plugin sets by protocol version.
        cmd: The plugin's command: program and arguments.
        reattach: A plugin that runs already.
        auto_mtls: Mutual TLS with throw-away certificates. A plugin that offers no certificate is
            refused then, not talked to in the clear.
        start_timeout: Seconds from start to a plugin that answers.
        kill_timeout: Seconds that each step of ``kill()`` gives the plugin.
        logger: Gets this package's records; its child ``stderr`` gets the plugin's stderr. None
            means ``pyplugin.host``, and ``pyplugin.host.plugin.<name>`` for the plugin's stderr.
        stderr_logger: Gets the plugin's stderr instead.
        env: Environment variables to add.
        cwd: Working directory of the plugin; None means the host's.
        skip_host_env: Do not hand on the host's own environment.
        min_port: Lowest TCP port the plugin may listen on, where it uses TCP.
        max_port: Highest TCP port the plugin may listen on.
        grpc_options: Accepted for code written for the pure-Python port, which ignored it too.
    """

    handshake_config: HandshakeConfig
    plugins: PluginSet | VersionedPlugins
    cmd: Sequence[str] | None = None
    reattach: ReattachConfig | None = None
    auto_mtls: bool = True
    start_timeout: float = DEFAULT_START_TIMEOUT
    kill_timeout: float = DEFAULT_KILL_TIMEOUT
    logger: logging.Logger | None = None
    stderr_logger: logging.Logger | None = None
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    skip_host_env: bool = False
    min_port: int = DEFAULT_MIN_PORT
    max_port: int = DEFAULT_MAX_PORT
    grpc_options: list[Any] = field(default_factory=list)
