"""How long a plugin takes to start, beside its peers: python -m benches.startup [--rounds 15].

It runs in the project's environment, on POSIX. Every case runs once a round, in an order that
rotates, and ratios are taken within a round, so that a machine that slows down slows all. The
tables go to stdout and benches/results/startup.md, the numbers to benches/results/startup.json.
A peer that cannot be had (no Go, no network) is left out, with the reason.

* handshake: from spawn to the complete handshake line, and the CPU time of the process until then
  (it is killed right after, by SIGKILL: an orderly end, which not all peers have, would count too);
* first call: from ``Client.start()`` to the answer of one ``Get``, in a host of this package.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import kv_pb2
from kv import HANDSHAKE, KVPlugin

from benches import peers
from benches.peers import Absent, Peer
from benches.rounds import RESULTS, environment, interleaved, machine, median_ratio, save
from pyplugin import Client, ClientConfig, PyPluginError, mtls
from pyplugin.environment import host_environment
from pyplugin.handshake import parse_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PORTS = (10000, 25000)
START_TIMEOUT = 20.0
KEY, VALUE = "bench", b"value"


class Sample(NamedTuple):
    """One start.

    Attributes:
        wall_ms: Time until what was waited for.
        cpu_ms: User and system time of the process; None where it was not measured.
    """

    wall_ms: float
    cpu_ms: float | None = None


@dataclass(frozen=True)
class Case:
    """What is measured once a round."""

    measure: str
    peer: Peer
    tls: bool

    def run(self, folder: Path) -> Sample:
        """Starts the plugin, measures, ends it; its sockets are in ``folder``."""
        variables = {**environment(folder), **self.peer.env}
        if self.measure == "handshake":
            return self._handshake(folder, variables)
        return Sample(asyncio.run(self._first_call(folder, variables)))

    def _handshake(self, folder: Path, variables: dict[str, str]) -> Sample:
        variables = host_environment(
            variables,
            {},
            handshake=HANDSHAKE,
            versions=[HANDSHAKE.protocol_version],
            ports=PORTS,
            socket_dir=str(folder),
            client_cert_pem=mtls.generate().cert_pem if self.tls else None,
        )
        with tempfile.TemporaryFile() as stderr:
            sample, line = _start(self.peer.command, variables, folder, stderr.fileno())
            if not line.endswith(b"\n"):
                stderr.seek(0)
                sys.stderr.buffer.write(stderr.read())
                raise Absent("it wrote no handshake")
        handshake = parse_line(os.fsdecode(line))
        if self.peer.is_plugin and bool(handshake.server_cert) != self.tls:
            raise Absent("it does TLS when it should not, or does not when it should")
        return sample

    async def _first_call(self, folder: Path, variables: dict[str, str]) -> float:
        config = ClientConfig(
            handshake_config=HANDSHAKE,
            plugins={"kv_grpc": KVPlugin()},
            cmd=self.peer.command,
            auto_mtls=self.tls,
            env=variables,
            skip_host_env=True,
            cwd=str(folder),
        )
        client = Client(config)
        began = time.perf_counter()
        try:
            await client.start()
            reply = await client.dispense("kv_grpc").Get(kv_pb2.GetRequest(key=KEY))
            took = time.perf_counter() - began
        except PyPluginError as error:
            print(error, file=sys.stderr)
            raise Absent(f"this host cannot talk to it: {type(error).__name__}") from error
        finally:
            await client.kill()
        assert reply.value == VALUE
        return took * 1000


def _start(
    command: Sequence[str], variables: dict[str, str], folder: Path, stderr: int
) -> tuple[Sample, bytes]:
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=variables,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        bufsize=0,
    )
    assert process.stdout is not None
    with process.stdout as stdout:
        try:
            line = _read_line(stdout.fileno())
            wall = time.perf_counter() - began
        finally:
            os.kill(process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
    return Sample(wall * 1000, (usage.ru_utime + usage.ru_stime) * 1000), line


def _read_line(descriptor: int) -> bytes:
    line = b""
    timer = signal.signal(signal.SIGALRM, _too_late)
    signal.setitimer(signal.ITIMER_REAL, START_TIMEOUT)
    try:
        while not line.endswith(b"\n") and (data := os.read(descriptor, 65536)):
            line += data
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, timer)
    return line


def _too_late(*_: object) -> None:
    raise Absent(f"it wrote no handshake within {START_TIMEOUT:g} s")


class Bench:
    """The cases that can run here, and what was measured of them.

    Attributes:
        samples: By case, one a round.
        absent: Why a peer is missing, by its name.
    """

    def __init__(self) -> None:
        self.samples: dict[Case, list[Sample]] = {}
        self.absent: dict[str, str] = {}

    def prepare(self, folder: Path) -> None:
        """Makes the peers and runs every case once, unmeasured."""
        for make in (peers.floor, peers.ours, peers.port, peers.go):
            try:
                peer = make()
                for case in _cases(peer):
                    case.run(folder)
                    self.samples[case] = []
            except Absent as reason:
                self.absent[make.__name__] = str(reason)

    def run(self, folder: Path, rounds: int) -> None:
        """Measures every case ``rounds`` times."""
        for case in interleaved(list(self.samples), rounds):
            if case in self.samples:
                self._measure(case, folder)

    def _measure(self, case: Case, folder: Path) -> None:
        try:
            self.samples[case].append(case.run(folder))
        except Absent as reason:
            del self.samples[case]
            self.absent[f"{case.peer.name} ({case.measure})"] = str(reason)

    def summary(self) -> list[dict[str, Any]]:
        """A row for each case."""
        return [self._row(case) for case in self.samples]

    def _row(self, case: Case) -> dict[str, Any]:
        samples = self.samples[case]
        walls = [sample.wall_ms for sample in samples]
        cpus = [sample.cpu_ms for sample in samples if sample.cpu_ms is not None]
        return {
            "measure": case.measure,
            "plugin": case.peer.name,
            "tls": case.tls,
            "median_ms": round(statistics.median(walls), 2),
            "p90_ms": round(_p90(walls), 2),
            "cpu_ms": round(statistics.median(cpus), 2) if cpus else None,
            "to_port": self._ratio(case, "port"),
            "to_go": self._ratio(case, "Go"),
            "samples_ms": [round(wall, 2) for wall in walls],
        }

    def _ratio(self, case: Case, name: str) -> float | None:
        """The median over the rounds of this case's time divided by that of the peer ``name``."""
        for other, samples in self.samples.items():
            if (other.peer.name, other.measure, other.tls) == (name, case.measure, case.tls):
                return median_ratio(
                    (sample.wall_ms for sample in self.samples[case]),
                    (sample.wall_ms for sample in samples),
                )
        return None


def _cases(peer: Peer) -> Iterator[Case]:
    for tls in (False, True):
        yield Case("handshake", peer, tls)
        if peer.is_plugin:
            yield Case("first call", peer, tls)


def _p90(values: list[float]) -> float:
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts, packages = report["machine"], report["machine"]["packages"]
    lines = [
        "# Start-up",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, "
        f"Go: {facts['go'] or 'none'}, grpclib {packages['grpclib']}, "
        f"protobuf {packages['protobuf']}, cryptography {packages['cryptography']} for ours "
        f"({packages['python-plugin']}) and the port ({facts['port']}). Medians of "
        f"{report['rounds']} interleaved rounds, in ms; a ratio is the median of the rounds' own.",
    ]
    titles = {
        "handshake": "From spawn to the handshake line",
        "first call": "From `Client.start()` to the answer of a first call, in our host",
    }
    for measure, title in titles.items():
        lines += ["", f"## {title}", "", *_table(report["cases"], measure)]
    lines += [f"\nWithout {name}: {reason}." for name, reason in report["absent"].items()]
    return "\n".join(lines) + "\n"


def _table(cases: list[dict[str, Any]], measure: str) -> list[str]:
    columns = {"median_ms": "", "p90_ms": "p90", "to_port": "x port", "to_go": "x Go"}
    if measure == "handshake":
        columns["cpu_ms"] = "CPU"
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for case in cases:
        if case["measure"] == measure:
            rows[case["plugin"]].append(case)
    heads = [f"{tls} {name}".strip() for tls in ("plain", "mTLS") for name in columns.values()]
    return [
        f"| plugin | {' | '.join(heads)} |",
        f"|---|{'--:|' * len(heads)}",
        *(
            f"| {plugin} | {' | '.join(_cell(case, key) for case in both for key in columns)} |"
            for plugin, both in rows.items()
        ),
    ]


def _cell(case: dict[str, Any], key: str) -> str:
    value = case[key]
    if value is None:
        return ""
    return f"{value:.2f}" if key.startswith("to_") else f"{value:.1f}"


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="measured starts of each case")
    rounds = max(parser.parse_args().rounds, 1)
    bench = Bench()
    with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as name:
        folder = Path(name)
        (folder / f"kv_{KEY}").write_bytes(VALUE)
        bench.prepare(folder)
        bench.run(folder, rounds)
    report = {
        "machine": machine(),
        "rounds": rounds,
        "absent": bench.absent,
        "cases": bench.summary(),
    }
    save(RESULTS, "startup", report, render(report))


if __name__ == "__main__":
    main()
