"""What the benchmarks have in common: rounds, ratios, results, and the surroundings of a run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from benches import peers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    T = TypeVar("T")

RESULTS = Path(__file__).with_name("results")
# All that programs get of this process's environment: PYTHON… and GO… variables change times.
INHERITED = ("PATH", "HOME", "LANG")


def interleaved(cases: Sequence[T], rounds: int) -> Iterator[T]:
    """Every case once a round, in an order that rotates."""
    for number in range(rounds):
        first = number * len(cases) // rounds
        yield from (*cases[first:], *cases[:first])
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def median_ratio(values: Iterable[float], others: Iterable[float]) -> float:
    """The median over the rounds of a value divided by the other of the same round."""
    pairs = zip(values, others, strict=True)
    return round(statistics.median(value / other for value, other in pairs), 3)


def environment(folder: Path) -> dict[str, str]:
    """For a program that is measured; its sockets are in ``folder``."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, "TMPDIR": str(folder)}


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "go": peers.go_version(),
        "packages": {name: version(name) for name in ("python-plugin", *peers.SHARED)},
        "port": peers.PORT_VERSION,
    }


def save(folder: Path, name: str, report: dict[str, Any], text: str) -> None:
    """Writes the results, and the readable ones to stdout too."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
    print(text)
