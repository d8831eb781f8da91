"""The values of log fields as JSON that Go reads."""

from __future__ import annotations

import contextlib
import sys
import traceback
from typing import Any

# Go's host parses no line above 64 KiB, of which each value takes two bytes or more.
_MAX_VALUES = 32_768
_MAX_DEPTH = 32


class FieldValues:
    """Makes JSON of the values of one record; what is none is given as text."""

    def __init__(self) -> None:
        self._left = _MAX_VALUES
        # The ids of the containers that the current one is in.
        self._around: list[int] = []

    def json(self, value: Any) -> Any:
        """The value, copied; ``...`` where it is too much, too deep, or inside of itself."""
        if value is None or isinstance(value, str):
            return value
        if isinstance(value, (int, float)):
            # Go takes numbers for float64 and refuses a line with NaN or with one out of range.
            most = sys.float_info.max
            return value if -most <= value <= most else text_of(value)
        if not isinstance(value, (dict, list, tuple)):
            return text_of(value)
        self._left -= len(value)
        if self._left < 0 or len(self._around) == _MAX_DEPTH or id(value) in self._around:
            return "..."
        self._around.append(id(value))
        try:
            # Copied at once: another thread may be changing it.
            if isinstance(value, dict):
                return {text_of(name): self.json(inner) for name, inner in [*value.items()]}
            return [self.json(inner) for inner in [*value]]
        except Exception:
            # Of a subclass with ideas of its own.
            return text_of(value)
        finally:
            self._around.pop()


def text_of(value: object) -> str:
    """``str()`` of a value, or the best there is instead. Raises nothing."""
    if isinstance(value, str):
        return value
    for convert in (_last_lines if isinstance(value, BaseException) else str, repr):
        with contextlib.suppress(Exception):
            if text := convert(value):
                return text
    return f"<{type(value).__name__} without a text>"


def _last_lines(error: Any) -> str:
    # str() leaves out what it is that has this message.
    return "".join(traceback.format_exception_only(error)).rstrip()
