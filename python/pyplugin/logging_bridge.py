"""Between hclog, go-plugin's logger, and Python's ``logging``: levels, and lines as records."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

__all__ = ["emit"]

_LEVELS = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
}

# hclog's pretty form: TIMESTAMP [LEVEL] module: message
_PRETTY = re.compile(
    r"(?:\d\S*\s+)?\[(?P<level>TRACE|DEBUG|INFO|WARN|ERROR)\]\s+"
    r"(?:(?P<module>[\w./-]+):\s+)?(?P<message>.*)",
    re.DOTALL,
)


def emit(logger: logging.Logger, line: str) -> None:
    """Logs one line of a plugin's stderr.

    hclog's JSON and pretty forms give level, message and module; any other text is logged at INFO
    as it stands; an empty line is dropped. hclog's trace is ``logging.DEBUG``.

    Args:
        logger: Gets the record. It carries ``plugin``, the hclog module, and ``fields``, a dict of
            the user's fields.
        line: One line, with or without its line end.
    """
    line = line.rstrip("\r\n")
    if not line:
        return
    level, message, module, fields = _parse(line)
    if logger.isEnabledFor(level):
        logger.log(level, "%s", message, extra={"plugin": module, "fields": fields})


def _parse(line: str) -> tuple[int, str, str, dict[str, Any]]:
    if line.startswith("{"):
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = {}
        level = _LEVELS.get(str(fields.get("@level", "")).strip().lower())
        message = fields.get("@message", "")
        if level is not None and isinstance(message, str):
            for key in ("@level", "@message", "@timestamp"):
                fields.pop(key, None)
            return level, message, str(fields.pop("@module", "")), fields
    elif pretty := _PRETTY.fullmatch(line):
        level = _LEVELS[pretty["level"].lower()]
        return level, pretty["message"], pretty["module"] or "", {}
    return logging.INFO, line, "", {}
