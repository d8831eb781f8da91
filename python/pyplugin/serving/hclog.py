"""Python's ``logging`` as hclog JSON, which a go-plugin host takes apart again."""

from __future__ import annotations

import logging
import sys
import time

# hclog has no critical; what is above ERROR is an error to it.
_LEVELS = (
    (logging.ERROR, "error"),
    (logging.WARNING, "warn"),
    (logging.INFO, "info"),
    (logging.DEBUG, "debug"),
    (0, "trace"),
)


class HCLogFormatter(logging.Formatter):
    """Formats a record as one line of hclog JSON; an exception is its field ``stacktrace``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its line end."""
        entry = {
            "@level": next(name for level, name in _LEVELS if record.levelno >= level),
            "@message": record.getMessage(),
            "@module": record.name,
            "@timestamp": _timestamp(record.created),
        }
        if record.exc_info:
            entry["stacktrace"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = self.formatStack(record.stack_info)
        # Loaded by the first record: plugins that log nothing at their start, start sooner.
        import json

        return json.dumps(entry)


def _timestamp(seconds: float) -> str:
    """The form of hclog, 2006-01-02T15:04:05.000000Z07:00, in UTC."""
    whole, microseconds = divmod(round(seconds * 1_000_000), 1_000_000)
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{date}.{microseconds:06}Z"


def configure_logging() -> None:
    """Sends all logging to stderr as hclog JSON, unless the program set logging up itself."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(HCLogFormatter())
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    # It reports each call that a host cancels, at INFO.
    logging.getLogger("grpclib.server").setLevel(logging.WARNING)
