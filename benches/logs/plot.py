"""A picture of the rates."""

from __future__ import annotations

from html import escape
from typing import Any

from benches.logs.cases import GO, OURS

_WIDTH, _BARS_LEFT, _BARS_WIDTH = 760, 160, 460
_ROW, _BAR, _HEADING = 20, 14, 34

# Inside an image, too, a browser tells whether the page is dark.
_STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #1f2328 }
  .heading { font-weight: 600 }
  .label { text-anchor: end }
  .ours { fill: #0969da } .other { fill: #8c959f }
  .go { stroke: #8c959f; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .ours { fill: #4493f8 } .other { fill: #6e7681 }
    .go { stroke: #6e7681 }
  }
"""


def draw(rows: list[dict[str, Any]]) -> str:
    """Bars of lines a second as multiples of Go's in the same scene; an SVG."""
    scenes: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["measure"] == "rate" and row["to_go"] is not None:
            scenes.setdefault(row["scene"], []).append(row)
    longest = max((row["to_go"] for its in scenes.values() for row in its), default=1.0)
    top, shapes = _HEADING, []
    for scene, its in scenes.items():
        bottom = top + _ROW * len(its)
        go = _BARS_LEFT + _BARS_WIDTH / longest
        shapes.append(f'<text class="heading" x="8" y="{top - 8}">{escape(scene)}</text>')
        shapes.append(f'<path class="go" d="M{go:.1f} {top - 2}V{bottom}"/>')
        for number, row in enumerate(its):
            shapes += _bar(row, top + number * _ROW, longest)
        top = bottom + _HEADING
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">',
            "<title>Lines of a log taken in a second, as multiples of Go's host</title>",
            f"<style>{_STYLE}</style>",
            *shapes,
            f'<text x="8" y="{top - 8}">Lines a second, as multiples of Go\'s host.</text>',
            "</svg>\n",
        ]
    )


def _bar(row: dict[str, Any], top: float, longest: float) -> list[str]:
    width = max(_BARS_WIDTH * row["to_go"] / longest, 1)
    name = row["host"] if row["host"] == GO else f"{row['host']}, {row['sink']}"
    color = "ours" if row["host"] == OURS else "other"
    value = f"{row['to_go']:.3g} x ({row['lines_per_s']:,}/s)"
    base = top + _BAR - 3
    return [
        f'<text class="label" x="{_BARS_LEFT - 8}" y="{base}">{escape(name)}</text>',
        f'<rect class="{color}" x="{_BARS_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}"/>',
        f'<text x="{_BARS_LEFT + width + 6:.1f}" y="{base}">{value}</text>',
    ]
