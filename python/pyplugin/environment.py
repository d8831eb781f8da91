"""The ``PLUGIN_*`` variables: what the host tells the plugin before the handshake.

Names and meanings are go-plugin's (``client.go`` ``Start``, ``server.go`` ``Serve``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .constants import (
    ENV_CLIENT_CERT,
    ENV_MAX_PORT,
    ENV_MIN_PORT,
    ENV_MULTIPLEX_GRPC,
    ENV_ORPHAN_GUARD,
    ENV_PROTOCOL_VERSIONS,
    ENV_UNIX_SOCKET_DIR,
    ENV_UNIX_SOCKET_GROUP,
)
from .handshake import parse_bool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .handshake import HandshakeConfig

_HOST_PORTS = "the host's min_port and max_port say so"

# What Go's strconv.Atoi takes; int() takes more.
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")

# Leading zeros are read over, and no more digits than a port has: int() takes no thousands of them.
_PORT = re.compile(r"0*([0-9]{1,5})")
# How much of a bad value an error repeats, in characters.
_LONGEST_QUOTE = 64

# A host that is itself a plugin must not hand on what its own host said about that connection: a
# client certificate alone makes the plugin serve TLS that nobody asked for.
_OF_ONE_CONNECTION = (ENV_CLIENT_CERT, ENV_MULTIPLEX_GRPC, ENV_ORPHAN_GUARD)


def host_environment(
    inherited: Mapping[str, str],
    extra: Mapping[str, str],
    *,
    handshake: HandshakeConfig,
    versions: Iterable[int],
    ports: tuple[int, int],
    socket_dir: str | None,
    client_cert_pem: bytes | None,
    multiplex: bool = False,
    socket_group: str | None = None,
    orphan_guard: bool = True,
) -> dict[str, str]:
    """The environment of a plugin's process.

    Args:
        inherited: The host's own environment, or nothing.
        extra: What the user adds; it wins over ``inherited``.
        handshake: Gives the magic cookie.
        versions: Every version the host has a plugin set for.
        ports: Lowest and highest TCP port the plugin may listen on.
        socket_dir: Folder for the plugin's unix sockets; None leaves it to the plugin. What
            the user says in ``extra`` wins.
        client_cert_pem: The host's certificate under AutoMTLS, else None.
        multiplex: The host wants one multiplexed connection.
        socket_group: Group that may connect to the plugin's sockets; None for the owner only.
        orphan_guard: The plugin is to end when its host is gone.
    """
    environment = {
        name: value for name, value in inherited.items() if name not in _OF_ONE_CONNECTION
    }
    if socket_dir is not None:
        environment[ENV_UNIX_SOCKET_DIR] = socket_dir
    environment.update(extra)
    environment[handshake.magic_cookie_key] = handshake.magic_cookie_value
    environment[ENV_PROTOCOL_VERSIONS] = ",".join(map(str, sorted(versions)))
    environment[ENV_MIN_PORT], environment[ENV_MAX_PORT] = map(str, ports)
    if socket_group is not None:
        environment[ENV_UNIX_SOCKET_GROUP] = socket_group
    if not orphan_guard:
        environment[ENV_ORPHAN_GUARD] = "0"
    if multiplex:
        environment[ENV_MULTIPLEX_GRPC] = "true"
    if client_cert_pem is not None:
        environment[ENV_CLIENT_CERT] = client_cert_pem.decode("ascii")
    return environment


@dataclass(frozen=True, kw_only=True)
class PluginEnvironment:
    """What a plugin finds in its environment.

    Attributes:
        versions: The host's protocol versions; empty when it listed none.
        bad_versions: Listed versions that are no integers; ignored as in Go, worth a warning.
        client_cert_pem: The host's certificate: it wants mutual TLS.
        min_port: Lowest TCP port to listen on; 0 lets the system choose.
        max_port: Highest TCP port to listen on.
        socket_dir: Folder for unix sockets; None means the temporary folder.
        socket_group: Group (name or number) that may connect; None means the owner only.
        multiplex: What the host said about multiplexing, unparsed; None when it said nothing.
    """

    versions: tuple[int, ...] = ()
    bad_versions: tuple[str, ...] = ()
    client_cert_pem: str | None = field(default=None, repr=False)
    min_port: int = 0
    max_port: int = 0
    socket_dir: str | None = None
    socket_group: str | None = None
    multiplex: str | None = None

    @property
    def wants_multiplex(self) -> bool:
        """Whether the host wants one multiplexed connection (``strconv.ParseBool``)."""
        return self.multiplex is not None and parse_bool(self.multiplex) is True

    @classmethod
    def from_mapping(cls, environment: Mapping[str, str]) -> PluginEnvironment:
        """Reads the variables.

        Raises:
            ValueError: A port is no number from 0 to 65535, or the range is upside down.
        """
        versions: list[int] = []
        bad_versions: list[str] = []
        for text in filter(None, environment.get(ENV_PROTOCOL_VERSIONS, "").split(",")):
            if _INTEGER.fullmatch(text):
                versions.append(int(text))
            else:
                bad_versions.append(text)
        min_port = _port(environment, ENV_MIN_PORT)
        max_port = _port(environment, ENV_MAX_PORT)
        if min_port > max_port:
            raise ValueError(
                f"{ENV_MIN_PORT}={min_port} is above {ENV_MAX_PORT}={max_port}: {_HOST_PORTS}"
            )
        return cls(
            versions=tuple(versions),
            bad_versions=tuple(bad_versions),
            client_cert_pem=environment.get(ENV_CLIENT_CERT) or None,
            min_port=min_port,
            max_port=max_port,
            socket_dir=environment.get(ENV_UNIX_SOCKET_DIR) or None,
            socket_group=environment.get(ENV_UNIX_SOCKET_GROUP) or None,
            multiplex=environment.get(ENV_MULTIPLEX_GRPC) or None,
        )


def _port(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name) or "0"
    number = _PORT.fullmatch(text)
    if number is None or int(number[1]) > 65535:
        quoted = repr(text[:_LONGEST_QUOTE])
        raise ValueError(
            f"{name} must be a port number from 0 to 65535, not {quoted}: {_HOST_PORTS}"
        )
    return int(number[1])
