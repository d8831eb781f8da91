"""The options that commands share, and the ``ClientConfig`` they make."""

from __future__ import annotations

import contextlib
import math
import os
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Any

from .. import ClientConfig, HandshakeConfig, Plugin
from ..constants import DEFAULT_START_TIMEOUT
from .hosts import KNOWN_HOSTS, guess

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from grpclib.client import Channel

    from .. import GRPCBroker

# Where the magic cookie is when no option gives it.
ENV_COOKIE = "PYPLUGIN_COOKIE"
# What is offered to a plugin whose versions nobody named.
ANY_VERSION = range(100)


class UsageError(Exception):
    """The command cannot do what it was asked for; the exit status is 2."""


class RawPlugin(Plugin):
    """Any plugin: its stub is the connection to it."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        """Never called: this is a host."""
        return []

    def stub(self, broker: GRPCBroker, channel: Channel) -> Channel:
        """The connection."""
        return channel


def add_plugin_options(parser: ArgumentParser) -> None:
    """Adds what says how a plugin is started."""
    group = parser.add_argument_group("the plugin")
    group.add_argument(
        "--cookie",
        metavar="KEY=VALUE",
        help=f"its magic cookie; else that of --host, else that in ${ENV_COOKIE}",
    )
    group.add_argument(
        "--host",
        choices=KNOWN_HOSTS,
        help="the host it is made for, which gives cookie and versions: %(choices)s",
        metavar="NAME",
    )
    group.add_argument(
        "--protocol-version",
        type=int,
        action="append",
        metavar="N",
        help="a version to offer, once for each; else those of --host, else "
        f"{ANY_VERSION[0]} to {ANY_VERSION[-1]}",
    )
    group.add_argument("--no-tls", action="store_true", help="in the clear, without AutoMTLS")
    group.add_argument("--mux", action="store_true", help="one multiplexed connection for all")
    group.add_argument(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"for its start ({DEFAULT_START_TIMEOUT:g}), and for a call (no limit)",
    )
    group.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a variable for it, once for each",
    )
    group.add_argument(
        "--verbose", action="store_true", help="tell on stderr what this host does with it"
    )


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < (seconds := float(text)) < math.inf:
            return seconds
    raise ArgumentTypeError(f"{text!r} is no number of seconds above 0")


def cookie_of(options: Namespace) -> tuple[str, str] | None:
    """Key and value of the magic cookie; None where nothing says it.

    Raises:
        UsageError: It is no ``KEY=VALUE``.
    """
    if options.cookie is not None:
        return pair("--cookie", options.cookie)
    if options.host is not None:
        return KNOWN_HOSTS[options.host].cookie
    if text := os.environ.get(ENV_COOKIE):
        return pair(ENV_COOKIE, text)
    return None


def client_config(options: Namespace, **settings: Any) -> ClientConfig:
    """How the options say that the plugin is started.

    Args:
        options: What the command line said.
        settings: More of ``ClientConfig``, which win.

    Raises:
        UsageError: There is no plugin, no cookie, or an option makes no sense.
    """
    require_command(options)
    cookie = settings.pop("cookie", None) or cookie_of(options)
    if cookie is None:
        raise UsageError(no_cookie(options))
    versions = offered_versions(options)
    environment = dict(pair("--env", text) for text in options.env)
    settings.setdefault("auto_mtls", not options.no_tls)
    settings.setdefault("grpc_broker_multiplex", options.mux)
    settings.setdefault("start_timeout", options.timeout or DEFAULT_START_TIMEOUT)
    settings.setdefault("env", environment)
    return ClientConfig(
        handshake_config=HandshakeConfig(max(versions), *cookie),
        plugins={version: {"plugin": RawPlugin()} for version in versions},
        cmd=options.command,
        **settings,
    )


def require_command(options: Namespace) -> None:
    """Raises ``UsageError`` where no plugin is named."""
    if not options.command:
        raise UsageError(f"Which plugin? `pyplugin {options.name} [options] -- COMMAND…`")


def offered_versions(options: Namespace) -> list[int]:
    """The protocol versions that the plugin may choose from.

    Raises:
        UsageError: One of them is negative.
    """
    versions = options.protocol_version
    if not versions:
        versions = KNOWN_HOSTS[options.host].versions if options.host else ANY_VERSION
    if min(versions) < 0:
        raise UsageError(f"--protocol-version {min(versions)}: a version is not negative")
    return sorted(set(versions))


def no_cookie(options: Namespace) -> str:
    """What to do about a cookie that nobody gave."""
    hint = by_name(options) or "see its HandshakeConfig"
    return (
        "Which magic cookie? A plugin does not start without the one its host gives it: "
        f"--cookie KEY=VALUE, --host {{{','.join(KNOWN_HOSTS)}}} or ${ENV_COOKIE}; {hint}"
    )


def by_name(options: Namespace) -> str:
    """Which host the plugin's name tells of; empty where none, or the one that was given."""
    known = guess(options.command)
    return f"by its name, --host {known} may do" if known and known != options.host else ""


def pair(option: str, text: str) -> tuple[str, str]:
    """A text ``KEY=VALUE``.

    Raises:
        UsageError: It is none.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"{option} takes KEY=VALUE, not {text!r}")
    return key, value
