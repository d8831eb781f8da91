"""What was measured, as numbers, as Markdown, and as a picture."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benches import bars, peers
from benches.bars import Bar
from benches.rounds import median_ratio
from benches.rpc.cases import GO, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benches.rounds import Sample
    from benches.rpc.cases import Case, Scene

# The heads of the tables, and what is in their columns.
_TIMES = {"p50 us": "p50_us", "x Go": "p50_to_go", "x h2": "p50_to_h2", "p99 us": "p99_us"}
_RATES = {"{unit}/s": "rate", "x Go ": "rate_to_go", "x h2 ": "rate_to_h2"}
_COSTS = {
    "host CPU us/{one}": "host_us",
    "x h2  ": "host_to_h2",
    "plugin CPU us/{one}": "plugin_us",
    "x h2   ": "plugin_to_h2",
}
# Of each measure: what is counted, and what one of it is.
_UNITS = {
    "call": ("calls", "call"),
    "get": ("MB", "MB"),
    "put": ("MB", "MB"),
    "stream": ("messages", "message"),
}


def summary(samples: Mapping[Case, list[Sample]]) -> list[dict[str, Any]]:
    """A row for each case."""
    rows = []
    for case, its in samples.items():
        pairs = {
            (other.host, other.plugin): values
            for other, values in samples.items()
            if other.scene == case.scene
        }
        h2 = pairs.get(case.on_h2) if OURS in (case.host, case.plugin) else None
        rows.append(
            {
                "scene": case.scene.title,
                "measure": case.scene.measure,
                "in_flight": case.scene.in_flight,
                "pair": case.pair,
                "is_ours": OURS in (case.host, case.plugin),
                **_figures(case.scene, its, pairs.get((GO, GO)), h2),
                "samples": its,
            }
        )
    return rows


def _amount(scene: Scene) -> float:
    """How much of its unit all that is done at once is."""
    return scene.at_once * (scene.bytes / 1e6 or scene.messages or 1)


def _figures(
    scene: Scene, its: list[Sample], go: list[Sample] | None, h2: list[Sample] | None
) -> dict[str, Any]:
    amount = _amount(scene)

    def median(value: Callable[[Sample], float]) -> float:
        return statistics.median(map(value, its))

    def ratio(value: Callable[[Sample], float], others: list[Sample] | None) -> float | None:
        return median_ratio(map(value, its), map(value, others)) if others else None

    def rate(sample: Sample) -> float:
        return float(amount / sample["seconds"])

    def p50(sample: Sample) -> float:
        return float(sample["p50_us"])

    def host(sample: Sample) -> float:
        return float(sample["host_seconds"])

    def plugin(sample: Sample) -> float:
        return float(sample["plugin_seconds"])

    return {
        "p50_us": round(median(p50)),
        "p99_us": round(median(lambda sample: sample["p99_us"])),
        "p50_to_go": ratio(p50, go),
        "p50_to_h2": ratio(p50, h2),
        "rate": round(median(rate)),
        "rate_to_go": ratio(rate, go),
        "rate_to_h2": ratio(rate, h2),
        "host_us": round(median(host) / amount * 1e6, 1),
        "host_to_h2": ratio(host, h2),
        "plugin_us": round(median(plugin) / amount * 1e6, 1),
        "plugin_to_h2": ratio(plugin, h2),
    }


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    lines = [
        "# Calls",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, Go: {facts['go']}, "
        f"ours {facts['packages']['python-plugin']}, the port {facts['port']}, pyvider "
        f"{peers.PYVIDER_VERSION}, grpcio {facts['grpcio']}. Medians of {report['rounds']} "
        "interleaved rounds; a ratio is the median of the rounds' own. A pair is host + plugin.",
        "",
        "*Ours on h2* is this package with h2 in the place of its own HTTP/2 connection; *x h2* "
        "compares with the same pair of that. The port is stock grpclib. grpc.aio is a bare "
        "channel, or a bare server, of grpcio. Of times the smaller is the better, of rates the "
        "larger. Processor time is that of one call, megabyte or message, of each process.",
        "",
        "A stream has messages of 100 bytes; what is got or put is 1 MiB a call, one after the "
        "other.",
        "",
        "![Rates as multiples of Go + Go](rpc.svg)",
    ]
    for scene, rows in _scenes(report["cases"]).items():
        lines += ["", f"## {scene}", "", *_table(rows)]
    lines += [f"\nWithout {name}: {reason}." for name, reason in report["absent"].items()]
    return "\n".join(lines) + "\n"


def draw(report: dict[str, Any]) -> str:
    """Bars of rates as multiples of Go's in the same scene; an SVG."""
    scenes = {
        scene: [
            Bar(
                row["pair"],
                row["rate_to_go"],
                f"{row['rate_to_go']:.3g} x ({row['rate']:,} {_UNITS[row['measure']][0]}/s)",
                row["is_ours"],
            )
            for row in rows
            if row["rate_to_go"] is not None
        ]
        for scene, rows in _scenes(report["cases"]).items()
    }
    text = "Rates as multiples of those of Go's host and Go's plugin"
    return bars.draw(text, f"{text}.", scenes)


def _scenes(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    scenes: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        scenes.setdefault(row["scene"], []).append(row)
    return scenes


def _table(rows: list[dict[str, Any]]) -> list[str]:
    is_latency = rows[0]["measure"] == "call" and rows[0]["in_flight"] == 1
    columns = {**(_TIMES if is_latency else {}), **_RATES, **_COSTS}
    unit, one = _UNITS[rows[0]["measure"]]
    heads = [head.strip().format(unit=unit, one=one) for head in columns]
    return [
        f"| pair | {' | '.join(heads)} |",
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
