"""The records that a plugin's log lines become."""

from __future__ import annotations

import asyncio
import copy
import itertools
import logging
import logging.handlers
import multiprocessing
import os
import pickle
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import client
from tests.fixtures.logs import Keep, entry, last_words, new_logger, pipe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyplugin.logging_bridge import PluginLogRecord

TIMESTAMP = "2024-01-02T15:04:05.678901Z"
FIELDS = {"n": 1, "list": [1, {"a": None}], "text": "\u00fc"}
LINE = entry("100 %s of %d %", "warn", module="a.b", **{"@timestamp": TIMESTAMP}, **FIELDS)
OUR_ATTRIBUTES = {"plugin", "fields", "hclog_level", "plugin_timestamp"}


async def logged(
    *lines: bytes, logger: logging.Logger | None = None, **settings: Any
) -> list[PluginLogRecord]:
    """The records of lines."""
    keep, logger = Keep(), logger or new_logger()
    logger.addHandler(keep)
    async with pipe(logger, **settings) as stderr:
        stderr.put(b"".join(lines))
    records: Any = keep.records.items
    return records  # type: ignore[no-any-return]


# Attributes


async def test_a_record_says_what_the_line_says() -> None:
    entry_record, plain, pretty = await logged(
        LINE, b"plain\n", b"2024-01-02T15:04:05Z [DEBUG] a.b: text\n"
    )
    assert entry_record.plugin == "a.b"
    assert entry_record.fields == FIELDS
    assert entry_record.hclog_level == "warn"
    assert entry_record.plugin_timestamp == TIMESTAMP
    assert (plain.plugin, plain.fields, plain.plugin_timestamp) == ("", {}, None)
    assert (pretty.plugin, pretty.fields, pretty.plugin_timestamp) == ("a.b", {}, None)
    assert (plain.hclog_level, pretty.hclog_level) == ("info", "debug")


@pytest.mark.parametrize(
    ("level", "number", "name"),
    [
        ("trace", logging.DEBUG, "DEBUG"),
        ("debug", logging.DEBUG, "DEBUG"),
        ("info", logging.INFO, "INFO"),
        ("warn", logging.WARNING, "WARNING"),
        ("error", logging.ERROR, "ERROR"),
    ],
)
async def test_levels(level: str, number: int, name: str) -> None:
    (record,) = await logged(entry(level=level))
    assert (record.hclog_level, record.levelno, record.levelname) == (level, number, name)


async def test_renamed_levels_have_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(logging._levelToName, logging.WARNING, "ATTENTION")
    (record,) = await logged(LINE)
    assert record.levelname == "ATTENTION"


async def test_a_message_is_never_formatted() -> None:
    (record,) = await logged(LINE)
    assert record.msg == record.getMessage() == "100 %s of %d %"
    assert record.args == ()


async def test_all_else_is_as_of_a_record_of_logging_itself() -> None:
    keep, logger = Keep(), new_logger()
    async with pipe(logger) as stderr:
        logger.addHandler(keep)
        stderr.put(b"[WARN]  a: text\n")
        await keep.records.count(1)
        # Where the loop calls, as it calls for a line.
        asyncio.get_running_loop().call_soon(logger.warning, "text")
        await keep.records.count(2)
    ours, stock = (dict(vars(record)) for record in keep.records.items)
    assert ours.keys() - stock.keys() == OUR_ATTRIBUTES
    assert stock.keys() - ours.keys() == set()
    # No line of any program logged it.
    for name in ("pathname", "filename", "module", "lineno", "funcName"):
        assert type(ours[name]) is type(stock[name])
    times = {"created", "msecs", "relativeCreated"}
    places = {"pathname", "filename", "module", "lineno", "funcName"}
    for name in stock.keys() - times - places:
        assert ours[name] == stock[name], name
        assert type(ours[name]) is type(stock[name]), name
    for name in times:
        assert type(ours[name]) is type(stock[name]), name


async def test_the_place_of_a_record_is_unknown() -> None:
    (record,) = await logged(LINE)
    stock = logging.Logger("a").makeRecord("a", 10, "(unknown file)", 0, "m", (), None)
    for name in ("pathname", "filename", "module", "lineno"):
        assert getattr(record, name) == getattr(stock, name)


async def test_a_record_has_the_time_at_which_the_host_read_it() -> None:
    before = time.time()
    (record,) = await logged(LINE)
    assert before <= record.created <= time.time()
    assert record.msecs == int(record.created * 1000) % 1000
    reference = logging.makeLogRecord({})
    started = reference.created - reference.relativeCreated / 1000
    assert record.relativeCreated / 1000 == pytest.approx(record.created - started, abs=0.01)


async def test_a_later_record_has_a_later_time() -> None:
    keep = Keep()
    async with pipe(new_logger(keep)) as stderr:
        for count in range(3):
            stderr.put(b"line\n")
            await keep.records.count(count + 1)
    times = [record.created for record in keep.records.items]
    assert times == sorted(times)
    assert times[0] < times[2]


async def test_a_record_tells_its_process_and_thread() -> None:
    (record,) = await logged(LINE)
    assert record.processName == multiprocessing.current_process().name
    assert record.threadName == threading.current_thread().name
    assert (record.process, record.thread) == (os.getpid(), threading.get_ident())


async def test_a_record_has_the_name_of_its_logger() -> None:
    logger = new_logger()
    (record,) = await logged(LINE, logger=logger)
    assert record.name == logger.name


async def test_loggers_of_a_client() -> None:
    """As they are documented."""
    keep = Keep()
    names = ["of.a.host.stderr", "of.another", "pyplugin.host.plugin.plugin.py"]
    for name in names:
        logging.getLogger(name).addHandler(keep)
    code = "import sys; print('[ERROR] text', file=sys.stderr)"
    await last_words(code, logger=logging.getLogger("of.a.host"))
    await last_words(
        code, logger=logging.getLogger("of"), stderr_logger=logging.getLogger("of.another")
    )
    async with client(KV_LAST_LINES=1, log_level="info"):
        pass
    for name in names:
        logging.getLogger(name).removeHandler(keep)
    found = [record.name for record in keep.records.items]
    assert [name for name, _ in itertools.groupby(found)] == names


# Fields


async def test_fields_are_decoded_once() -> None:
    record, other = await logged(LINE, LINE)
    assert record.fields is record.fields is vars(record)["fields"] is record.__dict__["fields"]
    record.fields["more"] = 2
    assert record.fields == {**FIELDS, "more": 2}
    assert vars(other)["fields"] is other.fields
    assert other.fields == FIELDS


async def test_fields_can_be_replaced() -> None:
    records = await logged(LINE, LINE)
    _ = records[0].fields
    for record in records:
        record.fields = {"other": 1}
        assert record.fields == vars(record)["fields"] == {"other": 1}


def test_a_record_class_can_be_inspected() -> None:
    from pyplugin.logging_bridge import PluginLogRecord

    assert "fields" in dir(PluginLogRecord)
    assert PluginLogRecord.fields is not None
    made = PluginLogRecord("name", 10, "path", 1, "%d", (1,), None)
    assert (made.getMessage(), made.fields) == ("1", {})


@pytest.mark.parametrize(
    "take",
    [
        copy.copy,
        copy.deepcopy,
        lambda record: pickle.loads(pickle.dumps(record)),
        lambda record: pickle.loads(pickle.dumps(record, protocol=2)),
        lambda record: logging.makeLogRecord(record.__dict__),
        lambda record: logging.makeLogRecord(dict(vars(record))),
        # As `SocketHandler` sends it.
        lambda record: logging.makeLogRecord(
            pickle.loads(logging.handlers.SocketHandler("host", 1).makePickle(record)[4:])
        ),
    ],
    ids=["copy", "deepcopy", "pickle", "pickle-2", "dict", "vars", "socket"],
)
@pytest.mark.parametrize("is_asked_before", [False, True])
async def test_copies_have_all_attributes(take: Any, is_asked_before: bool) -> None:
    (record,) = await logged(LINE)
    if is_asked_before:
        assert record.fields == FIELDS
    taken = take(record)
    assert taken.fields == record.fields == FIELDS
    left_out = {"exc_info", "args", "msg", "message"}
    assert {name: value for name, value in vars(taken).items() if name not in left_out} == {
        name: value for name, value in vars(record).items() if name not in left_out
    }
    assert taken.getMessage() == "100 %s of %d %"


async def test_a_copy_leaves_the_original_alone() -> None:
    (record,) = await logged(LINE)
    deep = copy.deepcopy(record)
    deep.fields["list"].append(2)
    assert record.fields == FIELDS


async def test_records_go_through_a_queue() -> None:
    """To be handled in another thread."""
    records: queue.Queue[logging.LogRecord] = queue.Queue()
    keep = Keep()
    listener = logging.handlers.QueueListener(records, keep)
    listener.start()
    await logged(*[LINE] * 3, logger=new_logger(logging.handlers.QueueHandler(records)))
    listener.stop()
    assert keep.messages == ["100 %s of %d %"] * 3
    for record in keep.records.items:
        assert (vars(record)["plugin"], vars(record)["fields"]) == ("a.b", FIELDS)


# Formats

STYLES: dict[str, Any] = {
    "%": "%(plugin)s|%(fields)s|%(hclog_level)s|%(plugin_timestamp)s|%(asctime)s|%(msecs)03d|"
    "%(relativeCreated)d|%(levelname)s|%(name)s|%(process)d|%(threadName)s|%(message)s",
    "{": "{plugin}|{fields}|{hclog_level}|{plugin_timestamp}|{asctime}|{msecs:03.0f}|"
    "{relativeCreated:.0f}|{levelname}|{name}|{process}|{threadName}|{message}",
    "$": "${plugin}|${fields}|${hclog_level}|${plugin_timestamp}|${asctime}|${msecs}|"
    "${relativeCreated}|${levelname}|${name}|${process}|${threadName}|$message",
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("line", [LINE, b"plain\n"])
async def test_formats_of_all_styles(style: Any, line: bytes) -> None:
    (record,) = await logged(line)
    formatter = logging.Formatter(STYLES[style], style=style)
    parts = formatter.format(record).split("|")
    assert parts[:4] == [
        record.plugin,
        str(record.fields),
        record.hclog_level,
        str(record.plugin_timestamp),
    ]
    assert parts[4] == formatter.formatTime(record)
    assert float(parts[5]) == record.msecs
    assert float(parts[6]) == pytest.approx(record.relativeCreated, abs=1)
    assert parts[7:10] == [record.levelname, record.name, str(record.process)]
    assert parts[10:] == [record.threadName, record.getMessage()]


# Makers of records


@pytest.fixture
def factory() -> Iterator[None]:
    """Puts logging's own factory back."""
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


class OwnRecord(logging.LogRecord):
    """A record of a program's own."""


@pytest.mark.usefixtures("factory")
async def test_a_record_factory_makes_the_records() -> None:
    logging.setLogRecordFactory(OwnRecord)
    for record in await logged(LINE, b"plain\n"):
        assert isinstance(record, OwnRecord)
        assert vars(record).keys() >= OUR_ATTRIBUTES
        assert vars(record)["fields"] == (FIELDS if record.levelname == "WARNING" else {})
    record = (await logged(LINE))[0]
    assert (vars(record)["plugin"], vars(record)["plugin_timestamp"]) == ("a.b", TIMESTAMP)
    assert record.getMessage() == "100 %s of %d %"


@pytest.mark.usefixtures("factory")
async def test_a_record_factory_may_have_defaults_for_our_attributes() -> None:
    """For formats that name them, and records of the host itself."""
    make = logging.getLogRecordFactory()

    def make_with_defaults(*arguments: Any, **more: Any) -> logging.LogRecord:
        record = make(*arguments, **more)
        record.plugin, record.fields, record.request = "-", {}, 7
        return record

    logging.setLogRecordFactory(make_with_defaults)
    (record,) = await logged(LINE)
    assert (record.plugin, record.fields) == ("a.b", FIELDS)
    assert vars(record)["request"] == 7


@pytest.mark.usefixtures("factory")
async def test_a_factory_set_in_mid_stream_is_used_from_then_on() -> None:
    keep = Keep()
    async with pipe(new_logger(keep)) as stderr:
        stderr.put(LINE)
        await keep.records.count(1)
        logging.setLogRecordFactory(OwnRecord)
        stderr.put(LINE)
    assert [isinstance(record, OwnRecord) for record in keep.records.items] == [False, True]


async def test_a_kind_of_logger_makes_the_records() -> None:
    class OwnLogger(logging.Logger):
        def makeRecord(self, *arguments: Any, **more: Any) -> logging.LogRecord:
            record = super().makeRecord(*arguments, **more)
            record.tenant = "t"
            return record

    (record,) = await logged(LINE, logger=OwnLogger("own"))
    assert (vars(record)["tenant"], record.fields) == ("t", FIELDS)
