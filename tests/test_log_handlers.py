"""A plugin's log in the handlers of ``logging``: as if its lines had been logged here."""

from __future__ import annotations

import io
import logging
import logging.handlers
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures.logs import Keep, entry, new_logger, pipe

if TYPE_CHECKING:
    from pathlib import Path

STREAM = b"".join(
    [
        entry("m", module="a.b", **{"@timestamp": "2024-01-02T15:04:05.678901Z"}, n=1, t="\u00fc"),
        entry("100 %s %d %(x)s", "warn", a={"b": [1]}),
        b"2024-01-02T15:04:05Z [DEBUG] a: pretty\nplain \xc3\xbc\n[ERROR] x\n",
        b'{"@level":"trace","@message":"two\\nlines"}\n',
    ]
)


async def logged(logger: logging.Logger, stream: bytes = STREAM) -> None:
    async with pipe(logger) as stderr:
        stderr.put(stream)


def formatted(keep: Keep, handler: logging.Handler) -> list[str]:
    """What the handler's formatter makes of the records that came."""
    return [handler.format(record) for record in keep.records.items]


# Text


def with_(formatter: logging.Formatter, **attributes: Any) -> logging.Formatter:
    for name, value in attributes.items():
        setattr(formatter, name, value)
    return formatter


class Shouting(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).upper()


class Dated(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return f"<{record.created}>"


ALL = (
    "%(asctime)s,%(msecs)03d %(relativeCreated)d %(created)f %(levelname)-8s %(levelno)s %(name)s "
    "%(pathname)s %(filename)s %(module)s %(lineno)d %(funcName)s %(process)d %(processName)s "
    "%(thread)d %(threadName)s %(plugin)s %(fields)s %(hclog_level)s %(plugin_timestamp)s "
    "%(args)s %(exc_info)s %(message)-5.3s %(message)r %%"
)
FORMATTERS: dict[str, logging.Formatter | None] = {
    "none": None,
    "default": logging.Formatter(),
    "all": logging.Formatter(ALL),
    "message": logging.Formatter("%(message)s"),
    "msg": logging.Formatter("%(msg)s %(fields)s"),
    "no-fields": logging.Formatter("%(asctime)s %(levelname)s [%(plugin)s] %(message)s"),
    "datefmt": logging.Formatter("%(asctime)s %(message)s", "%Y %H:%M:%S %z"),
    "gmtime": with_(logging.Formatter("%(asctime)s %(message)s"), converter=time.gmtime),
    "no-msecs": with_(logging.Formatter("%(asctime)s %(message)s"), default_msec_format=None),
    "time-format": with_(logging.Formatter("%(asctime)s"), default_time_format="%d.%m. %H"),
    "defaults": logging.Formatter("%(request)s %(plugin)s %(message)s", defaults={"request": 7}),
    "brace": logging.Formatter("{asctime} {plugin!r} {fields} {message:>9}", style="{"),
    "dollar": logging.Formatter("$asctime $plugin ${fields} $message", style="$"),
    "own-format": Shouting("%(asctime)s %(message)s"),
    "own-time": Dated("%(asctime)s %(message)s"),
    "patched": with_(logging.Formatter("%(message)s"), format=lambda record: "patched"),
}


async def test_a_stream_has_the_text_that_its_formatter_makes() -> None:
    for name, formatter in FORMATTERS.items():
        stream, keep = io.StringIO(), Keep()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        await logged(new_logger(handler, keep))
        assert len(keep.messages) == 6
        expected = "".join(f"{text}\n" for text in formatted(keep, handler))
        assert stream.getvalue() == expected, name


@pytest.mark.parametrize("delay", [False, True])
async def test_a_file_has_the_text_that_its_formatter_makes(delay: bool, tmp_path: Path) -> None:
    for name, formatter in FORMATTERS.items():
        path, keep = tmp_path / name, Keep()
        handler = logging.FileHandler(path, delay=delay, encoding="utf-8")
        handler.setFormatter(formatter)
        logger = new_logger(handler, keep)
        # A file that is opened late is open the second time; a closed one is opened again.
        for _ in range(3):
            await logged(logger)
            if len(keep.messages) == 12:
                handler.close()
        handler.close()
        assert len(keep.messages) == 18
        expected = "".join(f"{text}\n" for text in formatted(keep, handler))
        assert path.read_text("utf-8") == expected, name


async def test_a_terminator_of_ones_own() -> None:
    stream, keep = io.StringIO(), Keep()
    handler = logging.StreamHandler(stream)
    handler.terminator = "|\r\n"
    await logged(new_logger(handler, keep))
    assert stream.getvalue() == "".join(f"{text}|\r\n" for text in formatted(keep, handler))


async def test_a_rotating_file(tmp_path: Path) -> None:
    path, keep = tmp_path / "log", Keep()
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=1000, backupCount=50)
    logger = new_logger(handler, keep)
    await logged(logger, b"".join(b"line %d %s\n" % (n, b"." * (n % 50)) for n in range(500)))
    handler.close()
    files = sorted(tmp_path.iterdir(), key=lambda file: -int(file.suffix[1:] or 0))
    assert len(files) > 10
    assert max(file.stat().st_size for file in files) <= 1000
    text = "".join(file.read_text() for file in files)
    assert text == "".join(f"{text}\n" for text in formatted(keep, handler))


async def test_a_stream_may_be_exchanged() -> None:
    first, second = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(first)
    logger = new_logger(handler)
    await logged(logger, b"one\n")
    handler.setStream(second)
    await logged(logger, b"two\n")
    assert (first.getvalue(), second.getvalue()) == ("one\n", "two\n")


# Streams and formats that fail


class Failures(list[logging.LogRecord]):
    """What a handler could not write."""

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        setattr(handler, "handleError", self.append)  # noqa: B010 -- mypy knows it as a method


async def test_a_line_that_cannot_be_encoded_is_lost_alone() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    handler = logging.StreamHandler(stream)
    failures = Failures(handler)
    await logged(new_logger(handler), b"one\n\xc3\xbc 1\ntwo\n\xc3\xbc 2\n\xc3\xbc 3\nthree\n")
    assert stream.buffer.getvalue() == b"one\ntwo\nthree\n"
    assert [record.getMessage() for record in failures] == ["\u00fc 1", "\u00fc 2", "\u00fc 3"]


async def test_a_stream_that_cannot_be_flushed_is_reported() -> None:
    class Stream(io.StringIO):
        def flush(self) -> None:
            raise OSError("of the stream")

    stream = Stream()
    handler = logging.StreamHandler(stream)
    failures = Failures(handler)
    await logged(new_logger(handler), b"one\ntwo\n")
    assert stream.getvalue() == "one\ntwo\n"
    assert failures


@pytest.mark.parametrize("style", ["%(request)s %(message)s", "%(message)d"])
async def test_a_format_that_fails_is_reported_by_its_handler(style: str) -> None:
    stream, other = io.StringIO(), Keep()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(style))
    failures = Failures(handler)
    await logged(new_logger(handler, other), b"one\ntwo\n")
    assert [record.getMessage() for record in failures] == ["one", "two"]
    assert stream.getvalue() == ""
    assert other.messages == ["one", "two"]


async def test_a_failure_is_told_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """By logging's own report, unless that is switched off."""
    handler = logging.StreamHandler(io.StringIO())
    handler.stream.close()
    await logged(new_logger(handler), b"one\n")
    assert "--- Logging error ---" in capsys.readouterr().err
