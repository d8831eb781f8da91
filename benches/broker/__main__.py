"""What the broker's connections cost, and the taking of output: python -m benches.broker.

It runs in the project's environment, on Linux, and needs Go. Every case runs once a round, in an
order that rotates, and ratios are taken within a round, so that a machine that slows down slows
all. The tables go to stdout and benches/results/broker.md, the numbers to broker.json beside it;
those of a run of less than everything to .build. A case that cannot run is left out, with the
reason.

* openings: an id is served, told to the other side, dialled, called once, and closed on both
  sides; the time of each, one after the other, and how many a second with 16 at a time;
* calls: the same of a call on the connection that is there already;
* output: bytes a second from the request to print until the last one is in the host's writer.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import Any

from benches.broker import report
from benches.broker.cases import GO, all_cases, prepare
from benches.peers import BUILD, Absent
from benches.rounds import RESULTS, machine, measured, save


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="measured runs of each case")
    parser.add_argument("--only", default="", help="only scenes with this in the title")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the work")
    options = parser.parse_args()
    try:
        programs = prepare()
    except Absent as reason:
        sys.exit(str(reason))
    cases = [
        replace(case, scene=case.scene.shortened()) if options.quick else case
        for case in all_cases()
        if options.only in case.scene.title and case.host in programs.hosts
    ]
    rounds = 1 if options.quick else max(options.rounds, 1)
    samples, absent = measured(cases, rounds, lambda case: case.run(programs))
    yardsticks = {case.scene for case in samples if case.pair == f"{GO} + {GO}"}
    if missing := {case.scene.title for case in samples if case.scene not in yardsticks}:
        sys.exit(f"Go failed: {', '.join(missing)}")
    results: dict[str, Any] = {
        "machine": machine(),
        "rounds": rounds,
        "absent": {**programs.absent, **absent},
        "cases": report.summary(samples),
    }
    folder = BUILD if options.quick or options.only else RESULTS
    save(folder, "broker", results, report.render(results))


if __name__ == "__main__":
    main()
