"""How a host starts, or finds, a plugin."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ..constants import (
    DEFAULT_KILL_TIMEOUT,
    DEFAULT_MAX_PORT,
    DEFAULT_MIN_PORT,
    DEFAULT_START_TIMEOUT,
    MAX_LOG_LINE_BYTES,
    MIN_LOG_LINE_BYTES,
)
from ..logging_bridge import LEVELS

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

    from grpclib.config import Configuration

    from .._rust import LogBatch
    from ..handshake import HandshakeConfig
    from ..net.tls import TLSContexts
    from ..plugin import PluginSet, VersionedPlugins
    from ..reattach import ReattachConfig
    from .runner import RunnerFunc
    from .secure import SecureConfig


_FORMATS = ("hclog", "logfmt", "verbatim")


@dataclass(frozen=True)
class LogForward:
    """Where a plugin's log is written to, in Rust and without the event loop.

    Plugins may share a descriptor: their lines are never torn. It stays the caller's, and what it
    names is never made non-blocking. When it is slow, its plugins wait; when it cannot be written
    to, lines are lost, and the logger is told so once.

    Attributes:
        fd: A descriptor open for writing: a file, a pipe, a socket or a terminal.
        format: ``hclog``: one JSON object a line, the plugin's own with a member ``plugin`` added,
            and lines without structure made into such objects. ``logfmt``: ``key=value`` pairs.
            ``verbatim``: the lines as they came.

    Raises:
        ValueError: There is no such format, or ``fd`` is negative.
    """

    fd: int
    format: Literal["hclog", "logfmt", "verbatim"] = "hclog"

    def __post_init__(self) -> None:
        if self.format not in _FORMATS:
            raise ValueError(f"`format` is {self.format!r}; it must be one of {_FORMATS}")
        if self.fd < 0:
            raise ValueError(f"`fd` is {self.fd}, which is no open descriptor")


@dataclass(frozen=True, kw_only=True)
class UnixSocketConfig:
    """Where a plugin's unix sockets lie (go-plugin's ``UnixSocketConfig``). Not on Windows.

    Attributes:
        group: Name or number of the group that may connect beside the owner, of which this user
            must be a member; None for nobody.
        temp_dir: The folder in which the plugin's own is made; None for the temporary one.
    """

    group: str | None = None
    temp_dir: str | None = None


@dataclass
class ClientConfig:
    """What ``Client`` needs to know (go-plugin's ``ClientConfig``).

    Exactly one of ``cmd`` (or ``runner_func``) and ``reattach`` is set.

    Attributes:
        handshake_config: What this host has in common with the plugin.
        plugins: Plugins by name, or plugin sets by protocol version.
        cmd: The plugin's command: program and arguments.
        reattach: A plugin that runs already.
        auto_mtls: Mutual TLS with throw-away certificates. A plugin that offers no certificate is
            refused then, not talked to in the clear.
        start_timeout: Seconds from start to a plugin that answers; 60.
        kill_timeout: Seconds that each step of ``kill()`` gives the plugin; 2.
        logger: Gets this package's records; its child ``stderr`` gets the plugin's stderr. None
            means ``pyplugin.host``, and ``pyplugin.host.plugin.<name>`` for the plugin's stderr.
        stderr_logger: Gets the plugin's stderr instead.
        env: Environment variables to add.
        cwd: Working directory of the plugin; None means the host's.
        skip_host_env: Do not hand on the host's own environment.
        min_port: Lowest TCP port the plugin may listen on, where it uses TCP; 10000.
        max_port: Highest TCP port the plugin may listen on; 25000.
        grpc_options: A ``grpclib.config.Configuration``: its windows and keepalive, where they are
            not grpclib's defaults, are those of this host's connections, the broker's too.
            With a keepalive a plugin that hangs is found out, and its calls end; a Go plugin hangs
            up on a host that pings it more often than those defaults have it. The name that the
            plugin's certificate must be for, with ``tls_config``, is one of them too.
            A list is for code written for the pure-Python port, which ignored it.
        stderr: Gets a copy of the plugin's stderr as it comes, at any level, a CR before a line end
            dropped. Its ``write`` runs in the event loop.
        plugin_log_buffer_size: Longest log line that is parsed, in bytes, its line end included:
            65536, at least 16. Longer ones come in pieces.
        log_level: The least level of hclog that is handed on: ``trace``, ``debug``, ``info``,
            ``warn``, ``error`` or ``off``. None is what the logger is enabled for, at any time; for
            ``log_sink`` and ``log_forward`` it is what ``stderr_logger`` is enabled for where that
            is set, and else everything.
        log_sink: Called in the event loop with each batch of log lines, in place of ``logging``.
        log_forward: Where log lines are written to, in place of ``logging``.
        sync_stdout: Gets what the plugin's own code prints to stdout after the handshake. Its
            ``write``, and ``flush`` where it has one, run in a thread of their own. None drops it.
        sync_stderr: Gets what the plugin's own code prints to stderr, likewise. A plugin's log is
            no part of it.
        secure_config: The checksum that the executable must have, checked before it is run. Not
            with ``reattach`` or ``runner_func``.
        tls_config: TLS of one's own in place of AutoMTLS, which it turns off: a client's context,
            or ``TLSContexts``, where the broker is to accept connections too. The plugin's
            certificate must be for ``localhost``.
        managed: ``await cleanup_clients()`` kills this client too.
        unix_socket_config: Where the unix sockets lie, and who may connect to them.
        runner_func: Makes what runs the plugin in place of a process of this host: in a container,
            say. It is given a logger, a ``PluginCommand`` and the folder for the unix sockets of
            both sides. ``cmd`` may be None then, ``orphan_guard`` means nothing to it. Not with
            ``reattach``.
        on_exit: Called in the event loop with the exit status, negative for a signal, None where it
            is not known, when the plugin's process has ended; once, whatever ended it.
        orphan_guard: The plugin ends when this process dies, of whatever. Without it the plugin
            lives on, to be attached to: a shell that is started along with it reads from then on
            what it writes to stdout and stderr, and drops it. By a pipe that nobody reads a Go
            plugin would end, by SIGPIPE at its next line.
        grpc_broker_multiplex: One connection carries everything, the broker's too. A plugin that
            cannot do that fails the start. Not with ``reattach``, as in Go.

    Raises:
        ValueError: ``log_level`` is none, ``plugin_log_buffer_size`` is too small, or two are set
            that exclude each other.
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
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str | None = None
    skip_host_env: bool = False
    min_port: int = DEFAULT_MIN_PORT
    max_port: int = DEFAULT_MAX_PORT
    grpc_options: Configuration | list[Any] = field(default_factory=list)
    stderr: BinaryIO | None = field(default=None, kw_only=True)
    plugin_log_buffer_size: int = field(default=MAX_LOG_LINE_BYTES, kw_only=True)
    log_level: str | None = field(default=None, kw_only=True)
    log_sink: Callable[[LogBatch], object] | None = field(default=None, kw_only=True)
    log_forward: LogForward | None = field(default=None, kw_only=True)
    sync_stdout: BinaryIO | None = field(default=None, kw_only=True)
    sync_stderr: BinaryIO | None = field(default=None, kw_only=True)
    grpc_broker_multiplex: bool = field(default=False, kw_only=True)
    secure_config: SecureConfig | None = field(default=None, kw_only=True)
    tls_config: ssl.SSLContext | TLSContexts | None = field(default=None, kw_only=True)
    managed: bool = field(default=False, kw_only=True)
    unix_socket_config: UnixSocketConfig | None = field(default=None, kw_only=True)
    runner_func: RunnerFunc | None = field(default=None, kw_only=True)
    on_exit: Callable[[int | None], object] | None = field(default=None, kw_only=True)
    orphan_guard: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.log_level is not None and self.log_level not in LEVELS:
            raise ValueError(f"`log_level` is {self.log_level!r}; it must be one of {[*LEVELS]}")
        if self.plugin_log_buffer_size < MIN_LOG_LINE_BYTES:
            raise ValueError(
                f"`plugin_log_buffer_size` is {self.plugin_log_buffer_size}; "
                f"it must be at least {MIN_LOG_LINE_BYTES} bytes"
            )
        if self.secure_config is not None and self.reattach is not None:
            raise ValueError(
                "`secure_config` cannot be used with `reattach`: what runs already was not checked "
                "when it was started"
            )
        if self.secure_config is not None and self.runner_func is not None:
            raise ValueError(
                "`secure_config` cannot be used with `runner_func`: the runner chooses what runs"
            )
        if self.grpc_broker_multiplex and self.reattach is not None:
            raise ValueError(
                "`grpc_broker_multiplex` cannot be used with `reattach`: a plugin accepts one "
                "multiplexed connection in its life"
            )
        if self.log_sink is not None and self.log_forward is not None:
            raise ValueError("only one of `log_sink` and `log_forward` can be set")
