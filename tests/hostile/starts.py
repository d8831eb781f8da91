"""Plugins that are no more than a handshake line, and what a host says of them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import PyPluginError
from tests.fixtures import client, is_alive

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# The longest error that is not a nuisance in a log, in characters.
MOST_CHARACTERS = 10_000
# Move the cursor of a terminal, or change what it shows.
CONTROLS = {chr(number) for number in (*range(9), *range(11, 32), *range(127, 160))}
# How much more memory a host may have after it was told megabytes, in bytes.
MOST_BYTES = 32 * 2**20


def printing(path: Path, line: bytes) -> list[str]:
    """A plugin that prints ``line``, and lives on."""
    path.write_bytes(line)
    return ["sh", "-c", 'cat "$0"; exec sleep 600', str(path)]


async def error_of(
    command: Sequence[str], most: int = MOST_CHARACTERS, **settings: Any
) -> PyPluginError:
    """The error of a start that must fail: it names the plugin, is short, and nothing is left."""
    plugin = client(command, **settings)
    with pytest.raises(PyPluginError) as raised:
        await plugin.start()
    assert plugin.pid is not None
    assert not is_alive(plugin.pid)
    await plugin.kill()
    error = raised.value
    name = Path(command[0]).name
    assert error.plugin == name
    assert str(error).startswith(f"plugin {name!r}: ")
    assert len(str(error)) < most
    assert not set(str(error)) & CONTROLS
    return error


async def errors_of(folder: Path, lines: Iterable[bytes], **settings: Any) -> list[PyPluginError]:
    """Those of plugins that print these lines, all at once."""
    commands = [printing(folder / f"line{number}", line) for number, line in enumerate(lines)]
    return await asyncio.gather(*(error_of(command, **settings) for command in commands))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
