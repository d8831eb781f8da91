"""The cases: which host takes which lines of how many plugins, and where to."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches import peers
from benches.logs.task import Task
from benches.peers import Absent
from benches.rounds import ask_host

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GO, PORT, OURS = "Go", "port", "ours"
# Seconds for one run of a host.
TIMEOUT = 120.0


@dataclass(frozen=True)
class Scene:
    """What all hosts are compared in.

    Attributes:
        title: What the tables call it.
        measure: See ``Task``.
        kind: Of the lines, as benches/go/logplugin calls them.
        plugins: How many write at once.
        level: hclog's name of the least level that the host wants.
    """

    title: str
    measure: str
    kind: str
    plugins: int = 1
    level: str = "trace"

    @property
    def is_dropped(self) -> bool:
        """The lines are below the level."""
        return self.level == "warn"


@dataclass(frozen=True)
class Programs:
    """What a case needs.

    Attributes:
        plugin: The one that writes.
        hosts: The command of each host that can be had.
        absent: Why another cannot.
    """

    plugin: str
    hosts: Mapping[str, Sequence[str]]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One host in one scene.

    Attributes:
        scene: What is done.
        host: "Go", "port" or "ours".
        sink: Where the log goes.
        lines: How many lines are written in all: rates are compared, and the port's are low.
    """

    scene: Scene
    host: str
    sink: str
    lines: int

    @property
    def name(self) -> str:
        """For the option ``--only`` and for messages."""
        return f"{self.scene.title}: {self.host} {self.sink}"

    def run(self, programs: Programs) -> dict[str, Any]:
        """Starts the host and returns what it measured.

        Raises:
            Absent: It failed, or has not seen the lines it should.
        """
        with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
            result = self._run(programs, Path(folder))
        if self.scene.measure == "rate":
            result["lines"] = self._each * self.scene.plugins
            self._check(result["seen"], 0 if self.scene.is_dropped else result["lines"])
        return result

    @property
    def _each(self) -> int:
        return self.lines // self.scene.plugins

    def _run(self, programs: Programs, folder: Path) -> dict[str, Any]:
        scene = self.scene
        task = Task(
            measure=scene.measure,
            command=[programs.plugin, scene.kind],
            plugins=scene.plugins,
            lines=self._each,
            level=scene.level,
            sink=self.sink,
            folder=str(folder),
        )
        return ask_host(programs.hosts[self.host], task, folder, TIMEOUT)

    def _check(self, seen: int | None, wanted: int) -> None:
        # A long line is seen in pieces, and Go's host logs lines of its own.
        if seen is not None and (seen < wanted or (self.scene.is_dropped and seen)):
            raise Absent(f"it saw {seen} lines in place of {wanted}")


def prepare() -> Programs:
    """Builds the programs.

    Raises:
        Absent: There is no Go, which the plugin is written in.
    """
    module = peers.ROOT / "benches" / "go"
    script = ["-m", "benches.logs.host"]
    hosts: dict[str, Sequence[str]] = {
        GO: [peers.go_program("loghost", "./loghost", module)],
        OURS: [sys.executable, *script],
    }
    absent = {}
    try:
        hosts[PORT] = [peers.port().command[0], *script]
    except Absent as reason:
        absent[PORT] = str(reason)
    return Programs(peers.go_program("logplugin", "./logplugin", module), hosts, absent)


def all_cases() -> Iterator[Case]:
    """All cases, the hosts of a scene one after the other."""
    for scene, go, port, ours in _SCENES:
        yield Case(scene, GO, "hclog", go)
        yield Case(scene, PORT, "records", port)
        for sink, lines in ours.items():
            yield Case(scene, OURS, sink, lines)


_JSON_SINKS = {
    "records": 1_000_000,
    "file": 150_000,
    "batches": 3_000_000,
    "forward": 3_000_000,
    "forward to a file": 1_500_000,
}
_FORMATS = {"forward logfmt": 2_000_000, "forward verbatim": 3_000_000}
_DROPPING_SINKS = {"records": 6_000_000, "batches": 6_000_000, "forward": 6_000_000}
# A scene, then the lines for Go's host, the port, and our sinks.
_SCENES: list[tuple[Scene, int, int, dict[str, int]]] = [
    (Scene("JSON, 1 plugin", "rate", "json"), 150_000, 4_000, _JSON_SINKS | _FORMATS),
    (Scene("JSON, 16 plugins", "rate", "json", 16), 150_000, 4_000, _JSON_SINKS),
    (Scene("Below WARNING, 1 plugin", "rate", "debug", 1, "warn"), 200_000, 4_000, _DROPPING_SINKS),
    (
        Scene("Below WARNING, 16 plugins", "rate", "debug", 16, "warn"),
        200_000,
        4_000,
        _DROPPING_SINKS,
    ),
    (
        Scene("Plain, 1 plugin", "rate", "plain"),
        300_000,
        8_000,
        {"records": 1_000_000, "batches": 3_000_000, "forward": 3_000_000},
    ),
    (
        Scene("100 KiB, 1 plugin", "rate", "long"),
        4_000,
        16,
        {"records": 15_000, "batches": 15_000, "forward": 15_000},
    ),
    (
        Scene("One line at a time", "latency", "paced"),
        1_000,
        1_000,
        {"records": 1_000, "batches": 1_000},
    ),
    (
        Scene("Storm of 16 plugins", "storm", "json", 16),
        150_000,
        6_000,
        {"records": 1_500_000, "file": 200_000, "batches": 5_000_000, "forward": 5_000_000},
    ),
]
