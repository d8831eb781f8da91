"""The cases: which host does what with which plugin."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches import peers
from benches.broker.task import Task
from benches.peers import Absent
from benches.rounds import ask_host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GO, PORT, OURS = "Go", "port", "ours"
# Seconds for what a host measures, and for all of its run.
_TIMEOUT, _RUN_TIMEOUT = 60.0, 120.0


@dataclass(frozen=True)
class Scene:
    """What all pairs are compared in.

    Attributes:
        title: What the tables call it.
        measure: See ``Task``, as with all that follows.
        auto_mtls: Likewise.
        calls: How many calls one opening makes, of all connections.
        in_turn: See ``Task``.
        at_once: Likewise.
        bytes: Likewise.
    """

    title: str
    measure: str
    auto_mtls: bool = False
    calls: int = 0
    in_turn: int = 0
    at_once: int = 0
    bytes: int = 0

    def shortened(self) -> Scene:
        """A tenth of it."""
        tenths = {name: getattr(self, name) // 10 for name in ("in_turn", "at_once", "bytes")}
        # Lines have 100 bytes.
        tenths["bytes"] -= tenths["bytes"] % 100
        return replace(self, **tenths)


@dataclass(frozen=True)
class Programs:
    """What the cases need.

    Attributes:
        hosts: The command of each host that can be had.
        plugins: And of each plugin.
        absent: Why another cannot.
    """

    hosts: Mapping[str, Sequence[str]]
    plugins: Mapping[str, Sequence[str]]
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One pair in one scene; the host and the plugin are "Go", "port" or "ours"."""

    scene: Scene
    host: str
    plugin: str

    @property
    def pair(self) -> str:
        """What the tables call it."""
        return f"{self.host} + {self.plugin}"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.scene.title}: {self.pair}"

    def run(self, programs: Programs) -> dict[str, Any]:
        """Starts the host and returns what it measured.

        Raises:
            Absent: It failed.
        """
        scene = self.scene
        task = Task(
            measure=scene.measure,
            command=programs.plugins[self.plugin],
            auto_mtls=scene.auto_mtls,
            warm=10,
            in_turn=scene.in_turn,
            at_once=scene.at_once,
            in_flight=16,
            bytes=scene.bytes,
            seconds=_TIMEOUT,
        )
        with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
            return ask_host(programs.hosts[self.host], task, Path(folder), _RUN_TIMEOUT)


def prepare() -> Programs:
    """Builds the programs.

    Raises:
        Absent: There is no Go, which all is compared with.
    """
    module = peers.ROOT / "benches" / "go"
    host, plugin = ["-m", "benches.broker.host"], ["-m", "benches.broker.plugin"]
    hosts: dict[str, Sequence[str]] = {
        GO: [peers.go_program("brokerhost", "./brokerhost", module)],
        OURS: [sys.executable, *host],
    }
    plugins: dict[str, Sequence[str]] = {
        GO: [peers.go_program("brokerplugin", "./brokerplugin", module)],
        OURS: [sys.executable, *plugin],
    }
    absent = {}
    try:
        python = peers.port().command[0]
        hosts[PORT], plugins[PORT] = [python, *host], [python, *plugin]
    except Absent as reason:
        absent[PORT] = str(reason)
    return Programs(hosts, plugins, absent)


def all_cases() -> list[Case]:
    """All cases, the pairs of a scene one after the other."""
    return [
        Case(scene, *pair)
        for scene in _SCENES
        for pair in _PAIRS
        if not (scene.bytes and PORT in pair)
    ]


_PAIRS = [(GO, GO), (OURS, OURS), (OURS, GO), (GO, OURS), (PORT, PORT)]
_OPENINGS = {"in_turn": 200, "at_once": 400}
_SCENES = [
    *(
        Scene(f"{title}, {security}", measure, auto_mtls, calls, **counts)
        for auto_mtls, security in ((False, "plain"), (True, "AutoMTLS"))
        for title, measure, calls, counts in (
            ("A call", "call", 1, {"in_turn": 1000, "at_once": 2000}),
            ("The host serves, the plugin dials", "host serves", 2, _OPENINGS),
            ("The plugin serves, the host dials", "plugin serves", 3, _OPENINGS),
        )
    ),
    Scene("Printed in blocks of 64 KiB", "blocks", bytes=32 * 2**20),
    Scene("Printed in lines of 100 bytes", "lines", bytes=32 * 2**20 // 100 * 100),
]
