"""What was measured, as numbers and as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benches.broker.cases import GO
from benches.rounds import median_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benches.broker.cases import Case, Scene
    from benches.rounds import Sample

# The heads of the tables, and what is in their columns.
_CALLS = {
    "p50 us": "p50_us",
    "p99 us": "p99_us",
    "p50 x Go": "to_go",
    "a second, 16 at a time": "per_s",
    "x Go": "per_s_to_go",
    "host CPU us": "host_us",
    "plugin CPU us": "plugin_us",
}
_OPENINGS = {
    "p50 us": "p50_us",
    "p99 us": "p99_us",
    "p50 x Go": "to_go",
    "p50 us less calls": "opening_us",
    **dict(list(_CALLS.items())[3:]),
}
_OUTPUT = {
    "MB/s": "mb_per_s",
    "x Go": "mb_per_s_to_go",
    "host CPU ms": "host_ms",
    "plugin CPU ms": "plugin_ms",
}


def summary(samples: Mapping[Case, list[Sample]]) -> list[dict[str, Any]]:
    """A row for each case."""
    rows = []
    for case, its in samples.items():
        go = next(
            values
            for other, values in samples.items()
            if other.scene == case.scene and other.pair == f"{GO} + {GO}"
        )
        if case.scene.bytes:
            figures = _output(case.scene, its, go)
        else:
            figures = _calls(case.scene, its, go)
            figures["opening_us"] = _opening_us(case, samples)
        rows.append(
            {
                "scene": case.scene.title,
                "measure": case.scene.measure,
                "pair": case.pair,
                **figures,
                "samples": its,
            }
        )
    return rows


def _calls(scene: Scene, its: list[Sample], go: list[Sample]) -> dict[str, Any]:
    def rate(sample: Sample) -> float:
        return float(scene.at_once / sample["seconds"])

    def microseconds(name: str) -> int:
        return round(_median(lambda sample: sample[name] / scene.at_once * 1e6, its))

    return {
        "p50_us": round(_median(_p50, its)),
        "p99_us": round(_median(lambda sample: sample["p99_us"], its)),
        "to_go": median_ratio(map(_p50, its), map(_p50, go)),
        "per_s": round(_median(rate, its)),
        "per_s_to_go": median_ratio(map(rate, its), map(rate, go)),
        "host_us": microseconds("host_seconds"),
        "plugin_us": microseconds("plugin_seconds"),
    }


def _opening_us(case: Case, samples: Mapping[Case, list[Sample]]) -> int | None:
    """The time of an opening without the calls that it makes; None where those are unknown."""
    for other, calls in samples.items():
        is_call = other.scene.measure == "call" and other.scene.auto_mtls == case.scene.auto_mtls
        if is_call and other.pair == case.pair and other != case:
            pairs = zip(samples[case], calls, strict=True)
            return round(
                statistics.median(_p50(its) - case.scene.calls * _p50(call) for its, call in pairs)
            )
    return None


def _output(scene: Scene, its: list[Sample], go: list[Sample]) -> dict[str, Any]:
    def rate(sample: Sample) -> float:
        return float(scene.bytes / sample["seconds"] / 1e6)

    return {
        "mb_per_s": round(_median(rate, its), 1),
        "mb_per_s_to_go": median_ratio(map(rate, its), map(rate, go)),
        "host_ms": round(_median(lambda sample: sample["host_seconds"] * 1000, its)),
        "plugin_ms": round(_median(lambda sample: sample["plugin_seconds"] * 1000, its)),
    }


def _p50(sample: Sample) -> float:
    return float(sample["p50_us"])


def _median(value: Callable[[Sample], float], samples: list[Sample]) -> float:
    return statistics.median(map(value, samples))


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    lines = [
        "# The broker, and output",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, Go: {facts['go']}, "
        f"ours {facts['packages']['python-plugin']}, the port {facts['port']}. Medians of "
        f"{report['rounds']} interleaved rounds; a ratio is the median of the rounds' own. A pair "
        "is host + plugin. Processor time is that of one call or opening with 16 at a time, or of "
        "all output.",
        "",
        "An opening: one side serves a new id, the other dials it, makes one call there and hangs "
        "up, and the server is closed. The plugin is told of the host's id by a call, which ends "
        "after its own; where the plugin serves, one call asks for the id and another has it "
        "closed. *Less calls* takes off as many plain calls as that makes, 2 or 3.",
        "",
        "Output is 32 MiB, in a quick run a tenth, from a plugin's stdout to the writer that its "
        "host was given. Blocks are written by `write(2)`, lines by `print` and `fmt.Println`. The "
        "port delivers nothing of it, and takes nothing.",
    ]
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in report["cases"]:
        tables.setdefault(row["scene"], []).append(row)
    for scene, rows in tables.items():
        lines += ["", f"## {scene}", "", *_table(rows)]
    lines += [f"\nWithout {name}: {reason}." for name, reason in report["absent"].items()]
    return "\n".join(lines) + "\n"


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = {"call": _CALLS, "blocks": _OUTPUT, "lines": _OUTPUT}.get(
        rows[0]["measure"], _OPENINGS
    )
    return [
        f"| pair | {' | '.join(columns)} |",
        f"|---|{'--:|' * len(columns)}",
        *(
            f"| {row['pair']} | {' | '.join(_cell(row[key]) for key in columns.values())} |"
            for row in rows
        ),
    ]


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
