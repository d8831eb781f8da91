from __future__ import annotations

import datetime
import json
import logging
import os
import pickle
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import HandshakeConfig, HCLogFormatter, ServeConfig, configure_logging

if TYPE_CHECKING:
    from collections.abc import Callable

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="is of POSIX")

SPECIAL = {"@level", "@message", "@module", "@timestamp"}


def made(level: int = logging.INFO, message: Any = "m", *args: Any, **more: Any) -> Any:
    """A record as loggers make it."""
    return logging.Logger("kv.store").makeRecord(
        "kv.store", level, "/app/kv.py", 12, message, args, more.pop("exc_info", None), **more
    )


def line_of(record: logging.LogRecord) -> Any:
    line = HCLogFormatter().format(record)
    assert "\n" not in line
    return json.loads(line, parse_constant=pytest.fail)


def formatted(*args: Any, **more: Any) -> Any:
    return line_of(made(*args, **more))


def fields(entry: dict[str, Any]) -> dict[str, Any]:
    """What the program added."""
    return {name: value for name, value in entry.items() if name not in SPECIAL}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (logging.NOTSET - 1, "trace"),
        (logging.NOTSET, "trace"),
        (logging.DEBUG - 1, "trace"),
        (logging.DEBUG, "debug"),
        (logging.INFO, "info"),
        (logging.INFO + 5, "info"),
        (logging.WARNING, "warn"),
        (logging.ERROR, "error"),
        (logging.CRITICAL, "error"),
        (logging.CRITICAL + 50, "error"),
        (sys.maxsize, "error"),
    ],
)
def test_levels_are_those_of_hclog(level: int, expected: str) -> None:
    assert formatted(level)["@level"] == expected


def test_a_record_is_one_object_with_message_and_module() -> None:
    entry = formatted(logging.INFO, "put %s=%d", "a", 1)
    assert sorted(entry) == ["@level", "@message", "@module", "@timestamp"]
    assert (entry["@message"], entry["@module"]) == ("put a=1", "kv.store")


def test_the_line_begins_with_its_level_as_hclogs_own_do() -> None:
    """Hosts drop an unwanted level by these bytes."""
    assert HCLogFormatter().format(made()).startswith('{"@level":"info","@message":"m",')


def test_the_timestamp_is_the_records_in_the_form_that_go_parses() -> None:
    before = datetime.datetime.now(datetime.timezone.utc)
    text = formatted()["@timestamp"]
    after = datetime.datetime.now(datetime.timezone.utc)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)", text)
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    slack = datetime.timedelta(microseconds=1)
    assert before - slack <= moment <= after + slack


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (0.0, "1970-01-01T00:00:00.000000Z"),
        (1.5, "1970-01-01T00:00:01.500000Z"),
        (1.9999999, "1970-01-01T00:00:02.000000Z"),
        (1700000000.000001, "2023-11-14T22:13:20.000001Z"),
    ],
)
def test_the_timestamp_is_utc_to_the_microsecond(created: float, expected: str) -> None:
    record = made()
    record.created = created
    assert line_of(record)["@timestamp"] == expected


@pytest.mark.parametrize(
    "message", ["two\nlines\r\n", 'quo"ted', "é ☃ \U0001f600", "\x00", "\udcff", "\u2028"]
)
def test_any_message_is_one_line_of_ascii(message: str) -> None:
    assert formatted(message=message)["@message"] == message
    assert HCLogFormatter().format(made(message=message)).isascii()


def test_a_message_without_arguments_is_no_format_string() -> None:
    assert formatted(logging.INFO, "100%")["@message"] == "100%"


# Fields


def test_what_extra_gave_the_record_are_fields() -> None:
    extra = {"key": "user:1", "size": 512, "took": 0.25, "hit": True, "ttl": None, "tags": ["a"]}
    assert fields(formatted(extra=extra)) == extra


def test_what_other_formatters_leave_on_a_record_is_no_field() -> None:
    record = made(extra={"key": 1})
    logging.Formatter("%(asctime)s %(message)s").format(record)
    assert fields(line_of(record)) == {"key": 1}


def test_what_a_record_factory_adds_is_a_field() -> None:
    record = made()
    record.request_id = "r1"
    assert fields(line_of(record)) == {"request_id": "r1"}


def test_no_field_takes_the_place_of_another() -> None:
    taken = dict.fromkeys(SPECIAL, 5)
    entry = formatted(extra={**taken, "_@level": 6, 1: "a", "1": "b"}, sinfo="where")
    assert [entry["@level"], entry["@message"], entry["@module"]] == ["info", "m", "kv.store"]
    assert fields(entry) == {
        "_@level": 5,
        "_@message": 5,
        "_@module": 5,
        "_@timestamp": 5,
        "__@level": 6,
        "1": "a",
        "_1": "b",
        "stack": "where",
    }


# Exceptions and stacks


def error_of(fail: Callable[[], object]) -> Any:
    try:
        fail()
    except Exception:
        return sys.exc_info()
    pytest.fail("it did not fail")


def test_an_exception_is_a_stack_trace() -> None:
    entry = formatted(exc_info=error_of(lambda: dict[str, int]()["the\nkey"]))
    assert entry["@message"] == "m"
    assert entry["stacktrace"].startswith("Traceback (most recent call last):\n")
    assert entry["stacktrace"].endswith("KeyError: 'the\\nkey'")
    assert fields(entry).keys() == {"stacktrace"}


def test_no_exception_is_no_stack_trace() -> None:
    assert fields(formatted(exc_info=(None, None, None))) == {}


def test_a_field_called_as_the_stack_trace_is_kept_beside_it() -> None:
    entry = formatted(exc_info=error_of(lambda: 1 / 0), extra={"stacktrace": "mine"})
    assert entry["stacktrace"].endswith("ZeroDivisionError: division by zero")
    assert entry["_stacktrace"] == "mine"


def test_the_exception_of_a_record_that_was_pickled() -> None:
    record = made(exc_info=error_of(lambda: 1 / 0))
    logging.Formatter().format(record)
    record.exc_info = None
    entry = line_of(pickle.loads(pickle.dumps(record)))
    assert entry["stacktrace"].endswith("ZeroDivisionError: division by zero")


def test_a_stack_is_a_field() -> None:
    assert formatted(sinfo="Stack (most recent call last):\n  here")["stack"].endswith("here")


# What goes wrong in the program that logs


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args", "reason", "shown"),
    [
        ("put %d", ("a",), "TypeError", "['a']"),
        ("put %s", (1, 2), "TypeError", "[1, 2]"),
        ("put %(key)s", ({"k": 1},), "KeyError: 'key'", "{'k': 1}"),
        ("put %!", (1,), "ValueError", "[1]"),
        ("put %s", (Unprintable(),), "RuntimeError: no text", "['<Unprintable without a text>']"),
    ],
)
def test_arguments_that_do_not_fit_are_told_of(
    message: str, args: Any, reason: str, shown: str
) -> None:
    entry = formatted(logging.WARNING, message, *args, extra={"key": 1})
    assert (entry["@level"], entry["@message"], entry["key"]) == ("warn", message, 1)
    assert entry["logging_error"].startswith(f"kv.py:12: {reason}")
    assert entry["logging_error"].endswith(f": {shown}")


def test_a_message_without_a_text_is_told_of() -> None:
    entry = formatted(logging.INFO, Unprintable())
    assert entry["@message"] == "<Unprintable without a text>"
    assert entry["logging_error"] == "kv.py:12: RuntimeError: no text: []"


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("created", float("nan")), ("created", 1e300), ("levelno", None), ("levelno", [])],
)
def test_a_record_that_makes_no_sense_is_told_of(attribute: str, value: Any) -> None:
    record = made(message="lost?")
    setattr(record, attribute, value)
    entry = line_of(record)
    assert entry["@level"] == "error"
    assert entry["@message"] == "a record cannot be logged"
    assert "lost?" in entry["record"]
    assert "Error" in entry["logging_error"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["@timestamp"])


def test_a_record_made_of_nothing_has_strings_where_go_wants_them() -> None:
    entry = line_of(logging.makeLogRecord({"levelno": 20}))
    assert {type(entry[name]) for name in SPECIAL} == {str}


class Broken(HCLogFormatter):
    def formatException(self, ei: Any) -> str:
        raise OSError("no source")


def test_a_failure_of_a_subclass_is_told_of() -> None:
    entry = json.loads(Broken().format(made(message="lost?", exc_info=error_of(lambda: 1 / 0))))
    assert entry["@level"] == "error"
    assert "lost?" in entry["record"]
    assert entry["logging_error"] == "OSError: no source"


# A program's logging


def run(code: str) -> tuple[str, list[str]]:
    """What a program writes to stdout, and its lines on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", f"import logging, os, sys\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.splitlines()


def entries(code: str) -> list[dict[str, Any]]:
    """The entries that a program with our logging writes to stderr, and nothing else."""
    out, lines = run(f"from pyplugin import configure_logging\nconfigure_logging()\n{code}")
    assert out == ""
    return [json.loads(line) for line in lines]


def messages(code: str) -> list[str]:
    return [entry["@message"] for entry in entries(code)]


def test_all_logging_of_a_program_goes_to_stderr_as_hclog() -> None:
    (entry,) = entries(
        "logging.getLogger('any.library').info('hello %s', 'host', extra={'key': b'v'})\n"
        "logging.getLogger('any.library').debug('not said')\n"
    )
    assert (entry["@level"], entry["@message"]) == ("info", "hello host")
    assert entry["@module"] == "any.library"
    assert fields(entry) == {"key": "b'v'"}


def test_the_real_stderr_is_used_whatever_the_program_puts_in_its_place() -> None:
    out, lines = run(
        "sys.stderr = sys.stdout\n"
        "from pyplugin import configure_logging; configure_logging()\n"
        "logging.warning('m')\n"
    )
    assert (out, len(lines)) == ("", 1)


def test_the_real_stderr_is_used_when_its_descriptor_is_redirected_later() -> None:
    assert messages("os.dup2(1, 2); logging.warning('m')") == ["m"]


@POSIX
def test_a_child_program_does_not_get_the_descriptor() -> None:
    code = "import os; print(*os.listdir('/dev/fd'))"
    out, _ = run(
        "import subprocess\n"
        "from pyplugin import configure_logging\n"
        f"command = [sys.executable, '-c', {code!r}]\n"
        "subprocess.run(command, close_fds=False)\n"
        "configure_logging()\n"
        "subprocess.run(command, close_fds=False)\n"
    )
    before, after = out.splitlines()
    assert before == after


@POSIX
def test_the_descriptor_lives_as_long_as_the_handler() -> None:
    out, lines = run(
        "from pyplugin import configure_logging\n"
        "count = lambda: len(os.listdir('/dev/fd'))\n"
        "before = count()\n"
        "configure_logging()\n"
        "print(count() - before)\n"
        "logging.basicConfig(force=True, format='%(message)s')\n"
        "print(count() - before)\n"
        "logging.warning('m')\n"
    )
    assert (out, lines) == ("1\n0\n", ["m"])


def test_what_is_logged_after_the_end_of_logging_comes_too() -> None:
    assert messages("logging.shutdown(); logging.warning('late')") == ["late"]


def test_configuring_twice_logs_once() -> None:
    assert messages("configure_logging(); logging.info('m'); logging.debug('d')") == ["m"]


def test_logging_that_the_program_set_up_itself_is_left_alone() -> None:
    _, lines = run(
        "logging.basicConfig(format='own %(message)s', level=logging.ERROR)\n"
        "from pyplugin import configure_logging; configure_logging('trace')\n"
        "logging.error('m'); logging.warning('m')\n"
    )
    assert lines == ["own m"]


def test_importing_the_package_sets_up_no_logging() -> None:
    out, _ = run("from pyplugin import serve, Client; print(logging.getLogger().handlers)")
    assert out == "[]\n"


def test_the_formatter_can_be_configured_by_name() -> None:
    _, (line,) = run(
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1,\n"
        "    'formatters': {'hclog': {'class': 'pyplugin.HCLogFormatter'}},\n"
        "    'handlers': {'h': {'class': 'logging.StreamHandler', 'formatter': 'hclog'}},\n"
        "    'root': {'handlers': ['h']}})\n"
        "logging.warning('m')\n"
    )
    assert json.loads(line)["@message"] == "m"


# Levels

LEVELS = ["trace", "debug", "info", "warn", "error", "off"]


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", "5 10 20 30 40 50"),
        ("debug", "10 20 30 40 50"),
        ("info", "20 30 40 50"),
        ("warn", "30 40 50"),
        ("error", "40 50"),
        ("off", ""),
    ],
)
def test_the_level_is_the_least_that_is_logged(level: str, expected: str) -> None:
    code = f"configure_logging({level!r})\nfor n in 5, 10, 20, 30, 40, 50: logging.log(n, n)"
    assert " ".join(messages(code)) == expected


def test_the_first_call_has_a_level_too() -> None:
    _, lines = run(
        "from pyplugin import configure_logging; configure_logging('warn')\n"
        "logging.info('no'); logging.warning('m')\n"
    )
    assert len(lines) == 1


def test_without_a_level_it_is_info_at_first_and_then_left() -> None:
    code = (
        "logging.info('info'); logging.debug('no')\n"
        "configure_logging('debug'); logging.debug('debug')\n"
        "configure_logging(); logging.debug('still')\n"
    )
    assert messages(code) == ["info", "debug", "still"]


def test_off_is_off_for_loggers_with_levels_of_their_own_too() -> None:
    code = (
        "logging.getLogger('own').setLevel(1)\n"
        "configure_logging('off')\n"
        "logging.getLogger('own').critical('m')\n"
        "logging.critical('m')\n"
        "configure_logging('error')\n"
        "logging.getLogger('own').debug('back')\n"
    )
    assert messages(code) == ["back"]


@pytest.mark.parametrize("level", ["", "INFO", "warning", "critical", 20])
def test_a_level_that_hclog_has_not_is_refused(level: Any) -> None:
    handshake = HandshakeConfig(1, "KEY", "value")
    for use in (configure_logging, lambda bad: ServeConfig(handshake, {}, log_level=bad)):
        with pytest.raises(ValueError, match="log_level must be") as raised:
            use(level)
        assert repr(level) in str(raised.value)
        assert all(name in str(raised.value) for name in LEVELS)


@pytest.mark.parametrize("level", [None, *LEVELS])
def test_a_serve_config_has_a_level(level: str | None) -> None:
    assert ServeConfig(HandshakeConfig(1, "KEY", "value"), {}, log_level=level).log_level == level


# Writing


@pytest.mark.skipif(sys.platform != "linux", reason="a socket that keeps writes apart is Linux's")
def test_a_record_is_one_write() -> None:
    reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with reader:
        code = (
            "import logging; from pyplugin import configure_logging; configure_logging()\n"
            "for size in (1, 5000, 60000): logging.info('x' * size, extra={'size': size})\n"
        )
        with writer, subprocess.Popen([sys.executable, "-c", code], stderr=writer.fileno()):
            pass
        for size in (1, 5000, 60000):
            line = reader.recv(2**17)
            assert line.endswith(b"\n")
            assert json.loads(line)["size"] == size
        assert reader.recv(1) == b""


@POSIX
def test_threads_and_forked_processes_tear_no_line() -> None:
    got = entries(
        "import signal, threading, warnings\n"
        "warnings.simplefilter('ignore')\n"  # of forking with threads
        "def log(name):\n"
        "    for number in range(500):\n"
        "        logging.info('%s %d', name, number, extra={'filler': 'x' * 200})\n"
        "threads = [threading.Thread(target=log, args=[n]) for n in range(4)]\n"
        "for thread in threads: thread.start()\n"
        "children = []\n"
        "for name in range(4, 8):\n"
        "    pid = os.fork()\n"
        "    if not pid:\n"
        "        signal.alarm(30)\n"
        "        log(name)\n"
        "        os._exit(0)\n"
        "    children.append(pid)\n"
        "for thread in threads: thread.join()\n"
        "assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4\n"
    )
    for name in range(8):
        mine = [e["@message"] for e in got if e["@message"].startswith(f"{name} ")]
        assert mine == [f"{name} {number}" for number in range(500)]
    assert len(got) == 8 * 500


@POSIX
def test_a_full_pipe_that_does_not_block_gets_whole_lines() -> None:
    """It is only read from while the writer waits, and each line is more than it holds."""
    out, lines = run(
        "import signal\n"
        "read_end, write_end = os.pipe()\n"
        "os.set_blocking(read_end, False); os.set_blocking(write_end, False)\n"
        "os.dup2(write_end, 2)\n"
        "got = []\n"
        "def read(*_):\n"
        "    try:\n"
        "        while True: got.append(os.read(read_end, 2**16))\n"
        "    except BlockingIOError: pass\n"
        "signal.signal(signal.SIGALRM, read)\n"
        "from pyplugin import configure_logging; configure_logging()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)\n"
        "for number in range(3): logging.info('x' * 200_000, extra={'number': number})\n"
        "signal.setitimer(signal.ITIMER_REAL, 0)\n"
        "read()\n"
        "print(b''.join(got).decode(), end='')\n"
    )
    got = [json.loads(line) for line in out.splitlines()]
    assert [(len(entry["@message"]), entry["number"]) for entry in got] == [
        (200_000, number) for number in range(3)
    ]
    assert lines == []


@POSIX
@pytest.mark.parametrize("is_open", [True, False], ids=["nobody reads", "closed"])
def test_a_program_goes_on_without_its_stderr(is_open: bool) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    code = (
        "import logging; from pyplugin import configure_logging; configure_logging()\n"
        "for _ in range(3): logging.warning('m', exc_info=RuntimeError())\n"
        "print('done')\n"
    )
    command = ["sh", "-c", 'exec "$@"' + (" 2>&-" if not is_open else ""), "sh"]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=write_end
        )
    finally:
        os.close(write_end)
    assert (done.returncode, done.stdout) == (0, b"done\n")


def test_a_value_that_logs_itself_ends() -> None:
    got = messages(
        "class Loop:\n"
        "    def __str__(self):\n"
        "        logging.info('inner', extra={'me': self})\n"
        "        return 'loop'\n"
        "logging.info('outer', extra={'me': Loop()})\n"
        "logging.info('after')\n"
    )
    assert got[-2:] == ["outer", "after"]
    assert set(got[:-2]) <= {"inner", "a record cannot be logged"}


def test_the_failure_of_a_programs_own_formatter_is_logged_as_ever() -> None:
    _, lines = run(
        "from pyplugin import configure_logging; configure_logging()\n"
        "class Own(logging.Formatter):\n"
        "    def format(self, record): raise ValueError('mine')\n"
        "logging.getLogger().handlers[0].setFormatter(Own())\n"
        "logging.warning('m')\n"
    )
    assert lines[0] == "--- Logging error ---"
    assert "ValueError: mine" in lines


# structlog

STRUCTLOG = """
import structlog
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        {last},
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)
log = structlog.get_logger('kv.store').bind(request='r1')
"""
LAST = pytest.mark.parametrize(
    "last",
    [
        "structlog.stdlib.render_to_log_kwargs",
        "structlog.stdlib.render_to_log_args_and_kwargs",
        "structlog.stdlib.ProcessorFormatter.wrap_for_formatter",
    ],
    ids=["kwargs", "args", "wrap"],
)


@LAST
def test_structlogs_events_are_entries(last: str) -> None:
    first, second = entries(
        STRUCTLOG.replace("{last}", last)
        + "log.info('put %s', 'a', size=5, when={1, 1})\n"
        + "log.debug('not said')\n"
        + "log.warning('100%')\n"
    )
    assert (first["@level"], first["@module"], first["@message"]) == ("info", "kv.store", "put a")
    assert fields(first) == {"request": "r1", "level": "info", "size": 5, "when": "{1}"}
    assert (second["@level"], second["@message"]) == ("warn", "100%")
    assert fields(second) == {"request": "r1", "level": "warning"}


@LAST
@pytest.mark.parametrize(
    "call",
    [
        "log.exception('failed', size=5)",
        "log.error('failed', exc_info=True, size=5)",
        "log.error('failed', exc_info=error, size=5)",
        "log.error('failed', exc_info=sys.exc_info(), size=5)",
    ],
)
def test_structlogs_exceptions_are_stack_traces(last: str, call: str) -> None:
    (entry,) = entries(
        STRUCTLOG.replace("{last}", last)
        + f"try: {{}}['key']\nexcept KeyError as error:\n    {call}\n"
    )
    assert (entry["@level"], entry["@message"]) == ("error", "failed")
    assert entry.pop("stacktrace").startswith("Traceback (most recent call last):\n")
    assert fields(entry) == {"request": "r1", "level": "error", "size": 5}


# loguru

LOGURU = """
from loguru import logger
class Propagate(logging.Handler):
    def emit(self, record): logging.getLogger(record.name).handle(record)
logger.remove()
logger.add(Propagate(), format={form})
log = logger.bind(request='r1')
"""
FORMAT = pytest.mark.parametrize("form", ["'{message}'", "lambda record: '{message}'"])


@FORMAT
def test_logurus_records_are_entries(form: str) -> None:
    first, second, third = entries(
        LOGURU.replace("{form}", form)
        + "log.info('put {}', 'a', size=5, level='mine')\n"
        + "log.success('done')\n"
        + "logger.critical('100%')\n"
    )
    assert (first["@level"], first["@module"], first["@message"]) == ("info", "__main__", "put a")
    assert fields(first) == {"request": "r1", "size": 5, "level": "mine"}
    assert (second["@level"], fields(second)) == ("info", {"request": "r1"})
    assert (third["@level"], third["@message"], fields(third)) == ("error", "100%", {})


@FORMAT
@pytest.mark.parametrize(
    "fail",
    [
        "    {}['key']\n",
        "    try: 1 / 0\n    except ArithmeticError as e: raise KeyError('key') from e\n",
    ],
    ids=["one", "chained"],
)
def test_logurus_exceptions_are_stack_traces(form: str, fail: str) -> None:
    (entry,) = entries(
        f"{LOGURU.replace('{form}', form)}\ntry:\n{fail}except KeyError: log.exception('failed')\n"
    )
    assert (entry["@level"], entry["@message"]) == ("error", "failed")
    trace = entry.pop("stacktrace")
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("KeyError: 'key'")
    assert fields(entry) == {"request": "r1"}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no exception groups")
def test_logurus_exception_groups_are_stack_traces() -> None:
    (entry,) = entries(
        LOGURU.replace("{form}", "'{message}'")
        + "try: raise ExceptionGroup('two', [KeyError('a'), KeyError('b')])\n"
        + "except ExceptionGroup: log.exception('failed')\n"
    )
    assert entry["@message"] == "failed"
    assert entry["stacktrace"].startswith("  + Exception Group Traceback (most recent call last):")
    assert "KeyError: 'b'" in entry["stacktrace"]
