"""The command line, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.conftest import ROOT
from tests.fixtures import PLUGIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COOKIE = ("--cookie", "BASIC_PLUGIN=hello")
PYTHON_KV = PLUGIN
STREAMER = [sys.executable, str(ROOT / "examples" / "streaming" / "plugin.py")]
# Seconds for one command, far beyond what a busy machine needs.
LIMIT = 40.0


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Attributes:
        status: Its exit status.
        out: What it wrote to stdout.
        err: What it wrote to stderr.
    """

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)

    @property
    def jsons(self) -> list[Any]:
        """The JSON values on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(*words: str, plugin: Sequence[str] | None = None) -> list[str]:
    """The words of ``python -m pyplugin``."""
    return [sys.executable, "-m", "pyplugin", *words, *(["--", *plugin] if plugin else [])]


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, without what tells the command line about plugins or colours."""
    unwanted = ("PYPLUGIN_COOKIE", "NO_COLOR", "BASIC_PLUGIN")
    mine = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**mine, **(variables or {})}


def pyplugin(
    *words: str,
    plugin: Sequence[str] | None = None,
    stdin: str = "",
    env: Mapping[str, str] | None = None,
    cwd: object = None,
) -> Done:
    """Runs the command to its end."""
    done = subprocess.run(
        command(*words, plugin=plugin),
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(env),
        cwd=None if cwd is None else str(cwd),
        timeout=LIMIT,
    )
    return Done(done.returncode, done.stdout, done.stderr)
