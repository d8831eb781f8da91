"""What commands write: text for people, JSON for programs."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .. import LogEntry

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
_LEVEL_COLOURS = {
    "trace": "dim",
    "debug": "dim",
    "info": "green",
    "warn": "yellow",
    "error": "red",
}


class Style:
    """Colours, where the stream is a terminal and nobody minds (``NO_COLOR``)."""

    def __init__(self, stream: TextIO) -> None:
        is_wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._is_on = is_wanted and stream.isatty()

    def __call__(self, text: str, colour: str) -> str:
        """The text in that colour."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self._is_on else text


def write(text: str) -> None:
    """Writes a line to stdout, and at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """Writes a JSON value to stdout, on one line."""
    write(json_text(value))


def json_text(value: Any, indent: int | None = None) -> str:
    """A value as JSON, with escapes for what a terminal would obey."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


def complain(text: str) -> None:
    """Writes to stderr what is wrong."""
    sys.stderr.write(f"pyplugin: {visible(text)}\n")
    sys.stderr.flush()


def entry_json(entry: LogEntry) -> dict[str, Any]:
    """A line of a plugin's log, for programs."""
    return {
        "timestamp": entry.timestamp,
        "level": entry.level,
        "module": entry.module,
        "message": entry.message,
        "fields": entry.fields,
    }


def entry_text(entry: Mapping[str, Any], style: Style) -> str:
    """A line of a plugin's log, for people; what ``entry_json`` made of it."""
    level = style(f"{entry['level'].upper():5}", _LEVEL_COLOURS[entry["level"]])
    head = [style(visible(entry["timestamp"]), "dim")] if entry["timestamp"] else []
    module = [style(visible(f"{entry['module']}:"), "bold")] if entry["module"] else []
    fields = [
        f"{style(f'{visible(key)}=', 'cyan')}{_field(value)}"
        for key, value in entry["fields"].items()
    ]
    return " ".join([*head, level, *module, visible(entry["message"]), *fields])


def _field(value: Any) -> str:
    if isinstance(value, str) and value.isprintable() and value and not {*' "='} & {*value}:
        return value
    return json_text(value)


def visible(text: str) -> str:
    """A text without what a terminal would obey, line ends and tabs apart."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)
