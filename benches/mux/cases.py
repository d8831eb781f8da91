"""The cases: engines, memory, and pairs of host and plugin."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches import peers
from benches.mux.engine import STREAMS
from benches.mux.task import Task
from benches.peers import Absent
from benches.rounds import ask_host, environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GO, OURS = "Go", "ours"
GO_PIPE = "Go, net.Pipe"
# Seconds for what a host measures, and for all of a program's run.
_TIMEOUT, _RUN_TIMEOUT = 60.0, 120.0
_MEGABYTES = 2**20


@dataclass(frozen=True)
class Programs:
    """What the cases need.

    Attributes:
        hosts: The command of each host.
        plugins: And of each plugin.
        yamux: Go's engine.
        criterion: Rust's.
        absent: Why one cannot be had.
    """

    hosts: Mapping[str, Sequence[str]]
    plugins: Mapping[str, Sequence[str]]
    yamux: str
    criterion: str
    absent: Mapping[str, str]


@dataclass(frozen=True)
class Engine:
    """One engine, measured with all numbers of streams.

    Attributes:
        title: What the table calls it.
        program: "rust", "python" or "go".
        variant: The first argument of it, or the group of criterion's.
        samples: How many for each number of streams, of which the median counts.
        messages: Of how many messages each.
    """

    title: str
    program: str
    variant: str
    samples: int = 5
    messages: int = 8192

    @property
    def name(self) -> str:
        """For messages."""
        return f"Engine: {self.title}"

    def shortened(self) -> Engine:
        """The shortest that tells anything."""
        return replace(self, samples=3, messages=4096)

    def run(self, programs: Programs) -> dict[str, Any]:
        """The nanoseconds of a message by the number of streams.

        Raises:
            Absent: It failed.
        """
        if self.program == "rust":
            return _criterion(programs.criterion, self.variant)
        samples, messages = str(self.samples), str(self.messages)
        if self.program == "go":
            command = [programs.yamux, "-network", self.variant]
            return _printed([*command, "-rounds", samples, "-messages", messages])
        module = [sys.executable, "-m", "benches.mux.engine"]
        return _printed([*module, self.variant, samples, messages])


@dataclass(frozen=True)
class Memory:
    """What idle streams take.

    Attributes:
        title: What the table calls it.
        of: The first argument of the program.
        streams: How many there are.
    """

    title: str
    of: str
    streams: int = 4000

    @property
    def name(self) -> str:
        """For messages."""
        return f"Memory: {self.title}"

    def shortened(self) -> Memory:
        """It is short."""
        return self

    def run(self, programs: Programs) -> dict[str, Any]:
        """The bytes of one.

        Raises:
            Absent: It failed.
        """
        del programs
        module = [sys.executable, "-m", "benches.mux.memory"]
        return _printed([*module, self.of, str(self.streams)])


@dataclass(frozen=True)
class Scene:
    """What all pairs are compared in; each does it plain and multiplexed.

    Attributes:
        title: What the tables call it.
        measure: See ``Task``, as with all that follows.
        auto_mtls: Likewise.
        in_turn: Likewise.
        at_once: Likewise.
        in_flight: Likewise.
        bytes: Likewise.
        calls: How many calls one opening makes, of all connections.
    """

    title: str
    measure: str
    auto_mtls: bool
    in_turn: int
    at_once: int
    in_flight: int = 1
    bytes: int = 0
    calls: int = 0


@dataclass(frozen=True)
class Pair:
    """One host with one plugin in one scene; both are "Go" or "ours"."""

    scene: Scene
    host: str
    plugin: str
    turns: int = 4

    @property
    def pair(self) -> str:
        """What the tables call it."""
        return f"{self.host} + {self.plugin}"

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.scene.title}: {self.pair}"

    def shortened(self) -> Pair:
        """Half of the turns of half the length."""
        scene = replace(
            self.scene, in_turn=self.scene.in_turn // 2, at_once=self.scene.at_once // 2
        )
        return replace(self, turns=2, scene=scene)

    def run(self, programs: Programs) -> dict[str, Any]:
        """What the host measured, "plain" and "mux".

        Raises:
            Absent: It failed.
        """
        scene = self.scene
        task = Task(
            measure=scene.measure,
            command=programs.plugins[self.plugin],
            auto_mtls=scene.auto_mtls,
            warm=3 if scene.bytes else 10,
            in_turn=scene.in_turn,
            at_once=scene.at_once,
            in_flight=scene.in_flight,
            bytes=scene.bytes,
            turns=self.turns,
            seconds=_TIMEOUT,
        )
        with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
            return ask_host(programs.hosts[self.host], task, Path(folder), _RUN_TIMEOUT)


Case = Engine | Memory | Pair


def prepare() -> Programs:
    """Builds the programs.

    Raises:
        Absent: There is no Go, which all is compared with.
    """
    module = peers.ROOT / "benches" / "go"
    absent: dict[str, str] = {}
    criterion = ""
    try:
        criterion = _build_criterion()
    except Absent as reason:
        absent["the engine in Rust alone"] = str(reason)
    return Programs(
        hosts={
            GO: [peers.go_program("muxhost", "./muxhost", module)],
            OURS: [sys.executable, "-m", "benches.mux.host"],
        },
        plugins={
            GO: [peers.go_program("brokerplugin", "./brokerplugin", module)],
            OURS: [sys.executable, "-m", "benches.broker.plugin"],
        },
        yamux=peers.go_program("yamux", "./yamux", module),
        criterion=criterion,
        absent=absent,
    )


def all_cases() -> list[Case]:
    """All cases, the pairs of a scene one after the other."""
    pairs = [Pair(scene, *names) for scene in _SCENES for names in _PAIRS]
    return [*_ENGINES, *_MEMORIES, *pairs]


_ENGINES = [
    Engine(GO_PIPE, "go", "pipe"),
    Engine("Go, unix sockets", "go", "unix"),
    Engine("ours, Rust, payload lent", "rust", "lent"),
    Engine("ours, Rust, payload copied", "rust", "copied"),
    Engine("ours, called from Python", "python", "memory"),
    Engine("ours, asyncio and unix sockets", "python", "unix"),
]
_MEMORIES = [
    Memory("the session in Rust, each end", "session"),
    Memory("a connection, the end that opens", "connection"),
]
_PAIRS = [(GO, GO), (OURS, OURS), (OURS, GO), (GO, OURS)]
_OPENINGS = {"in_turn": 20, "at_once": 20}
_BULK = {"in_turn": 4, "at_once": 12, "bytes": 4 * _MEGABYTES}
_SCENES = [
    Scene(f"{title}, {security}", measure, auto_mtls, **numbers)
    for auto_mtls, security in ((False, "plain"), (True, "AutoMTLS"))
    for title, measure, numbers in (
        ("A call", "call", {"in_turn": 200, "at_once": 600, "in_flight": 32}),
        ("Get 4 MiB", "get", _BULK),
        ("Put 4 MiB", "put", _BULK),
        ("The host serves, the plugin dials", "host serves", {**_OPENINGS, "calls": 2}),
        ("The plugin serves, the host dials", "plugin serves", {**_OPENINGS, "calls": 3}),
    )
]


def _printed(command: Sequence[str]) -> dict[str, Any]:
    """What a program prints as JSON.

    Raises:
        Absent: It failed.
    """
    with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
        try:
            done = subprocess.run(
                command,
                cwd=peers.ROOT,
                env=environment(Path(folder)),
                capture_output=True,
                text=True,
                check=False,
                timeout=_RUN_TIMEOUT,
            )
        except subprocess.TimeoutExpired as error:
            raise Absent(f"it took longer than {_RUN_TIMEOUT:g} s") from error
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise Absent(f"it failed with {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _build_criterion() -> str:
    """Builds Rust's bench apart from the extension; the path of it.

    Raises:
        Absent: There is no Rust, or it cannot build.
    """
    if shutil.which("cargo") is None:
        raise Absent("there is no Rust")
    command = ["cargo", "bench", "--locked", "--bench", "yamux", "--no-run"]
    done = subprocess.run(
        [*command, "--target-dir", str(peers.BUILD / "cargo"), "--message-format", "json"],
        cwd=peers.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        raise Absent("cargo could not build it: no network?")
    messages = map(json.loads, done.stdout.splitlines())
    programs = [built for message in messages if (built := message.get("executable"))]
    return str(programs[-1])


def _criterion(program: str, group: str) -> dict[str, Any]:
    """The nanoseconds of a message by the number of streams, of one of criterion's groups.

    Raises:
        Absent: It failed, or was not built.
    """
    if not program:
        raise Absent("it was not built")
    shortest = ["--warm-up-time", "0.1", "--measurement-time", "0.3", "--sample-size", "10"]
    with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
        done = subprocess.run(
            [program, "--bench", *shortest, f"yamux/{group}/"],
            cwd=folder,
            env={**environment(Path(folder)), "CRITERION_HOME": folder},
            capture_output=True,
            check=False,
            timeout=_RUN_TIMEOUT,
        )
        if done.returncode:
            raise Absent(f"it failed with {done.returncode}")
        result = {}
        for count in STREAMS:
            found = Path(folder, "yamux", group, str(count), "new", "estimates.json")
            estimates = json.loads(found.read_text())
            result[str(count)] = estimates["median"]["point_estimate"] / count
    return result
