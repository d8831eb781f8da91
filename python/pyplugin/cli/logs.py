"""Start a plugin and follow its log.

Shows each line with its time, level, module, message and fields, coloured on a terminal unless
NO_COLOR is set; with --json each line is a JSON object. It goes on until the plugin ends, or until
Ctrl-C, which ends the plugin.
"""

from __future__ import annotations

import asyncio
import sys
from fnmatch import fnmatch
from typing import TYPE_CHECKING

from .. import Client
from ..host.process import describe_exit
from .options import add_plugin_options, client_config
from .output import Style, complain, entry_json, entry_text, json_text

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from .. import LogBatch, LogEntry

USAGE = "[options] -- COMMAND…"
ARGUMENTS: dict[str, str] = {}
_LEVELS = ("trace", "debug", "info", "warn", "error")


def add_options(parser: ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--level", choices=_LEVELS, default="trace", help="the least level shown: %(choices)s"
    )
    parser.add_argument(
        "--module",
        action="append",
        metavar="PATTERN",
        help="only lines of modules like this, kv.* for example; once for each",
    )
    add_plugin_options(parser)


async def run(options: Namespace) -> int:
    """Runs the command; returns its exit status."""
    style = Style(sys.stdout)
    patterns = options.module or ["*"]
    over = asyncio.Event()
    statuses: list[int | None] = []
    broken: list[OSError] = []
    task = asyncio.current_task()

    def end(status: int | None) -> None:
        statuses.append(status)
        over.set()

    def show(batch: LogBatch) -> None:
        lines = [
            _line(entry, style, is_json=options.json)
            for entry in batch
            if any(fnmatch(entry.module, pattern) for pattern in patterns)
        ]
        try:
            sys.stdout.write("".join(lines))
            sys.stdout.flush()
        except OSError as error:
            # Nobody reads it any more, and the plugin may be starting still.
            if not broken and task is not None:
                task.cancel()
            broken.append(error)

    config = client_config(options, log_sink=show, log_level=options.level, on_exit=end)
    try:
        async with Client(config):
            await over.wait()
    except asyncio.CancelledError:
        if broken:
            raise broken[0] from None
        raise
    if statuses[0]:
        complain(f"the plugin {describe_exit(statuses[0])}")
        return 1
    return 0


def _line(entry: LogEntry, style: Style, *, is_json: bool) -> str:
    facts = entry_json(entry)
    return (json_text(facts) if is_json else entry_text(facts, style)) + "\n"
