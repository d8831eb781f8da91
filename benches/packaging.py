"""How long a packed plugin takes to start: python -m benches.packaging [--rounds 15].

It makes the artifacts of docs/packaging.md as tests/packaging does, of the wheel and from the
registry, which takes minutes. Every case runs once a round, in an order that rotates, over mutual
TLS: until the answer of one ``Get``, in a host of this package and in Go's. First starts, in which
shiv and uv unpack or install, are measured once. The table goes to stdout and
benches/results/packaging.md, the numbers to benches/results/packaging.json.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_pb2
from kv import HANDSHAKE, KVPlugin

from benches.rounds import RESULTS, environment, interleaved, machine, save
from pyplugin import Client, ClientConfig
from tests.interop.peers import GoError, GoHost, build
from tests.packaging import artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.interop.peers import Peers

KEY, VALUE = "bench", b"value"


@dataclass(frozen=True, eq=False)
class Artifact:
    """A packed plugin.

    Attributes:
        name: What the table calls it.
        path: The executable.
        size: What is installed, in bytes; None where it shares an environment.
        env: Variables it needs.
    """

    name: str
    path: Path
    size: int | None
    env: Mapping[str, str] = field(default_factory=dict)

    async def in_python(self, folder: Path) -> float:
        """Seconds until the first answer, in a host of this package."""
        config = ClientConfig(
            handshake_config=HANDSHAKE,
            plugins={"kv_grpc": KVPlugin()},
            cmd=[str(self.path)],
            env={**environment(folder), **self.env},
            skip_host_env=True,
            cwd=str(folder),
        )
        began = time.perf_counter()
        async with Client(config) as client:
            await client.dispense("kv_grpc").Get(kv_pb2.GetRequest(key=KEY))
            return time.perf_counter() - began

    async def in_go(self, folder: Path, peers: Peers) -> float:
        """The same in Go's; the host runs already."""
        env = {**environment(folder), **self.env}
        async with GoHost(peers, [str(self.path)], "-mtls", cwd=folder, env=env) as host:
            # It runs once it answers, be it that there is no plugin yet.
            with contextlib.suppress(GoError):
                await host.do("ping")
            began = time.perf_counter()
            await host.start()
            await host.get(KEY)
            return time.perf_counter() - began


def make(folder: Path) -> list[Artifact]:
    """All of them."""
    made = artifacts.installed()
    pyz = artifacts.shiv(made, folder / "kv-plugin.pyz")
    for name in "script", "onedir", "onefile":
        (folder / name).mkdir()
    script, uv = artifacts.script(made, folder / "script" / "kv-plugin")
    onedir = artifacts.pyinstaller(made, folder / "onedir", "onedir")
    onefile = artifacts.pyinstaller(made, folder / "onefile", "onefile")
    return [
        Artifact("console script", artifacts.console_script(made), None),
        Artifact("`uv run --script`", script, None, uv),
        Artifact("shiv", pyz, pyz.stat().st_size, {"SHIV_ROOT": str(folder / "unpacked")}),
        Artifact("PyInstaller, a folder", onedir, size(onedir.parent)),
        Artifact("PyInstaller, one file", onefile, onefile.stat().st_size),
    ]


def size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts, packages = report["machine"], report["machine"]["packages"]
    lines = [
        "# Packed plugins",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, Go: {facts['go']}, "
        f"protobuf {packages['protobuf']}, cryptography {packages['cryptography']}. From the start "
        "to the answer of a first call over mutual TLS, in ms: medians of "
        f"{report['rounds']} interleaved rounds. The first start was measured once, in our host.",
        "",
        "| plugin | Python host | Go host | x console script | first start | MB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    base = report["cases"][0]["python_ms"]
    for case in report["cases"]:
        megabytes = "" if case["size"] is None else f"{case['size'] / 1e6:.0f}"
        lines.append(
            f"| {case['plugin']} | {case['python_ms']:.0f} | {case['go_ms']:.0f} | "
            f"{case['python_ms'] / base:.2f} | {case['first_ms']:.0f} | {megabytes} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="measured starts of each case")
    rounds = max(parser.parse_args().rounds, 1)
    with tempfile.TemporaryDirectory(prefix="pyplugin-bench-") as name:
        folder = Path(name)
        (folder / f"kv_{KEY}").write_bytes(VALUE)
        print("making the artifacts", file=sys.stderr)
        cases, peers = make(folder), build()
        firsts = {case: asyncio.run(case.in_python(folder)) for case in cases}
        python: dict[Artifact, list[float]] = {case: [] for case in cases}
        go: dict[Artifact, list[float]] = {case: [] for case in cases}
        for case in interleaved(cases, rounds):
            python[case].append(asyncio.run(case.in_python(folder)))
            go[case].append(asyncio.run(case.in_go(folder, peers)))
    rows = [
        {
            "plugin": case.name,
            "python_ms": round(statistics.median(python[case]) * 1000, 1),
            "go_ms": round(statistics.median(go[case]) * 1000, 1),
            "first_ms": round(firsts[case] * 1000, 1),
            "size": case.size,
        }
        for case in cases
    ]
    report = {"machine": machine(), "rounds": rounds, "cases": rows}
    save(RESULTS, "packaging", report, render(report))


if __name__ == "__main__":
    main()
