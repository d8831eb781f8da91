"""The cases: which host does what with which plugin."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benches import peers
from benches.broker.cases import Programs
from benches.broker.cases import prepare as prepare_broker
from benches.broker.task import Task
from benches.peers import Absent
from benches.rounds import ask_host
from pyplugin.constants import ENV_HTTP2

if TYPE_CHECKING:
    from collections.abc import Mapping

GO, OURS, H2, PORT = "Go", "ours", "ours on h2", "port"
AIO, PYVIDER = "grpc.aio", "pyvider"
# Seconds for what a host measures, and for all of its run.
_TIMEOUT, _RUN_TIMEOUT = 60.0, 120.0


@dataclass(frozen=True)
class Scene:
    """What all pairs are compared in.

    Attributes:
        title: What the tables call it.
        way: "plain", "AutoMTLS" or "mux".
        measure: See ``Task``, as with all that follows.
        in_turn: Likewise.
        at_once: Likewise.
        in_flight: Likewise.
        bytes: Likewise.
        messages: Likewise.
    """

    title: str
    way: str
    measure: str
    in_turn: int
    at_once: int
    in_flight: int = 1
    bytes: int = 0
    messages: int = 0

    def shortened(self) -> Scene:
        """A tenth of it, and with many in flight not less than these."""
        return replace(
            self,
            in_turn=max(self.in_turn // 10, 1),
            at_once=max(self.at_once // 10, self.in_flight),
        )


@dataclass(frozen=True)
class Case:
    """One pair in one scene."""

    scene: Scene
    host: str
    plugin: str

    @property
    def pair(self) -> str:
        """What the tables call it."""
        return f"{self.host} + {self.plugin}"

    @property
    def name(self) -> str:
        """For messages, and to be chosen by."""
        return f"{self.scene.title}: {self.pair}"

    @property
    def on_h2(self) -> tuple[str, str]:
        """The pair that it is compared with to see what the HTTP/2 connection is worth."""
        host, plugin = (H2 if one == OURS else one for one in (self.host, self.plugin))
        return host, plugin

    def run(self, programs: Programs) -> dict[str, Any]:
        """Starts the host and returns what it measured.

        Raises:
            Absent: It failed.
        """
        scene = self.scene
        task = Task(
            measure=scene.measure,
            command=programs.plugins[self.plugin],
            auto_mtls=scene.way == "AutoMTLS",
            warm=2 if scene.bytes or scene.messages else 50,
            in_turn=scene.in_turn,
            at_once=scene.at_once,
            in_flight=scene.in_flight,
            bytes=scene.bytes,
            seconds=_TIMEOUT,
            multiplex=scene.way == "mux",
            messages=scene.messages,
        )
        with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as folder:
            return ask_host(programs.hosts[self.host], task, Path(folder), _RUN_TIMEOUT)


def prepare() -> Programs:
    """Builds the programs.

    Raises:
        Absent: There is no Go, which all is compared with.
    """
    broker = prepare_broker()
    hosts, plugins, absent = {**broker.hosts}, {**broker.plugins}, {**broker.absent}
    hosts[AIO] = [sys.executable, "-m", "benches.rpc.aio_host"]
    plugins[AIO] = [sys.executable, "-m", "benches.rpc.aio_plugin"]
    # Plugins inherit their host's variables, and have one of their own.
    for name, http2 in ((OURS, "rust"), (H2, "h2")):
        variable = _with({ENV_HTTP2: http2})
        hosts[name] = [*variable, *broker.hosts[OURS]]
        plugins[name] = [*variable, *broker.plugins[OURS]]
    try:
        python = [*_with(peers.pyvider()), sys.executable]
        hosts[PYVIDER] = [*python, "-m", "benches.rpc.pyvider_host"]
        plugins[PYVIDER] = [*python, "-m", "benches.rpc.pyvider_plugin"]
    except Absent as reason:
        absent[PYVIDER] = str(reason)
    return Programs(hosts, plugins, absent)


def _with(variables: Mapping[str, str]) -> list[str]:
    return ["env", *(f"{name}={value}" for name, value in variables.items())]


def all_cases() -> list[Case]:
    """All cases, the pairs of a scene one after the other."""
    return [Case(scene, *pair) for scene in _SCENES for pair in _PAIRS[scene.way]]


_MUX = [(GO, GO), (OURS, OURS), (OURS, GO), (GO, OURS), (H2, H2), (H2, GO), (GO, H2)]
_AUTO_MTLS = [*_MUX, (PORT, PORT), (PORT, GO), (GO, PORT)]
_PLAIN = [
    *_AUTO_MTLS,
    *((AIO, AIO), (AIO, GO), (GO, AIO), (AIO, OURS)),
    *((PYVIDER, PYVIDER), (PYVIDER, GO), (GO, PYVIDER)),
]
_PAIRS = {"plain": _PLAIN, "AutoMTLS": _AUTO_MTLS, "mux": _MUX}
_SCENES = [
    Scene(f"{title}, {way}", way, measure, **numbers)
    for way in _PAIRS
    for title, measure, numbers in (
        ("Calls one after the other", "call", {"in_turn": 1000, "at_once": 1000}),
        ("Calls, 32 in flight", "call", {"in_turn": 1, "at_once": 5000, "in_flight": 32}),
        ("Calls, 256 in flight", "call", {"in_turn": 1, "at_once": 5000, "in_flight": 256}),
        ("Get 1 MiB", "get", {"in_turn": 1, "at_once": 60, "bytes": 2**20}),
        ("Put 1 MiB", "put", {"in_turn": 1, "at_once": 60, "bytes": 2**20}),
        ("A stream", "stream", {"in_turn": 1, "at_once": 2, "messages": 10_000}),
    )
]
