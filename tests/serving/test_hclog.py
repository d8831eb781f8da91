from __future__ import annotations

import datetime
import json
import logging
import re
import subprocess
import sys
from typing import Any

import pytest

from pyplugin import HCLogFormatter


def formatted(level: int = logging.INFO, message: str = "m", *args: Any, **more: Any) -> Any:
    record = logging.Logger("kv.store").makeRecord(
        "kv.store", level, __file__, 1, message, args, more.pop("exc_info", None), **more
    )
    line = HCLogFormatter().format(record)
    assert "\n" not in line
    return json.loads(line)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.DEBUG - 1, "trace"),
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.INFO + 5, "info"),
        (logging.WARNING, "warn"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "error"),
        (logging.CRITICAL + 50, "error"),
        (logging.NOTSET, "trace"),
    ],
)
def test_levels_are_those_of_hclog(level: int, expected: str) -> None:
    assert formatted(level)["@level"] == expected


def test_a_record_is_one_object_with_message_and_module() -> None:
    entry = formatted(logging.INFO, "put %s=%d", "a", 1)
    assert sorted(entry) == ["@level", "@message", "@module", "@timestamp"]
    assert (entry["@message"], entry["@module"]) == ("put a=1", "kv.store")


def test_the_timestamp_is_the_records_in_the_form_that_go_parses() -> None:
    before = datetime.datetime.now(datetime.timezone.utc)
    text = formatted()["@timestamp"]
    after = datetime.datetime.now(datetime.timezone.utc)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)", text)
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    slack = datetime.timedelta(microseconds=1)
    assert before - slack <= moment <= after + slack


@pytest.mark.parametrize(
    "message", ["two\nlines\r\n", 'quo"ted', "é ☃ \U0001f600", "\x00", "\udcff"]
)
def test_any_message_is_one_line_of_ascii(message: str) -> None:
    assert formatted(message=message)["@message"] == message


def test_a_message_without_arguments_is_no_format_string() -> None:
    assert formatted(logging.INFO, "100%")["@message"] == "100%"


def test_an_exception_is_a_stack_trace() -> None:
    try:
        raise RuntimeError("the disk is full")
    except RuntimeError:
        entry = formatted(exc_info=sys.exc_info())
    assert entry["@message"] == "m"
    assert entry["stacktrace"].startswith("Traceback (most recent call last):\n")
    assert entry["stacktrace"].endswith("RuntimeError: the disk is full")


def test_a_stack_is_a_field() -> None:
    assert formatted(sinfo="Stack (most recent call last):\n  here")["stack"].endswith("here")


def run(code: str) -> tuple[str, list[str]]:
    """What a program writes to stdout, and its lines on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", f"import logging, sys\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.splitlines()


def test_all_logging_of_a_program_goes_to_stderr_as_hclog() -> None:
    out, (line,) = run(
        "from pyplugin import configure_logging; configure_logging()\n"
        "logging.getLogger('any.library').info('hello %s', 'host')\n"
        "logging.getLogger('any.library').debug('not said')\n"
    )
    entry = json.loads(line)
    assert (entry["@level"], entry["@message"]) == ("info", "hello host")
    assert entry["@module"] == "any.library"
    assert out == ""


def test_the_real_stderr_is_used_whatever_the_program_puts_in_its_place() -> None:
    out, lines = run(
        "sys.stderr = sys.stdout\n"
        "from pyplugin import configure_logging; configure_logging()\n"
        "logging.warning('m')\n"
    )
    assert (out, len(lines)) == ("", 1)


def test_configuring_twice_logs_once() -> None:
    _, lines = run(
        "from pyplugin import configure_logging; configure_logging(); configure_logging()\n"
        "logging.warning('m')\n"
    )
    assert len(lines) == 1


def test_logging_that_the_program_set_up_itself_is_left_alone() -> None:
    _, lines = run(
        "logging.basicConfig(format='own %(message)s', level=logging.ERROR)\n"
        "from pyplugin import configure_logging; configure_logging()\n"
        "logging.error('m'); logging.warning('m')\n"
    )
    assert lines == ["own m"]


def test_importing_the_package_sets_up_no_logging() -> None:
    out, _ = run("from pyplugin import serve, Client; print(logging.getLogger().handlers)")
    assert out == "[]\n"
