"""What was measured, as numbers and as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benches.logs.cases import GO, PORT
from benches.rounds import median_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benches.logs.cases import Case

    Sample = dict[str, Any]

# Of each measure: the heads of its table, and what is in their columns.
_COLUMNS = {
    "rate": {
        "lines/s": "lines_per_s",
        "x Go": "to_go",
        "x port": "to_port",
        "CPU s per million lines": "cpu_s_per_million",
        "x less CPU than Go": "cpu_to_go",
        "peak MiB": "peak_mib",
    },
    "latency": {"p50 us": "p50_us", "p99 us": "p99_us", "p50 x Go": "to_go"},
    "storm": {
        "loop p99 ms, idle": "idle_loop_ms",
        "storm": "storm_loop_ms",
        "call p99 ms, idle": "idle_call_ms",
        "storm ": "storm_call_ms",
        "x idle": "call_to_idle",
    },
}


def summary(samples: Mapping[Case, list[Sample]]) -> list[dict[str, Any]]:
    """A row for each case."""
    rows = []
    for case, its in samples.items():
        others = {
            other.host: values for other, values in samples.items() if other.scene == case.scene
        }
        figures = _FIGURES[case.scene.measure](its, others.get(GO), others.get(PORT))
        rows.append(
            {
                "scene": case.scene.title,
                "measure": case.scene.measure,
                "host": case.host,
                "sink": case.sink,
                **figures,
                "samples": its,
            }
        )
    return rows


def _rate(its: list[Sample], go: list[Sample] | None, port: list[Sample] | None) -> Sample:
    return {
        "lines_per_s": round(statistics.median(map(_lines_per_s, its))),
        "to_go": _ratio(_lines_per_s, its, go),
        "to_port": _ratio(_lines_per_s, its, port),
        "cpu_s_per_million": round(statistics.median(map(_cpu_per_line, its)) * 1e6, 3),
        "cpu_to_go": _ratio(_cpu_per_line, go, its),
        "peak_mib": round(statistics.median(sample["peak_bytes"] for sample in its) / 2**20, 1),
    }


def _latency(its: list[Sample], go: list[Sample] | None, _port: list[Sample] | None) -> Sample:
    return {
        "p50_us": round(statistics.median(sample["p50_us"] for sample in its), 1),
        "p99_us": round(statistics.median(sample["p99_us"] for sample in its), 1),
        "to_go": _ratio(lambda sample: sample["p50_us"], its, go),
    }


def _storm(its: list[Sample], _go: list[Sample] | None, _port: list[Sample] | None) -> Sample:
    return {
        "idle_loop_ms": _p99_ms(its, "idle", "loop"),
        "storm_loop_ms": _p99_ms(its, "storm", "loop"),
        "idle_call_ms": _p99_ms(its, "idle", "call"),
        "storm_call_ms": _p99_ms(its, "storm", "call"),
        "call_to_idle": median_ratio(
            (sample["storm"]["call"]["p99_us"] for sample in its),
            (sample["idle"]["call"]["p99_us"] for sample in its),
        ),
    }


_FIGURES = {"rate": _rate, "latency": _latency, "storm": _storm}


def _lines_per_s(sample: Sample) -> float:
    return float(sample["lines"] / sample["seconds"])


def _cpu_per_line(sample: Sample) -> float:
    return float(sample["cpu_seconds"] / sample["lines"])


def _ratio(
    value: Callable[[Sample], float], its: Iterable[Sample] | None, others: Iterable[Sample] | None
) -> float | None:
    if its is None or others is None:
        return None
    return median_ratio(map(value, its), map(value, others))


def _p99_ms(its: list[Sample], when: str, what: str) -> float | None:
    # Go's host has no loop.
    values = [sample[when][what]["p99_us"] for sample in its if what in sample[when]]
    return round(statistics.median(values) / 1000, 2) if values else None


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    packages = facts["packages"]
    lines = [
        "# Logs",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, Go: {facts['go']}, "
        f"ours {packages['python-plugin']}, the port {facts['port']}. Medians of "
        f"{report['rounds']} interleaved rounds; a ratio is the median of the rounds' own. JSON "
        "lines are hclog's, of 253 bytes; plain ones have 120. Times and memory are the host's, "
        "without its plugins. Go's host discards its log, which is JSON.",
        "",
        "Sinks: *records* are counted by a handler of `logging`, *file* is `FileHandler` with a "
        "`Formatter`, *batches* go to `log_sink`, *forward* is `log_forward` to the null device.",
    ]
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in report["cases"]:
        tables.setdefault(row["scene"], []).append(row)
    for scene, rows in tables.items():
        lines += ["", f"## {scene}", "", *_table(rows)]
    lines += [f"\nWithout {name}: {reason}." for name, reason in report["absent"].items()]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = _COLUMNS[rows[0]["measure"]]
    return [
        f"| host | {' | '.join(head.strip() for head in columns)} |",
        f"|---|{'--:|' * len(columns)}",
        *(
            f"| {row['host']}, {row['sink']} | "
            f"{' | '.join(_cell(row[key]) for key in columns.values())} |"
            for row in rows
        ),
    ]


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
