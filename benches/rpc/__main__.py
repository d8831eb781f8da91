"""What calls cost, beside Go's and those of others: python -m benches.rpc [--rounds 5].

It runs in the project's environment, on Linux, and needs Go. Every case runs once a round, in an
order that rotates, and ratios are taken within a round, so that a machine that slows down slows
all. The tables go to stdout and benches/results/rpc.md, the numbers to rpc.json beside it, a
picture of them to rpc.svg; those of a run of less than everything to .build. A case that cannot run
is left out, with the reason.

* calls: their latency one after the other, how many a second with 32 and with 256 in flight, and
  the processor time of one in each process;
* get and put: megabytes a second of calls that carry 1 MiB in either direction;
* a stream: messages a second from the plugin to the host;
* all of it plain, over AutoMTLS, and over one multiplexed connection.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from benches.peers import BUILD, Absent
from benches.rounds import RESULTS, machine, measured, save
from benches.rpc import report
from benches.rpc.cases import GO, Case, all_cases, prepare


def _chosen(text: str) -> list[Case]:
    cases = all_cases()
    chosen = [case for case in cases if text in case.name]
    beside = {(case.scene, *pair) for case in chosen for pair in (case.on_h2, (GO, GO))}
    return [
        case for case in cases if case in chosen or (case.scene, case.host, case.plugin) in beside
    ]


def main() -> None:
    """Runs the benchmark and writes its results."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="measured runs of each case")
    parser.add_argument(
        "--only", default="", help="only cases with this in the name, with Go's and h2's"
    )
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the work")
    options = parser.parse_args()
    try:
        programs = prepare()
    except Absent as reason:
        sys.exit(str(reason))
    cases = [
        replace(case, scene=case.scene.shortened()) if options.quick else case
        for case in _chosen(options.only)
        if case.host in programs.hosts and case.plugin in programs.plugins
    ]
    rounds = 1 if options.quick else max(options.rounds, 1)
    samples, absent = measured(cases, rounds, lambda case: case.run(programs))
    results: dict[str, Any] = {
        "machine": {**machine(), "grpcio": version("grpcio")},
        "rounds": rounds,
        "absent": {**programs.absent, **absent},
        "cases": report.summary(samples),
    }
    folder = BUILD if options.quick or options.only else RESULTS
    save(folder, "rpc", results, report.render(results))
    (folder / "rpc.svg").write_text(report.draw(results))


if __name__ == "__main__":
    main()
