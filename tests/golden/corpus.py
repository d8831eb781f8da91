"""The recorded log streams of tests/golden/hclog/cases.json; README.md there says what they are."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.reference.hclog import BUFFER_SIZE, Numbers, read_json


@dataclass(frozen=True)
class GoRecord:
    """One call of a method of Go's logger."""

    level: str
    message: bytes
    # How many arguments it had after the message: a name and a value for each field.
    arguments: int
    # The fields as JSON; of two of one name the last.
    json: bytes

    def fields(self, numbers: Numbers) -> dict[str, Any]:
        """The fields; ``exact``: where Go wrote a number without a fraction, an integer."""
        try:
            fields = json.loads(self.json, parse_int=float if numbers == "floats" else int)
        except RecursionError:
            fields = read_json(self.json, numbers)
        assert isinstance(fields, dict)
        return fields


@dataclass(frozen=True)
class Case:
    """One log stream, and what Go's host did with it."""

    name: str
    stream: bytes
    buffer_size: int
    stderr: bytes
    # None: the host died.
    records: list[GoRecord] | None
    # Which of the records were logged at the other levels.
    logged_at: dict[str, list[int]]

    def logged(self, level: str) -> list[GoRecord] | None:
        """What a logger of this level got; None: the host died."""
        if level == "off":
            return []
        if self.records is None or level == "trace":
            return self.records
        return [self.records[index] for index in self.logged_at[level]]


def load() -> list[Case]:
    """Every case."""
    corpus = json.loads((Path(__file__).parent / "hclog" / "cases.json").read_text("utf-8"))
    return [_case(case) for case in corpus["cases"]]


def _case(case: dict[str, Any]) -> Case:
    stream = _bytes(case["input"])
    return Case(
        case["name"],
        stream,
        case.get("buffer_size", BUFFER_SIZE),
        _bytes(case["stderr"]) if "stderr" in case else stream,
        None if "go_panics" in case else [_record(record) for record in case["records"]],
        case.get("logged_at", {}),
    )


def _record(record: dict[str, Any]) -> GoRecord:
    fields = _bytes(record.get("fields", "{}"))
    return GoRecord(record["level"], _bytes(record["message"]), record.get("arguments", 0), fields)


def _bytes(text: str | dict[str, str]) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if "base64" in text:
        return base64.b64decode(text["base64"])
    return zlib.decompress(base64.b64decode(text["zlib"]))
