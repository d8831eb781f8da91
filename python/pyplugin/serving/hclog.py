"""Python's ``logging`` as hclog JSON, which a go-plugin host takes apart again."""

from __future__ import annotations

import functools
import logging
import os
import re
import select
import sys
import time
import weakref
from typing import TYPE_CHECKING, Any

from .fields import FieldValues, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

# The least level of logging by hclog's names. What is above ERROR is an error to hclog too.
_LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 0, "off": sys.maxsize}
# What every record has, and what other formatters leave on it. All else is a field.
_PLAIN = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime"}
# structlog's wrap_for_formatter() adds these to a record whose message is its event dictionary.
_OF_STRUCTLOG = {"_logger", "_name"}
# loguru has the traceback in the message, and says so by an exc_text that is but a line end.
_TRACEBACK = re.compile(r"(  \+ Exception Group )?Traceback \(most recent call last\):\n")


class HCLogFormatter(logging.Formatter):
    """Formats a record as one line of hclog JSON, in ASCII.

    Fields are what ``extra`` gave the record, with a ``_`` before a name that is taken; an
    exception is the field ``stacktrace``. Values that are no JSON are given as text. Records of
    structlog's ``wrap_for_formatter`` and of loguru are understood. It raises nothing: what went
    wrong is said in the field ``logging_error``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line end."""
        try:
            return _encoder()(self._entry(record))
        except Exception as error:
            entry = _entry(logging.ERROR, "a record cannot be logged", "pyplugin", time.time())
            return _encoder()({**entry, "record": text_of(record), "logging_error": text_of(error)})

    def _entry(self, record: logging.LogRecord) -> dict[str, Any]:
        fields = {name: value for name, value in vars(record).items() if name not in _PLAIN}
        exc_info: Any = record.exc_info
        special = {}
        if isinstance(record.msg, dict) and fields.keys() >= _OF_STRUCTLOG:
            del fields["_logger"], fields["_name"]
            fields.update(record.msg)
            message = text_of(fields.pop("event", ""))
            exc_info = fields.pop("exc_info", None)
        else:
            try:
                message = record.getMessage()
            except Exception as error:
                message = text_of(record.msg)
                where, given = f"{record.filename}:{record.lineno}", FieldValues().json(record.args)
                special["logging_error"] = f"{where}: {text_of(error)}: {given}"
        if record.exc_text == "\n" and (found := _TRACEBACK.search(message)):
            special["stacktrace"] = message[found.start() :].rstrip()
            message = message[: found.start()].rstrip()
        elif exc_info := _exc_info(exc_info):
            special["stacktrace"] = self.formatException(exc_info)
        elif record.exc_text:
            # All that is left of the exception in a record that comes from another process.
            special["stacktrace"] = record.exc_text
        if record.stack_info:
            special["stack"] = self.formatStack(record.stack_info)
        entry = _entry(record.levelno, message, record.name, record.created)
        entry.update(special)
        if fields:
            # loguru's own fields come as one.
            more = fields.pop("extra") if isinstance(fields.get("extra"), dict) else {}
            values = FieldValues()
            for name, value in (*fields.items(), *more.items()):
                key = text_of(name)
                while key in entry:
                    key = f"_{key}"
                entry[key] = values.json(value)
        return entry


class _StderrHandler(logging.Handler):
    """Writes each record at once to what is stderr at its making; where that is full it waits."""

    def __init__(self) -> None:
        super().__init__()
        self._descriptor = os.dup(2)
        # Not by close(): logging calls that at exit, and programs log still later.
        weakref.finalize(self, os.close, self._descriptor).atexit = False
        self.setFormatter(HCLogFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            data = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except RecursionError:
            raise
        except Exception:
            # From a formatter in the place of ours. Without a stack nothing can be reported.
            self.handleError(record)
            return
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                # Another program that has this pipe made it non-blocking.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                # The host is gone: nobody is left to tell.
                return


def configure_logging(level: str | None = None) -> None:
    """Sends all logging to stderr as hclog JSON, unless the program set logging up itself.

    It goes on to what is stderr now when that is redirected. A second call only sets the level.

    Args:
        level: trace, debug, info, warn, error or off. None leaves it as it is: info at first.

    Raises:
        ValueError: There is no such level.
    """
    check_log_level(level)
    root = logging.getLogger()
    handler = next((known for known in root.handlers if isinstance(known, _StderrHandler)), None)
    if handler is None:
        if root.handlers:
            return
        try:
            handler = _StderrHandler()
        except OSError:
            # There is no stderr.
            return
        root.addHandler(handler)
        level = level or "info"
        # One reports each call that a host cancels, at INFO; the other every header, at DEBUG.
        for name in ("grpclib.server", "hpack"):
            logging.getLogger(name).setLevel(logging.WARNING)
    if level is not None:
        root.setLevel(_LEVELS[level])
        # Off is off for loggers too that have a level of their own.
        handler.setLevel(_LEVELS["off"] if level == "off" else logging.NOTSET)


def check_log_level(level: str | None) -> None:
    """Raises ValueError for what is neither None nor a level of hclog."""
    if level is not None and level not in _LEVELS:
        raise ValueError(f"log_level must be None or one of {', '.join(_LEVELS)}, not {level!r}")


def _entry(level: int, message: str, module: object, created: float) -> dict[str, Any]:
    # The form of hclog, 2006-01-02T15:04:05.000000Z07:00, in UTC.
    second, microseconds = divmod(round(created * 1_000_000), 1_000_000)
    # Go's host panics where one of these is no string.
    return {
        "@level": _level(level),
        "@message": message,
        "@module": text_of(module),
        "@timestamp": f"{_date(second)}.{microseconds:06}Z",
    }


@functools.lru_cache
def _level(number: int) -> str:
    return next((name for name, least in _LEVELS.items() if number >= least), "trace")


@functools.lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _exc_info(given: Any) -> Any:
    """What a record or an event dictionary has, as ``formatException`` takes it, or None."""
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if given and not isinstance(given, tuple):
        given = sys.exc_info()
    return given if given and given[0] else None


@functools.cache
def _encoder() -> Callable[[object], str]:
    # Loaded by the first record: plugins that log nothing at their start, start sooner.
    import json

    # No spaces: Rust hosts drop an unwanted level unread by the first bytes of a line.
    return json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


if hasattr(os, "register_at_fork"):
    # In the middle of another thread's import the child could never have it.
    os.register_at_fork(before=_encoder)
