"""Between hclog, go-plugin's logger, and Python's ``logging``: levels, and lines as records."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from ._rust import decode_fields, parse_log_line

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO

__all__ = ["PluginLogRecord", "emit"]

#: hclog's levels as those of ``logging``, which has no trace.
LEVELS: Final[Mapping[str, int]] = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "off": logging.CRITICAL,
}

# The instance's own dict, which PluginLogRecord hides behind a property.
_attributes = logging.LogRecord.__dict__["__dict__"].__get__


class _Fields:
    """Decodes the fields of a record when they are first asked for; most never are."""

    def __get__(self, record: PluginLogRecord | None, owner: type) -> Any:
        if record is None:
            return self
        attributes = _attributes(record)
        line = attributes.pop("_line", None)
        fields = {} if line is None else decode_fields(line)
        return attributes.setdefault("fields", fields)


class PluginLogRecord(logging.LogRecord):
    """A line of a plugin's log.

    Attributes:
        plugin: hclog's name of the part of the plugin that logged it (``@module``), or empty.
        fields: The user's fields, decoded from JSON.
        hclog_level: ``trace``, ``debug``, ``info``, ``warn`` or ``error``.
        plugin_timestamp: When the plugin logged it, as it wrote that (RFC 3339 with microseconds);
            None when it did not. ``created`` is when the host read it.
    """

    plugin: str
    hclog_level: str
    plugin_timestamp: str | None
    if TYPE_CHECKING:
        fields: dict[str, Any]
    else:
        fields = _Fields()

        # Formatters, copies and pickles go by the dict, and are to find the fields in it.
        @property
        def __dict__(self) -> dict[str, Any]:
            attributes = _attributes(self)
            if "fields" not in attributes:
                _ = self.fields
            return attributes

        def __getstate__(self) -> dict[str, Any]:
            return dict(self.__dict__)


def template(logger: str, hclog_level: str) -> dict[str, Any]:
    """What all records of one logger and level have in common.

    Args:
        logger: The logger's name.
        hclog_level: hclog's name of the level.
    """
    record = PluginLogRecord(
        logger,
        LEVELS[hclog_level],
        "(unknown file)",
        0,
        "",
        (),
        None,
        "(unknown function)",
    )
    attributes: dict[str, Any] = _attributes(record)
    attributes |= {"plugin": "", "hclog_level": hclog_level, "plugin_timestamp": None}
    if "taskName" in attributes:
        # Lines come in no task.
        attributes["taskName"] = None
    return attributes


def make_record(
    logger: logging.Logger,
    hclog_level: str,
    message: str,
    module: str,
    fields: dict[str, Any],
    timestamp: str | None,
) -> logging.LogRecord:
    """A record as the program wants it made: by its record factory, by its kind of logger."""
    record = logger.makeRecord(
        logger.name,
        LEVELS[hclog_level],
        "(unknown file)",
        0,
        message,
        (),
        None,
        "(unknown function)",
    )
    # Not by `extra`, which may not set what the factory has set.
    vars(record).update(
        plugin=module, fields=fields, hclog_level=hclog_level, plugin_timestamp=timestamp
    )
    return record


def write_lines(handler: logging.StreamHandler[TextIO], lines: list[str]) -> None:
    """Writes what a stream handler's formatter made of records, and flushes once for them all."""
    end = handler.terminator
    try:
        handler.stream.write(end.join(lines) + end)
    except Exception:
        # One that cannot be encoded loses itself alone, as with `StreamHandler.emit`.
        for line in lines:
            try:
                handler.stream.write(line + end)
            except Exception:
                handler.handleError(logging.makeLogRecord({"msg": line}))
    try:
        handler.flush()
    except Exception:
        handler.handleError(logging.makeLogRecord({"msg": lines[-1]}))


def emit(logger: logging.Logger, line: str) -> None:
    """Logs one line of a plugin's stderr.

    hclog's JSON and pretty forms give level, message and module; a text with a level in brackets
    before it, a panic of Go and the first line of a traceback have their level; any other text is
    logged at INFO as it stands; an empty line is dropped. hclog's trace is ``logging.DEBUG``.

    Args:
        logger: Gets the record. It carries ``plugin``, the hclog module, ``fields``, a dict of the
            user's fields, ``hclog_level`` and ``plugin_timestamp``; see ``PluginLogRecord``.
        line: One line, with or without its line end.
    """
    line = line.rstrip("\r\n")
    if not line:
        return
    data = line.encode("utf-8", "surrogatepass")
    level, message, module, timestamp, has_fields = parse_log_line(data)
    if logger.isEnabledFor(LEVELS[level]):
        fields = decode_fields(data) if has_fields else {}
        logger.handle(make_record(logger, level, message, module, fields, timestamp))
