"""The handshake: what host and plugin agree on, and the one line that says how to connect.

The plugin writes ``CORE|APP|NETWORK|ADDRESS|PROTOCOL|CERT[|MUX]`` to its stdout (go-plugin
``server.go`` ``Serve``), the host reads it (``client.go`` ``Start``).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import _rust
from .constants import (
    CORE_PROTOCOL_VERSION,
    NETWORK_TCP,
    NETWORK_UNIX,
    PROTOCOL_GRPC,
    PROTOCOL_NETRPC,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "CORE_PROTOCOL_VERSION",
    "NETWORK_TCP",
    "NETWORK_UNIX",
    "PROTOCOL_GRPC",
    "PROTOCOL_NETRPC",
    "HandshakeConfig",
    "HandshakeLine",
    "format_line",
    "negotiate_version",
    "parse_bool",
    "parse_line",
]

# strconv.ParseBool, which go-plugin reads its flags with
_BOOLEANS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


@dataclass(frozen=True)
class HandshakeConfig:
    """What both sides must have in common for the plugin to be loaded.

    Attributes:
        protocol_version: Version of the application's protocol, when ``plugins`` is not versioned.
        magic_cookie_key: Name of the environment variable that tells a plugin it was started by its
            host. A help to users who run the plugin by hand, no security measure.
        magic_cookie_value: Value of that variable.
    """

    protocol_version: int
    magic_cookie_key: str
    magic_cookie_value: str = field(repr=False)


@dataclass(frozen=True)
class HandshakeLine:
    """A parsed handshake line.

    Attributes:
        core_protocol_version: Always 1.
        app_protocol_version: Version of the application's protocol that the plugin chose.
        network: ``unix`` or ``tcp``.
        address: Socket path or ``host:port``.
        protocol: ``grpc``, or ``netrpc`` for plugins that this package cannot talk to.
        server_cert: Unpadded base64 of the plugin's certificate (DER), or empty.
        multiplex_supported: Whether the plugin offers a multiplexed broker (part 7).
    """

    core_protocol_version: int
    app_protocol_version: int
    network: str
    address: str
    protocol: str
    server_cert: str = field(default="", repr=False)
    multiplex_supported: bool = False


def parse_line(raw: str) -> HandshakeLine:
    """Reads a handshake line of four to seven parts.

    Args:
        raw: The line, with or without its line end. Bytes that are no UTF-8 are expected as
            ``os.fsdecode`` gives them.

    Raises:
        CoreProtocolMismatch: Part 1 is not 1.
        HandshakeError: Fewer than four parts, or a version that is no integer.
        UnicodeEncodeError: ``raw`` holds a surrogate that stands for no byte.
    """
    core, app, network, address, protocol, cert, multiplex = _rust.parse_handshake(
        raw.encode("utf-8", "surrogateescape")
    )
    return HandshakeLine(
        core_protocol_version=core,
        app_protocol_version=app,
        network=_text(network),
        address=os.fsdecode(address),
        protocol=_text(protocol),
        server_cert=_text(cert),
        multiplex_supported=multiplex is not None and parse_bool(_text(multiplex)) is True,
    )


def format_line(
    *,
    app_protocol_version: int,
    network: str,
    address: str,
    protocol: str = PROTOCOL_GRPC,
    server_cert: str = "",
    multiplex_supported: bool | None = None,
) -> str:
    """The line a plugin writes, without its line end.

    Args:
        app_protocol_version: Version of the application's protocol.
        network: ``unix`` or ``tcp``.
        address: Socket path or ``host:port``.
        protocol: ``grpc``.
        server_cert: Unpadded base64 of the certificate (DER), or empty.
        multiplex_supported: The seventh part; None leaves it out, as hosts that did not ask need.

    Raises:
        ValueError: A part holds ``|`` or a line break.
    """
    line = _rust.format_handshake(
        app_protocol_version,
        network.encode(),
        os.fsencode(address),
        protocol.encode(),
        server_cert.encode(),
        multiplex_supported,
    )
    return line.decode("utf-8", "surrogateescape")


def negotiate_version(ours: Collection[int], theirs: Iterable[int]) -> int:
    """The version a plugin serves (go-plugin ``server.go`` ``protocolVersion``).

    Args:
        ours: The versions the plugin has a plugin set for; not empty.
        theirs: The versions the host listed, in any order; empty when it listed none.

    Returns:
        The highest common version; with none in common the plugin's lowest, so that the host is the
        one to report the mismatch.
    """
    return max(set(ours) & set(theirs), default=min(ours))


def parse_bool(text: str) -> bool | None:
    """Go's reading of a boolean, or None where Go reports an error."""
    return _BOOLEANS.get(text)


def _text(part: bytes) -> str:
    return part.decode("utf-8", "backslashreplace")
