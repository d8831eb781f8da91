"""Every exception this package raises.

    PyPluginError
    ├── HandshakeError
    │   ├── CoreProtocolMismatch
    │   ├── AppProtocolMismatch
    │   ├── UnsupportedProtocol
    │   ├── PluginNotFound          (also FileNotFoundError)
    │   ├── PluginNotExecutable     (also PermissionError)
    │   └── ReattachError
    │       └── ProcessNotFound     (also ProcessLookupError)
    ├── MagicCookieMismatch
    ├── ConnectionLost              (also grpclib's GRPCError, status UNAVAILABLE)
    ├── ProcessExitedError
    │   └── PluginCrashed           (also ConnectionLost)
    ├── StartTimeout                (also TimeoutError)
    ├── TLSError
    ├── ChecksumMismatch
    ├── BrokerError
    │   └── BrokerTimeout           (also TimeoutError)
    └── MuxError
        ├── MuxProtocolError
        └── MuxClosed

Misuse raises Python's own: ``RuntimeError`` before ``start()``, ``KeyError`` for an unknown plugin
name, ``ValueError`` for a bad configuration.
"""

from __future__ import annotations

from typing import Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError

__all__ = [
    "PyPluginError",
    "HandshakeError",
    "CoreProtocolMismatch",
    "AppProtocolMismatch",
    "UnsupportedProtocol",
    "PluginNotFound",
    "PluginNotExecutable",
    "MagicCookieMismatch",
    "ProcessExitedError",
    "ConnectionLost",
    "PluginCrashed",
    "StartTimeout",
    "TLSError",
    "ChecksumMismatch",
    "ReattachError",
    "ProcessNotFound",
    "BrokerError",
    "BrokerTimeout",
    "MuxError",
    "MuxProtocolError",
    "MuxClosed",
]


class PyPluginError(Exception):
    """Base of all errors of this package.

    Attributes:
        plugin: Name of the plugin it is about, or None.
        exit_code: Exit status of the plugin's process, negative for a signal as in ``subprocess``;
            None while it runs or when it is unknown.
        stdout_head: The first bytes (at most 1024) that a plugin which failed to start wrote to its
            stdout.
        stderr_tail: The last lines of its stderr, without line ends, oldest first.
    """

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        exit_code: int | None = None,
        stdout_head: bytes = b"",
        stderr_tail: tuple[bytes, ...] = (),
    ) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.exit_code = exit_code
        self.stdout_head = stdout_head
        self.stderr_tail = stderr_tail


class HandshakeError(PyPluginError):
    """The plugin could not be started, or what it wrote to stdout is no handshake."""


class CoreProtocolMismatch(HandshakeError):
    """The plugin speaks another core protocol version (part 1 of the handshake)."""


class AppProtocolMismatch(HandshakeError):
    """The plugin chose an application protocol version that the host has no plugin set for."""


class UnsupportedProtocol(HandshakeError):
    """The plugin speaks something other than gRPC, net/rpc for example."""


class PluginNotFound(HandshakeError, FileNotFoundError):
    """The plugin's command does not exist."""


class PluginNotExecutable(HandshakeError, PermissionError):
    """The plugin's command may not be run by this user."""


class MagicCookieMismatch(PyPluginError):
    """The magic cookie in the environment is not the plugin's: it was not started by its host."""


class ProcessExitedError(PyPluginError):
    """The plugin's process ended before the host could use it, or during a call."""


class ConnectionLost(PyPluginError, GRPCError):
    """A call lost its connection to the plugin: ``PluginCrashed`` where its process ended too.

    It is a ``GRPCError`` with status ``UNAVAILABLE``, so code that handles gRPC statuses needs no
    case of its own.

    Attributes:
        status: ``Status.UNAVAILABLE``.
        message: The text of the error.
        details: None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        plugin: str | None = None,
        exit_code: int | None = None,
        stderr_tail: tuple[bytes, ...] = (),
    ) -> None:
        Exception.__init__(self, message)
        self.status = Status.UNAVAILABLE
        self.message = message
        self.details: Any = None
        self.plugin = plugin
        self.exit_code = exit_code
        self.stdout_head = b""
        self.stderr_tail = stderr_tail


class PluginCrashed(ProcessExitedError, ConnectionLost):
    """A call lost its plugin: its process has ended, or ``kill()`` ends it."""


class StartTimeout(PyPluginError, TimeoutError):
    """The plugin was not ready within ``start_timeout``."""


class TLSError(PyPluginError):
    """Mutual TLS could not be set up, or the peer has another certificate than it announced."""


class ChecksumMismatch(PyPluginError):
    """The plugin's executable is not the one that ``secure_config`` describes."""


class ReattachError(HandshakeError):
    """A running plugin could not be attached to."""


class ProcessNotFound(ReattachError, ProcessLookupError):
    """The plugin to attach to does not run any more."""


class BrokerError(PyPluginError):
    """A sub-channel of the broker could not be made."""


class BrokerTimeout(BrokerError, TimeoutError):
    """The peer did not announce the service id in time."""


class MuxError(PyPluginError):
    """The connection that all streams share cannot do what it was asked for."""


class MuxProtocolError(MuxError):
    """The peer broke the rules of yamux; the connection is over."""


class MuxClosed(MuxError):
    """The connection, or the stream of it, is over, or takes no new streams."""
