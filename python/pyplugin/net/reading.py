"""How a protocol of ours takes what comes: into memory that is used again."""

from __future__ import annotations

import asyncio

_ROOM_BYTES = 64 * 1024

# What no connection reads into at this moment: one, where reading takes no time, as on Unix.
_free: list[memoryview] = []


class ReadingProtocol(asyncio.BufferedProtocol):
    """A protocol that gets its data by ``data_received``, as an ``asyncio.Protocol`` does.

    For one of those asyncio makes room for 256 KiB with each read, which takes the system longer
    than to read the few bytes of a call.
    """

    _room: memoryview | None = None

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._room is None:
            self._room = _free.pop() if _free else memoryview(bytearray(_ROOM_BYTES))
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        assert self._room is not None
        data = bytes(self._room[:nbytes])
        if not _free:
            _free.append(self._room)
        self._room = None
        self.data_received(data)

    def data_received(self, data: bytes) -> None:
        """Called with what has come, which is not empty."""
        raise NotImplementedError
