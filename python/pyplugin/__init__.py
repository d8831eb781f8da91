"""HashiCorp go-plugin for Python: hosts that run plugins, and plugins that hosts run.

A host uses :class:`Client`, a plugin :func:`serve`; both describe the service with a
:class:`Plugin`. Names are loaded when they are first used, so that a plugin does not pay at its
start for what only hosts need.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._rust import LogBatch, LogEntry
    from .broker import GRPCBroker
    from .client import Client
    from .constants import (
        CORE_PROTOCOL_VERSION,
        NETWORK_TCP,
        NETWORK_UNIX,
        PROTOCOL_GRPC,
    )
    from .errors import (
        AppProtocolMismatch,
        BrokerError,
        BrokerTimeout,
        ChecksumMismatch,
        ConnectionLost,
        CoreProtocolMismatch,
        HandshakeError,
        MagicCookieMismatch,
        MuxError,
        PluginCrashed,
        PluginNotExecutable,
        PluginNotFound,
        ProcessExitedError,
        ProcessNotFound,
        PyPluginError,
        ReattachError,
        StartTimeout,
        TLSError,
        UnsupportedProtocol,
    )
    from .handshake import HandshakeConfig, HandshakeLine
    from .host.config import ClientConfig, LogForward, UnixSocketConfig
    from .host.discover import discover
    from .host.managed import cleanup_clients
    from .host.runner import AddressTranslator, PluginCommand, Runner
    from .host.secure import SecureConfig
    from .logging_bridge import PluginLogRecord
    from .net.threads import current_call
    from .net.tls import TLSContexts
    from .plugin import Plugin, PluginSet, VersionedPlugins
    from .reattach import AttachedRunner, ReattachConfig
    from .server import serve, serve_async, serve_dev
    from .serving.config import ServeConfig, ServeTestConfig
    from .serving.hclog import HCLogFormatter, configure_logging
    from .supervisor import RestartPolicy, Supervisor

_MODULES = {
    "_rust": ["LogBatch", "LogEntry"],
    "broker": ["GRPCBroker"],
    "client": ["Client"],
    "constants": ["CORE_PROTOCOL_VERSION", "NETWORK_TCP", "NETWORK_UNIX", "PROTOCOL_GRPC"],
    "errors": [
        "AppProtocolMismatch",
        "BrokerError",
        "BrokerTimeout",
        "ChecksumMismatch",
        "ConnectionLost",
        "CoreProtocolMismatch",
        "HandshakeError",
        "MagicCookieMismatch",
        "MuxError",
        "PluginCrashed",
        "PluginNotExecutable",
        "PluginNotFound",
        "ProcessExitedError",
        "ProcessNotFound",
        "PyPluginError",
        "ReattachError",
        "StartTimeout",
        "TLSError",
        "UnsupportedProtocol",
    ],
    "handshake": ["HandshakeConfig", "HandshakeLine"],
    "host.config": ["ClientConfig", "LogForward", "UnixSocketConfig"],
    "host.discover": ["discover"],
    "host.managed": ["cleanup_clients"],
    "host.runner": ["AddressTranslator", "PluginCommand", "Runner"],
    "host.secure": ["SecureConfig"],
    "logging_bridge": ["PluginLogRecord"],
    "net.threads": ["current_call"],
    "net.tls": ["TLSContexts"],
    "plugin": ["Plugin", "PluginSet", "VersionedPlugins"],
    "reattach": ["AttachedRunner", "ReattachConfig"],
    "server": ["serve", "serve_async", "serve_dev"],
    "serving.config": ["ServeConfig", "ServeTestConfig"],
    "serving.hclog": ["HCLogFormatter", "configure_logging"],
    "supervisor": ["RestartPolicy", "Supervisor"],
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    # broker
    "GRPCBroker",
    # client
    "AddressTranslator",
    "AttachedRunner",
    "Client",
    "ClientConfig",
    "PluginCommand",
    "ReattachConfig",
    "RestartPolicy",
    "Runner",
    "SecureConfig",
    "Supervisor",
    "UnixSocketConfig",
    "cleanup_clients",
    "discover",
    # constants
    "CORE_PROTOCOL_VERSION",
    "NETWORK_TCP",
    "NETWORK_UNIX",
    "PROTOCOL_GRPC",
    # errors
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
    # handshake
    "HandshakeConfig",
    "HandshakeLine",
    # logging
    "LogBatch",
    "LogEntry",
    "LogForward",
    "PluginLogRecord",
    # plugin
    "Plugin",
    "PluginSet",
    "VersionedPlugins",
    # both sides
    "TLSContexts",
    # server
    "HCLogFormatter",
    "ServeConfig",
    "ServeTestConfig",
    "configure_logging",
    "current_call",
    "serve",
    "serve_async",
    "serve_dev",
    # this module
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from ._rust import __version__ as value
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
