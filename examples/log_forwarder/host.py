"""The host: python examples/log_forwarder/host.py FILE [--plugins N] [--lines N] ...

It runs many plugins, and has their logs written into one file, in Rust: whatever they write, its
event loop does not see it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import chatter_pb2
from chatter import HANDSHAKE, ChatterPlugin

from pyplugin import Client, ClientConfig, LogForward, discover

PLUGIN = Path(__file__).with_name("plugin.py")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The logs of many plugins, in one file.")
    parser.add_argument("file", type=Path, help="is appended to")
    parser.add_argument("--plugins", type=int, default=16)
    parser.add_argument("--lines", type=int, default=100, help="of each plugin")
    parser.add_argument("--rate", type=float, default=0, help="lines a second of each; 0: no limit")
    parser.add_argument("--level", default="info", help="the least level: debug, info, warn, error")
    return parser.parse_args()


def install(count: int, folder: str) -> list[str]:
    """Paths of plugins: one plugin under many names, as a log names a plugin by its file."""
    for number in range(count):
        Path(folder, f"chatter-{number:02}").symlink_to(PLUGIN)
    return discover("chatter-*", folder)


async def chat(path: str, file: int, level: str, request: chatter_pb2.ChatRequest) -> None:
    """Runs one plugin while it chats."""
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"chatter": ChatterPlugin()},
        cmd=[sys.executable, path],
        # They share the descriptor; no line is torn.
        log_forward=LogForward(file),
        log_level=level,
    )
    async with Client(config) as client:
        await client.dispense("chatter").Chat(request)


def print_summary(entries: list[dict[str, Any]]) -> None:
    print(f"  {len(entries)} lines")
    of_plugins: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        of_plugins[entry["plugin"]][entry["@level"]] += 1
    for plugin, levels in sorted(of_plugins.items()):
        counts = (f"{count} {level}" for level, count in sorted(levels.items()))
        print(f"  {plugin}: {', '.join(counts)}")


async def main() -> None:
    given = options()
    request = chatter_pb2.ChatRequest(lines=given.lines, lines_per_second=given.rate)
    with tempfile.TemporaryDirectory() as folder, given.file.open("a+b") as file:
        start = file.tell()
        plugins = install(given.plugins, folder)
        await asyncio.gather(*(chat(path, file.fileno(), given.level, request) for path in plugins))
        file.seek(start)
        print_summary([json.loads(line) for line in file])


if __name__ == "__main__":
    asyncio.run(main())
