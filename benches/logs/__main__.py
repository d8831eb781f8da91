"""How fast hosts take the log of their plugins: python -m benches.logs [--rounds 7].

It runs in the project's environment, on Linux, and needs Go. Every case runs once a round, in an
order that rotates, and ratios are taken within a round, so that a machine that slows down slows
all. The tables go to stdout and benches/results/logs.md, the numbers to logs.json beside it, a
picture of them to logs.svg; those of a run of less than everything to .build. A case that cannot
run is left out, with the reason.

* rate: lines a second from the request to write until the last one is in the sink, the processor
  time of the host alone meanwhile, and its peak memory;
* latency: from the writing of a single line, one a millisecond, to the sink;
* storm: by how much the event loop's timers are late, and how long a call takes, while plugins
  write as fast as they can, and while nothing happens.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from benches.logs import plot, report
from benches.logs.cases import GO, Case, all_cases, prepare
from benches.peers import BUILD, Absent
from benches.rounds import RESULTS, machine, measured, save


def _chosen(text: str) -> list[Case]:
    scenes = {case.scene for case in all_cases() if text in case.name}
    return [
        case
        for case in all_cases()
        if text in case.name or (case.host == GO and case.scene in scenes)
    ]


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="measured runs of each case")
    parser.add_argument(
        "--only", default="", help="only cases with this in the name, and Go's beside"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the lines")
    options = parser.parse_args()
    try:
        programs = prepare()
    except Absent as reason:
        sys.exit(str(reason))
    cases = _chosen(options.only)
    if options.quick:
        cases = [replace(case, lines=case.lines // 10) for case in cases]
    rounds = 1 if options.quick else max(options.rounds, 1)
    cases = [case for case in cases if case.host in programs.hosts]
    samples, absent = measured(cases, rounds, lambda case: case.run(programs))
    results: dict[str, Any] = {
        "machine": machine(),
        "rounds": rounds,
        "absent": {**programs.absent, **absent},
        "cases": report.summary(samples),
    }
    folder = BUILD if options.quick or options.only else RESULTS
    save(folder, "logs", results, report.render(results))
    (folder / "logs.svg").write_text(plot.draw(results["cases"]))


if __name__ == "__main__":
    main()
