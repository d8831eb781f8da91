"""What one multiplexed connection costs: python -m benches.mux.

It runs in the project's environment, on Linux, and needs Go, and Rust for the figures of the engine
alone. Every case runs once a round, in an order that rotates, and ratios are taken within a round,
so that a machine that slows down slows all. The tables go to stdout and benches/results/mux.md, the
numbers to mux.json beside it; those of a run of less than everything to .build. A case that cannot
run is left out, with the reason.

* engine: messages of 16 KiB between two sessions, ours and Go's, with up to 4096 streams;
* memory: of a stream that is idle, in Rust alone and with what Python has of it;
* calls: their latency, and how many a second, over one connection for all and without;
* bulk: calls that carry 4 MiB in either direction;
* openings: an id is served, told to the other side, dialled, called once, and closed.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from benches.mux import report
from benches.mux.cases import all_cases, prepare
from benches.peers import BUILD, Absent
from benches.rounds import RESULTS, machine, measured, save


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each case")
    parser.add_argument("--only", default="", help="only cases with this in the name")
    parser.add_argument("--quick", action="store_true", help="one round of a quarter of the work")
    options = parser.parse_args()
    try:
        programs = prepare()
    except Absent as reason:
        sys.exit(str(reason))
    cases = [
        case.shortened() if options.quick else case
        for case in all_cases()
        if options.only in case.name
    ]
    rounds = 1 if options.quick else max(options.rounds, 1)
    samples, absent = measured(cases, rounds, lambda case: case.run(programs))
    results: dict[str, Any] = {
        "machine": machine(),
        "rounds": rounds,
        "absent": {**programs.absent, **absent},
        **report.summary(samples),
    }
    folder = BUILD if options.quick or options.only else RESULTS
    save(folder, "mux", results, report.render(results))


if __name__ == "__main__":
    main()
