"""What was measured, as numbers and as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from benches.mux.cases import GO, GO_PIPE, Engine, Memory, Pair
from benches.mux.engine import MESSAGE, STREAMS
from benches.rounds import median_ratio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from benches.mux.cases import Case
    from benches.rounds import Sample

# The heads of the tables, and what is in their columns.
_CALLS = {
    "plain p50 us": "plain_p50_us",
    "mux p50 us": "mux_p50_us",
    "x plain": "p50_to_plain",
    "x Go": "p50_to_go",
    "plain p99 us": "plain_p99_us",
    "mux p99 us": "mux_p99_us",
    "x plain ": "p99_to_plain",
    "plain a second": "plain_per_s",
    "mux a second": "mux_per_s",
    "x plain  ": "per_s_to_plain",
    "x Go ": "per_s_to_go",
}
_BULK = {
    "plain MB/s": "plain_mb_per_s",
    "mux MB/s": "mux_mb_per_s",
    "x plain": "per_s_to_plain",
    "x Go": "per_s_to_go",
}
_OPENINGS = {
    "plain p50 us": "plain_p50_us",
    "mux p50 us": "mux_p50_us",
    "x plain": "p50_to_plain",
    "x Go": "p50_to_go",
    "less calls, plain": "plain_opening_us",
    "mux ": "mux_opening_us",
    "x plain ": "opening_to_plain",
}
_COSTS = {
    "host CPU us, plain": "plain_host_us",
    "mux": "mux_host_us",
    "plugin CPU us, plain": "plain_plugin_us",
    "mux  ": "mux_plugin_us",
}


def summary(samples: Mapping[Case, list[Sample]]) -> dict[str, list[dict[str, Any]]]:
    """A row for each case, by its kind."""
    rows: dict[str, list[dict[str, Any]]] = {"engines": [], "memory": [], "pairs": []}
    for case, its in samples.items():
        if isinstance(case, Engine):
            rows["engines"].append({**_engine(case, its, samples), "samples": its})
        elif isinstance(case, Memory):
            size = round(_median("bytes", its))
            rows["memory"].append(
                {"title": case.title, "streams": case.streams, "bytes": size, "samples": its}
            )
        else:
            rows["pairs"].append({**_pair(case, its, samples), "samples": its})
    return rows


def _engine(
    case: Engine, its: list[Sample], samples: Mapping[Case, list[Sample]]
) -> dict[str, Any]:
    go = _of_other(samples, lambda other: isinstance(other, Engine) and other.title == GO_PIPE)
    times = {count: _median(str(count), its) for count in STREAMS}
    return {
        "title": case.title,
        "ns": {count: round(time) for count, time in times.items()},
        "mb_per_s": {count: round(len(MESSAGE) / time * 1000) for count, time in times.items()},
        # How many times as fast.
        "to_go": {
            count: median_ratio(_column(go, str(count)), _column(its, str(count)))
            for count in STREAMS
            if go
        },
    }


def _pair(case: Pair, its: list[Sample], samples: Mapping[Case, list[Sample]]) -> dict[str, Any]:
    go = _of_other(
        samples,
        lambda other: (
            isinstance(other, Pair) and other.scene == case.scene and other.pair == f"{GO} + {GO}"
        ),
    )
    calls = _of_other(
        samples,
        lambda other: (
            isinstance(other, Pair)
            and other.pair == case.pair
            and other.scene.measure == "call"
            and other.scene.auto_mtls == case.scene.auto_mtls
        ),
    )
    scene = case.scene
    count = scene.at_once * case.turns
    figures: dict[str, Any] = {}
    for way in ("plain", "mux"):
        ways = [sample[way] for sample in its]
        rate = count / _median("seconds", ways)
        figures |= {
            f"{way}_p50_us": round(_median("p50_us", ways)),
            f"{way}_p99_us": round(_median("p99_us", ways)),
            f"{way}_per_s": round(rate),
            f"{way}_mb_per_s": round(rate * scene.bytes / 1e6),
            f"{way}_host_us": round(_median("host_seconds", ways) / count * 1e6),
            f"{way}_plugin_us": round(_median("plugin_seconds", ways) / count * 1e6),
        }
    plain, mux = ([sample[way] for sample in its] for way in ("plain", "mux"))
    for name in ("p50", "p99"):
        column = f"{name}_us"
        figures[f"{name}_to_plain"] = median_ratio(_column(mux, column), _column(plain, column))
    figures["per_s_to_plain"] = median_ratio(_column(plain, "seconds"), _column(mux, "seconds"))
    if go:
        muxes = [sample["mux"] for sample in go]
        figures["p50_to_go"] = median_ratio(_column(mux, "p50_us"), _column(muxes, "p50_us"))
        figures["per_s_to_go"] = median_ratio(_column(muxes, "seconds"), _column(mux, "seconds"))
    if scene.calls and calls:
        figures |= _openings(scene.calls, its, calls)
    return {"scene": scene.title, "measure": scene.measure, "pair": case.pair, **figures}


def _openings(count: int, its: list[Sample], calls: list[Sample]) -> dict[str, Any]:
    """The time of an opening without the calls that it makes."""
    plain, mux = (
        [
            sample[way]["p50_us"] - count * call[way]["p50_us"]
            for sample, call in zip(its, calls, strict=True)
        ]
        for way in ("plain", "mux")
    )
    return {
        "plain_opening_us": round(statistics.median(plain)),
        "mux_opening_us": round(statistics.median(mux)),
        "opening_to_plain": median_ratio(mux, plain),
    }


def _of_other(
    samples: Mapping[Case, list[Sample]], is_it: Callable[[Case], bool]
) -> list[Sample] | None:
    return next((its for case, its in samples.items() if is_it(case)), None)


def _column(samples: Iterable[Sample] | None, name: str) -> list[float]:
    return [float(sample[name]) for sample in samples or ()]


def _median(name: str, samples: list[Sample]) -> float:
    return statistics.median(_column(samples, name))


def render(report: dict[str, Any]) -> str:
    """The report as Markdown."""
    facts = report["machine"]
    lines = [
        "# One connection for all",
        "",
        f"{facts['python']}, {facts['system']}, {facts['cores']} cores, Go: {facts['go']}, "
        f"ours {facts['packages']['python-plugin']}. Medians of {report['rounds']} interleaved "
        "rounds; a ratio is the median of the rounds' own. A pair is host + plugin.",
    ]
    lines += _engines(report["engines"]) + _memory(report["memory"])
    tables: dict[str, list[dict[str, Any]]] = {}
    for row in report["pairs"]:
        tables.setdefault(row["scene"], []).append(row)
    if tables:
        lines += _PAIRS
    for scene, rows in tables.items():
        columns = {"call": _CALLS, "get": _BULK, "put": _BULK}.get(rows[0]["measure"], _OPENINGS)
        lines += ["", f"## {scene}", "", *_table({"pair": "pair", **columns, **_COSTS}, rows)]
    lines += [f"\nWithout {name}: {reason}." for name, reason in report["absent"].items()]
    return "\n".join(lines) + "\n"


_PAIRS = [
    "",
    "## Hosts and plugins",
    "",
    "A host runs two plugins, one multiplexed (*mux*) and one not (*plain*), and does the same "
    "with both by turns. *x plain* is mux divided by plain of the same run, *x Go* is mux divided "
    "by Go + Go's: of times the smaller is the better, of rates the larger. Rates of calls are "
    "with 32 in flight, the rest is done one after the other. Processor time is that of one call "
    "or opening at that rate.",
    "",
    "An opening: one side serves a new id, the other dials it, makes one call there and hangs up, "
    "and the server is closed. The plugin is told of the host's id by a call, which ends after its "
    "own; where the plugin serves, one call asks for the id and another has it closed. *Less "
    "calls* takes off as many calls as that makes, 2 or 3, by the same way.",
]


def _engines(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    columns = {
        "nanoseconds a message": "title",
        **{f"streams: {count}": f"ns_{count}" for count in STREAMS},
        **{f"{count}, x Go": f"to_go_{count}" for count in STREAMS},
    }
    flat = [
        {
            "title": row["title"],
            **{
                f"{name}_{count}": row[name].get(count)
                for name in ("ns", "to_go")
                for count in STREAMS
            },
        }
        for row in rows
    ]
    return [
        "",
        "## The engine",
        "",
        "Two sessions exchange messages of 16 KiB, one on each stream, until all are read. The "
        "ratio says how many times as fast as Go's over `net.Pipe` it is. In Rust and from Python "
        "the sessions are joined in memory, as Go's are by `net.Pipe`; over sockets both ends are "
        "in one process, in Go with a thread for each core, with asyncio on one.",
        "",
        *_table(columns, flat),
    ]


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    if not rows:
        return []
    return [
        "",
        "## Idle streams",
        "",
        "What the process grows by when many are open and idle.",
        "",
        *_table({"of": "title", "streams": "streams", "bytes a stream": "bytes"}, rows),
    ]


def _table(columns: Mapping[str, str], rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"| {' | '.join(head.strip() for head in columns)} |",
        f"|---|{'--:|' * (len(columns) - 1)}",
        *(f"| {' | '.join(_cell(row.get(key)) for key in columns.values())} |" for row in rows),
    ]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"
