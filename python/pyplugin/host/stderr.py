"""The plugin's stderr: its log, line by line."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from .. import logging_bridge
from ..constants import MAX_LOG_LINE_BYTES
from .process import PipeReader

if TYPE_CHECKING:
    import logging
    from typing import BinaryIO

# Enough for the first line of a Go panic to be among them.
_TAIL_LINES = 40
_TAIL_LINE_BYTES = 2048


class StderrReader:
    """Logs each line, and remembers the last ones for error messages."""

    def __init__(self, pipe: BinaryIO, logger: logging.Logger) -> None:
        self._logger = logger
        self._rest = b""
        self._tail: deque[bytes] = deque(maxlen=_TAIL_LINES)
        self._loop = asyncio.get_running_loop()
        self._reader = PipeReader(pipe, self._feed)

    @property
    def tail(self) -> tuple[bytes, ...]:
        """The last lines, oldest first, without line ends; long ones cut."""
        return tuple(self._tail)

    async def finish(self) -> None:
        """Logs what a dead process left in the pipe, and closes it."""
        await self._reader.finish()
        if self._rest:
            self._log(self._rest)
            self._rest = b""

    def _feed(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._log(line)
        while len(self._rest) >= MAX_LOG_LINE_BYTES:
            self._log(self._rest[:MAX_LOG_LINE_BYTES])
            self._rest = self._rest[MAX_LOG_LINE_BYTES:]

    def _log(self, line: bytes) -> None:
        line = line.removesuffix(b"\r")
        if not line:
            return
        self._tail.append(line[:_TAIL_LINE_BYTES])
        try:
            logging_bridge.emit(self._logger, line.decode("utf-8", "replace"))
        except Exception as error:
            # A handler that raises loses its line, not the lines after it.
            self._loop.call_exception_handler(
                {"message": "a logging handler raised", "exception": error}
            )
