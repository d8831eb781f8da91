"""Pictures of bars."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


class Bar(NamedTuple):
    """A bar.

    Attributes:
        name: Stands before it.
        length: As a multiple of Go's.
        text: Stands behind it.
        is_ours: It is of this package.
    """

    name: str
    length: float
    text: str
    is_ours: bool


def draw(title: str, caption: str, scenes: Mapping[str, Sequence[Bar]]) -> str:
    """The bars of each scene, with a line where Go's end; an SVG."""
    longest = max((bar.length for bars in scenes.values() for bar in bars), default=1.0)
    top, shapes = _HEADING, []
    for scene, bars in scenes.items():
        bottom = top + _ROW * len(bars)
        go = _BARS_LEFT + _BARS_WIDTH / longest
        shapes.append(f'<text class="heading" x="8" y="{top - 8}">{escape(scene)}</text>')
        shapes.append(f'<path class="go" d="M{go:.1f} {top - 2}V{bottom}"/>')
        for number, bar in enumerate(bars):
            shapes += _bar(bar, top + number * _ROW, longest)
        top = bottom + _HEADING
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" role="img">',
            f"<title>{escape(title, quote=False)}</title>",
            f"<style>{_STYLE}</style>",
            *shapes,
            f'<text x="8" y="{top - 8}">{escape(caption, quote=False)}</text>',
            "</svg>\n",
        ]
    )


def _bar(bar: Bar, top: float, longest: float) -> list[str]:
    width = max(_BARS_WIDTH * bar.length / longest, 1)
    color = "ours" if bar.is_ours else "other"
    base = top + _BAR - 3
    return [
        f'<text class="label" x="{_BARS_LEFT - 8}" y="{base}">{escape(bar.name)}</text>',
        f'<rect class="{color}" x="{_BARS_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}"/>',
        f'<text x="{_BARS_LEFT + width + 6:.1f}" y="{base}">{bar.text}</text>',
    ]
