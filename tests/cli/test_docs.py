"""``docs/cli.md`` tells of all that the commands have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin.cli.hosts import KNOWN_HOSTS
from tests.conftest import ROOT

from . import COOKIE, PYTHON_KV, Done, pyplugin

if TYPE_CHECKING:
    from collections.abc import Callable

DOCS = (ROOT / "docs" / "cli.md").read_text()
COMMANDS = ("inspect", "call", "logs", "discover", "doctor")


def keys(value: Any) -> set[str]:
    """The keys of all objects in a JSON value, but for those that are data."""
    if isinstance(value, list):
        return {key for item in value for key in keys(item)}
    if not isinstance(value, dict):
        return set()
    found = set(value)
    for key, inner in value.items():
        if key not in ("fields", "initial_metadata", "trailing_metadata", "message"):
            found |= keys(inner)
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_there(command: str, quick: Callable[..., Done]) -> None:
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]*", quick(command, "--help").out))
    # protoc's
    options -= {"--help", "--descriptor_set_out", "--include_imports"}
    assert "--json" in options
    assert [option for option in options if f"`{option}" not in DOCS] == []


def test_every_key_of_json_is_there() -> None:
    words = [*COOKIE, "--json"]
    outputs = [
        pyplugin("inspect", *words, plugin=PYTHON_KV).json,
        pyplugin("inspect", *words, "--protocol-version", "9", plugin=PYTHON_KV).json,
        pyplugin("call", *words, "KV/Get", plugin=PYTHON_KV).jsons,
        pyplugin("doctor", *words, plugin=PYTHON_KV).json,
        pyplugin("discover", "--json", "plugin.py", "tests/fixtures", cwd=ROOT).json,
    ]
    found = keys(outputs)
    assert {"started", "sha256", "advice", "server_streaming", "trailing_metadata"} <= found
    assert [key for key in found if f"`{key}`" not in DOCS] == []


def test_every_known_host_is_there() -> None:
    for name, host in KNOWN_HOSTS.items():
        row = next(
            line for line in DOCS.splitlines() if line.startswith("|") and f"`{name}`" in line
        )
        versions = ", ".join(map(str, host.versions))
        assert row.endswith(f" | `{host.cookie[0]}` | {versions} | `{host.pattern}` |")
