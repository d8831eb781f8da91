"""What plugins of both languages make of the same variables, whatever is in them."""

from __future__ import annotations

import re
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.fixtures.variables import outcomes
from tests.hostile.test_variables import COOKIE, DIGITS, HUGE, JUNK

from .peers import MARKS

if TYPE_CHECKING:
    from tests.fixtures.variables import Outcome

    from .peers import Peers

pytestmark = MARKS

VERSIONS = ["", ",", "3,1,2", "2,2,", "+2", "-1", "02", "٣", " 1", "2,x", "9" * 19, DIGITS, JUNK]
BOOLEANS = ["", "true", "T", "1", "tRUE", "yes", "0", " true", "\n", JUNK, HUGE]
FOLDERS = ["", "/no/such", "/dev/null", "/proc", "{}/", "/{}/../{}", JUNK]
GROUPS = ["", "0", "000", "no-such-group", " 0", "٣", DIGITS, "0" * 5000, JUNK, HUGE]
COOKIES = ["", "Hello", "hello\n", " hello", JUNK, HUGE]


def said(found: Outcome) -> str:
    """Its handshake, less the name of the socket."""
    return re.sub(r"plugin[0-9a-f]+", "plugin", found.line.decode())


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("PLUGIN_PROTOCOL_VERSIONS", VERSIONS),
        ("PLUGIN_MULTIPLEX_GRPC", BOOLEANS),
        ("PLUGIN_UNIX_SOCKET_DIR", FOLDERS),
        ("PLUGIN_UNIX_SOCKET_GROUP", GROUPS),
        (*COOKIE, COOKIES),
    ],
)
def test_both_say_the_same(peers: Peers, name: str, values: list[str]) -> None:
    # Go's leaves its socket when it is ended by a signal.
    with tempfile.TemporaryDirectory() as folder:
        others = {**COOKIE, "KV_VERSIONS": "2,1", "TMPDIR": folder}
        environments = [{**others, name: value.replace("{}", folder)} for value in values]
        ours, gos = outcomes(environments), outcomes(environments, peers.kvplugin)
    assert [said(found) for found in ours] == [said(found) for found in gos]
    # Go's exits with 0 whether or not it served.
    assert [found.status for found in ours] == [0 if found.serves else 1 for found in gos]
