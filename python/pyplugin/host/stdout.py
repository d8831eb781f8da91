"""The plugin's stdout: one handshake line, and after it nothing that matters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..constants import MAX_HANDSHAKE_BYTES
from .process import PipeReader

if TYPE_CHECKING:
    from typing import BinaryIO

_HEAD_BYTES = 1024


class StdoutReader:
    """Reads the first line, then drains for ever so that the plugin never blocks on the pipe.

    Attributes:
        line: Resolves to the first line without its LF; at the end of stdout, or when a line grows
            beyond 64 KiB, to what there is of it.
    """

    def __init__(self, pipe: BinaryIO) -> None:
        self.line: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._buffer = bytearray()
        self._reader = PipeReader(pipe, self._feed)
        self._reader.ended.add_done_callback(lambda _: self._resolve(len(self._buffer)))

    @property
    def head(self) -> bytes:
        """The first bytes of stdout."""
        return bytes(self._buffer[:_HEAD_BYTES])

    async def finish(self) -> None:
        """Takes what a dead process left in the pipe, and closes it."""
        await self._reader.finish()
        self._resolve(len(self._buffer))

    def _feed(self, data: bytes) -> None:
        if self.line.done():
            return
        start = len(self._buffer)
        self._buffer += data
        end = self._buffer.find(b"\n", start)
        if end >= 0:
            self._resolve(end)
        elif len(self._buffer) > MAX_HANDSHAKE_BYTES:
            self._resolve(MAX_HANDSHAKE_BYTES)

    def _resolve(self, end: int) -> None:
        if not self.line.done():
            self.line.set_result(bytes(self._buffer[:end]))
            del self._buffer[_HEAD_BYTES:]
