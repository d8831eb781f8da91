from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from pyplugin.logging_bridge import emit


class Records(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def emitted(line: str, level: int = logging.DEBUG) -> list[logging.LogRecord]:
    logger, handler = logging.Logger("plugin", level), Records()
    logger.addHandler(handler)
    emit(logger, line)
    return handler.records


def summary(line: str) -> tuple[str, str, str, dict[str, Any]]:
    """Level, message, plugin and fields of the one record that a line makes."""
    (record,) = emitted(line)
    attributes = vars(record)
    return record.levelname, record.getMessage(), attributes["plugin"], attributes["fields"]


def entry(**fields: Any) -> str:
    return json.dumps({"@level": "info", "@message": "m", **fields})


def at(**special: Any) -> str:
    return entry(**{f"@{name}": value for name, value in special.items()})


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", "DEBUG"),
        ("debug", "DEBUG"),
        ("info", "INFO"),
        ("warn", "WARNING"),
        ("error", "ERROR"),
        (" Warn\t", "WARNING"),
        ("ERROR", "ERROR"),
    ],
)
def test_levels_of_json_lines(level: str, expected: str) -> None:
    assert summary(at(level=level)) == (expected, "m", "", {})


def test_a_json_line_gives_module_and_fields() -> None:
    line = entry(
        **{"@module": "kv.store", "@timestamp": "2024-01-02T15:04:05.000000Z", "@caller": "a.go:1"},
        number=1.5,
        nested={"list": [True, None]},
        name="taken by logging too",
    )
    assert summary(line) == (
        "INFO",
        "m",
        "kv.store",
        {
            "@caller": "a.go:1",
            "number": 1.5,
            "nested": {"list": [True, None]},
            "name": "taken by logging too",
        },
    )


def test_a_json_line_without_a_message_has_an_empty_one() -> None:
    assert summary('{"@level":"warn"}') == ("WARNING", "", "", {})


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"message":"no level"}',
        at(level=""),
        at(level="off"),
        at(level="all"),
        at(level="warning"),
        at(level="fatal"),
        at(level=3),
        at(level=None),
        at(message=5),
        at(message=None),
        '{"@level":"info"',
        '{"@level":"info"} and more',
        '["@level"]',
        "null",
        '{"@level":"info","n":' + "[" * 200_000,
    ],
    ids=lambda line: line[:30],
)
def test_json_that_is_no_hclog_entry_is_text(line: str) -> None:
    assert summary(line) == ("INFO", line, "", {})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "2024-01-02T15:04:05.000Z [INFO]  kv.store: put: key=a",
            ("INFO", "put: key=a", "kv.store"),
        ),
        ("2024-01-02T15:04:05.000+0100 [TRACE] kv: deep", ("DEBUG", "deep", "kv")),
        ("2024-01-02T15:04:05.000Z [DEBUG] no module here", ("DEBUG", "no module here", "")),
        ("[WARN]  kv: careful", ("WARNING", "careful", "kv")),
    ],
)
def test_pretty_lines(line: str, expected: tuple[str, str, str]) -> None:
    assert summary(line) == (*expected, {})


@pytest.mark.parametrize(
    "line",
    [
        "plain text",
        "  indented",
        "[warn] lower case",
        "[FATAL] unknown",
        "see [ERROR]",
        "two words [INFO] more",
    ],
)
def test_other_text_is_logged_as_it_stands(line: str) -> None:
    assert summary(line) == ("INFO", line, "", {})


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("[TRACE] deep", "DEBUG"),
        ("[WARN] careful", "WARNING"),
        ("[ERROR]glued", "ERROR"),
        ("panic: boom", "ERROR"),
        ("fatal error: all goroutines are asleep - deadlock!", "ERROR"),
        ("Traceback (most recent call last):", "ERROR"),
    ],
)
def test_text_whose_start_tells_its_level_is_kept_whole(line: str, level: str) -> None:
    assert summary(line) == (level, line, "", {})


def test_a_word_before_a_bracketed_level_is_not_lost() -> None:
    assert "Ignoring" in summary("Ignoring [ERROR] lines from now on")[1]


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_the_line_end_is_no_part_of_the_message(end: str) -> None:
    assert summary("text" + end)[1] == "text"
    assert summary(entry() + end)[1] == "m"


@pytest.mark.parametrize("line", ["", "\n", "\r\n"])
def test_an_empty_line_is_dropped(line: str) -> None:
    assert emitted(line) == []


@pytest.mark.parametrize("message", ["100%", "%s and %d", "%(name)s", "{} {0}"])
def test_messages_are_no_format_strings(message: str) -> None:
    assert summary(message)[1] == message
    assert summary(at(message=message))[1] == message


@pytest.mark.parametrize("line", [entry(), "[INFO] m", "m"])
def test_a_level_that_is_not_enabled_makes_no_record(line: str) -> None:
    assert emitted(line, logging.WARNING) == []
    assert len(emitted(line, logging.INFO)) == 1
