"""The handshake line as go-plugin's host reads it (client.go ``Start``), slowly and in plain words.

The oracle of the differential tests in tests/test_handshake.py.
"""

from __future__ import annotations

import re

from pyplugin.errors import CoreProtocolMismatch, HandshakeError
from pyplugin.handshake import HandshakeLine

# Go's unicode.IsSpace; str.strip() would take U+001C to U+001F too.
WHITE_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680"
    "\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
TRUE = ["1", "t", "T", "TRUE", "true", "True"]
FALSE = ["0", "f", "F", "FALSE", "false", "False"]


def atoi(text: str) -> int | None:
    """``strconv.Atoi`` on a 64-bit machine; None for its error."""
    if not re.fullmatch("[+-]?[0-9]+", text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def parse_bool(text: str) -> bool | None:
    """``strconv.ParseBool``; None for its error."""
    if text in TRUE:
        return True
    if text in FALSE:
        return False
    return None


def length(part: str) -> int:
    """``len`` of a Go string: its bytes."""
    return len(part.encode("utf-8", "surrogateescape"))


def read(line: str) -> HandshakeLine | type[HandshakeError]:
    """What the line says, or the class of the error it is."""
    parts = line.strip(WHITE_SPACE).split("|")
    if len(parts) < 4:
        return HandshakeError

    core = atoi(parts[0])
    if core is None:
        return HandshakeError
    if core != 1:
        return CoreProtocolMismatch
    app = atoi(parts[1])
    if app is None:
        return HandshakeError

    protocol = "netrpc"
    if len(parts) >= 5:
        protocol = parts[4]
    cert = ""
    if len(parts) >= 6 and length(parts[5]) > 50:
        cert = parts[5]
    multiplex = False
    if len(parts) >= 7:
        multiplex = parse_bool(parts[6]) is True

    return HandshakeLine(
        core_protocol_version=core,
        app_protocol_version=app,
        network=printable(parts[2]),
        address=parts[3],
        protocol=printable(protocol),
        server_cert=printable(cert),
        multiplex_supported=multiplex,
    )


def printable(part: str) -> str:
    """Bytes that are no UTF-8 mean something in a path only; elsewhere they are shown escaped."""
    return part.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
