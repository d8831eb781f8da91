"""List the files that may be plugins.

Lists the files in the folder DIR (this one) whose names match GLOB, or those that --host looks for:
what each is, for which machine, and whether it can be run here. Without either it lists what is
executable. Nothing is run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import discover
from ..host.diagnose import diagnose
from .hosts import KNOWN_HOSTS
from .options import UsageError
from .output import Style, visible, write, write_json
from .program import look_at

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

USAGE = "[options] [GLOB [DIR]]"
ARGUMENTS = {"glob": "a pattern of the shell's, in quotes", "dir": "the folder"}


def add_options(parser: ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--host",
        choices=KNOWN_HOSTS,
        help="look for its plugins: %(choices)s",
        metavar="NAME",
    )


async def run(options: Namespace) -> int:
    """Runs the command; returns its exit status."""
    if options.command:
        raise UsageError("discover runs no plugin: it takes a pattern and a folder")
    found = _find(options)
    if options.json:
        write_json(found)
    else:
        style = Style(sys.stdout)
        for facts in found:
            state = style("ready", "green")
            if facts["problem"]:
                state = style("not ready", "red")
            write(f"{visible(facts['path'])}  {visible(facts['about'])}  {state}")
            if facts["problem"]:
                write(f"  {facts['problem']}")
    return 0 if found else 1


def _find(options: Namespace) -> list[dict[str, Any]]:
    glob = options.glob or (KNOWN_HOSTS[options.host].pattern if options.host else None)
    paths = [path for path in discover(glob or "*", options.dir or ".") if Path(path).is_file()]
    found = [_look(path) for path in paths]
    return [facts for facts in found if glob or facts["executable"]]


def _look(path: str) -> dict[str, Any]:
    try:
        program = look_at(path)
    except OSError as error:
        return {
            "path": path,
            "kind": "other",
            "machine": None,
            "interpreter": None,
            "executable": False,
            "about": "unreadable",
            "problem": error.strerror,
        }
    return {
        "path": path,
        "kind": program.kind,
        "machine": program.machine,
        "interpreter": program.interpreter,
        "executable": program.is_executable,
        "about": str(program),
        "problem": diagnose([path], os.environ) or None,
    }
