"""The magic cookie: how a plugin notices that a person, not its host, started it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .handshake import HandshakeConfig

__all__ = ["validate_or_exit"]

_NOT_FOR_PEOPLE = """\
This binary is a plugin, to be started by the program that uses it, not by hand.
Run that program: it finds and starts its plugins by itself.
(Plugin authors: the host sets the environment variable {key} to the plugin's magic cookie.)
"""

_MISCONFIGURED = """\
Misconfigured plugin: its ServeConfig has an empty magic cookie key or value.
Please tell the plugin's author: both must be set in HandshakeConfig.
"""


def validate_or_exit(config: HandshakeConfig, env: Mapping[str, str] | None = None) -> None:
    """Ends the process with status 1 and a help text on stderr unless the host started it.

    Args:
        config: The plugin's handshake.
        env: Where to look for the cookie; None means ``os.environ``.

    Raises:
        SystemExit: The cookie is missing, wrong, or empty in ``config``.
    """
    if not config.magic_cookie_key or not config.magic_cookie_value:
        _exit(_MISCONFIGURED)
    if (os.environ if env is None else env).get(
        config.magic_cookie_key
    ) != config.magic_cookie_value:
        _exit(_NOT_FOR_PEOPLE.format(key=config.magic_cookie_key))


def _exit(message: str) -> NoReturn:
    sys.stderr.write(message)
    sys.exit(1)
