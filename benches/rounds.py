"""What the benchmarks have in common: rounds, ratios, results, and the surroundings of a run."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from benches import peers
from benches.peers import Absent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

RESULTS = Path(__file__).with_name("results")
# All that programs get of this process's environment: PYTHON… and GO… variables change times.
INHERITED = ("PATH", "HOME", "LANG")

Sample = dict[str, Any]


class Named(Protocol):
    """A case."""

    @property
    def name(self) -> str:
        """What messages call it."""


T = TypeVar("T")
Case = TypeVar("Case", bound=Named)


def interleaved(cases: Sequence[T], rounds: int) -> Iterator[T]:
    """Every case once a round, in an order that rotates."""
    for number in range(rounds):
        first = number * len(cases) // rounds
        yield from (*cases[first:], *cases[:first])
        print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def measured(
    cases: Sequence[Case], rounds: int, run: Callable[[Case], Sample]
) -> tuple[dict[Case, list[Sample]], dict[str, str]]:
    """Runs every case once a round.

    Returns:
        By case, a sample a round; and by the name of each case that cannot run, the reason.
    """
    samples: dict[Case, list[Sample]] = {case: [] for case in cases}
    absent: dict[str, str] = {}
    for case in interleaved(cases, rounds):
        if case in samples:
            try:
                samples[case].append(run(case))
            except Absent as reason:
                del samples[case]
                absent[case.name] = str(reason)
    return samples, absent


def ask_host(command: Sequence[str], task: Any, folder: Path, seconds: float) -> Sample:
    """Runs a host that measures a task and prints the result.

    Args:
        command: The host; the task, a dataclass, is its last argument.
        task: What it measures.
        folder: For its sockets.
        seconds: When it is ended.

    Raises:
        Absent: It failed.
    """
    try:
        done = subprocess.run(
            [*command, json.dumps(asdict(task))],
            cwd=peers.ROOT,
            env=environment(folder),
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise Absent(f"it took longer than {seconds:g} s") from error
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        # Of a traceback the last line; what follows the name may hold paths.
        failure = done.stderr.strip().rpartition("\n")[2].partition(":")[0]
        raise Absent(f"it failed with {failure or done.returncode}")
    result: Sample = json.loads(done.stdout)
    return result


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
