"""What to do about a plugin that does not start, in the words of the command line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import (
    AppProtocolMismatch,
    HandshakeError,
    ProcessExitedError,
    PyPluginError,
    StartTimeout,
    TLSError,
    UnsupportedProtocol,
)
from .options import by_name, cookie_of, offered_versions

if TYPE_CHECKING:
    from argparse import Namespace

# What go-plugin, this package and Packer's SDK tell people who start a plugin by hand.
_NOT_FOR_PEOPLE = re.compile(
    rb"\bis a plugin\b|execute plugins directly|magic cookie", re.IGNORECASE
)
# API major|minor|network|address
_PACKER = re.compile(rb"\d+\|\d+\|(unix|tcp)\|[^|]+\n?")


def wants_cookie(error: PyPluginError) -> bool:
    """Whether the plugin ended with the text that plugins have for people."""
    return bool(_NOT_FOR_PEOPLE.search(b"\n".join([error.stdout_head, *error.stderr_tail])))


def advice(error: PyPluginError, options: Namespace) -> str:
    """A remedy for the error; empty where there is none to tell."""
    if _PACKER.fullmatch(error.stdout_head):
        return (
            "It speaks Packer's own protocol, which is not go-plugin's: only Packer can talk to it."
        )
    if isinstance(error, ProcessExitedError) and wants_cookie(error):
        key, value = cookie_of(options) or ("", "")
        hint = by_name(options)
        return (
            f"It did not get its magic cookie; it got {key}={value}. Give the right one by "
            f"--cookie KEY=VALUE or --host NAME{f'; {hint}' if hint else ''}."
        )
    if isinstance(error, AppProtocolMismatch):
        versions = ", ".join(map(str, offered_versions(options)))
        return f"It was offered {versions}: offer its version by --protocol-version N."
    if isinstance(error, UnsupportedProtocol):
        return "A net/rpc plugin can be used by hosts in Go only."
    if isinstance(error, TLSError):
        if options.no_tls:
            return "Leave out --no-tls."
        return "Try --no-tls, which talks to it in the clear."
    if isinstance(error, HandshakeError) and options.mux and "multiplex" in str(error):
        return "Leave out --mux."
    if isinstance(error, StartTimeout):
        return "Give it longer by --timeout SECONDS; `pyplugin logs` shows what it logs meanwhile."
    return ""
