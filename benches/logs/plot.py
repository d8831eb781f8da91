"""A picture of the rates."""

from __future__ import annotations

from typing import Any

from benches import bars
from benches.bars import Bar
from benches.logs.cases import GO, OURS


def draw(rows: list[dict[str, Any]]) -> str:
    """Bars of lines a second as multiples of Go's in the same scene; an SVG."""
    scenes: dict[str, list[Bar]] = {}
    for row in rows:
        if row["measure"] == "rate" and row["to_go"] is not None:
            scenes.setdefault(row["scene"], []).append(_bar(row))
    return bars.draw(
        "Lines of a log taken in a second, as multiples of Go's host",
        "Lines a second, as multiples of Go's host.",
        scenes,
    )


def _bar(row: dict[str, Any]) -> Bar:
    name = row["host"] if row["host"] == GO else f"{row['host']}, {row['sink']}"
    text = f"{row['to_go']:.3g} x ({row['lines_per_s']:,}/s)"
    return Bar(name, row["to_go"], text, row["host"] == OURS)
