"""The data of a stream that has come and was not read, in the place of grpclib's."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


# Before each message: whether it is compressed, and its length (gRPC over HTTP/2).
_HEAD_BYTES = 5


class Buffer:
    """The data of one stream, for one reader.

    Args:
        acknowledge: Lets the peer send so many bytes more. It is called as a reader comes to need
            what has come, so that a peer is never more than its window ahead of one.
    """

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        # What no reader needed yet; what one does, or did in part.
        self._waiting: deque[bytes] = deque()
        self._needed: deque[bytes] = deque()
        self._needed_bytes = 0
        # How much of the first needed chunk was read.
        self._start = 0
        # The length of the message whose head was read, and no more of it.
        self._due: int | None = None
        self._has_ended = False
        self._came = asyncio.Event()

    def add(self, data: bytes, ack_size: int) -> None:
        """Appends data, of a frame of ``ack_size`` bytes with its padding."""
        if ack_size > len(data):
            self._acknowledge(ack_size - len(data))
        if data:
            self._waiting.append(data)
            self._came.set()

    def eof(self) -> None:
        """There will be no more."""
        self._has_ended = True
        self._came.set()

    def unacked_size(self) -> int:
        """Drops what no reader needed, and returns how many bytes that was."""
        size = sum(map(len, self._waiting))
        self._waiting.clear()
        return size

    def take_message(self) -> bytes | None:
        """The next message, where it is here in one piece; None where ``read_message`` is due."""
        if self._due is not None:
            return None
        if not self._needed:
            if not self._waiting:
                return None
            self._take()
        chunk, start = self._needed[0], self._start
        begin = start + _HEAD_BYTES
        end = begin + int.from_bytes(chunk[start + 1 : begin], "big")
        if end > len(chunk) or chunk[start]:
            return None
        self._needed_bytes -= end - start
        self._start = end
        if end == len(chunk):
            self._needed.popleft()
            self._start = 0
        return chunk[begin:end]

    async def read_message(self) -> bytes | None:
        """The next message; None at the end. Cancellation: nothing is lost.

        Raises:
            AssertionError: The stream has ended inside of it.
            NotImplementedError: It is compressed.
        """
        if self._due is None:
            head = await self.read(_HEAD_BYTES)
            if not head:
                return None
            if head[0]:
                raise NotImplementedError("compressed messages are not supported")
            self._due = int.from_bytes(head[1:], "big")
        size = self._due
        data = await self.read(size)
        assert len(data) == size, "the stream has ended inside of a message"
        self._due = None
        return data

    async def read(self, size: int) -> bytes:
        """Reads ``size`` bytes; none at the end. Cancellation: nothing is lost."""
        while self._needed_bytes < size and await self._need():
            pass
        if self._needed_bytes < size:
            if not self._needed_bytes:
                return b""
            raise AssertionError("the stream has ended inside of a message")
        self._needed_bytes -= size
        if not size:
            return b""
        if (end := self._start + size) < len(self._needed[0]):
            data, self._start = self._needed[0][self._start : end], end
            return data
        parts = []
        while size > 0:
            part = memoryview(self._needed[0])[self._start : self._start + size]
            size -= len(part)
            self._start += len(part)
            if self._start == len(self._needed[0]):
                self._needed.popleft()
                self._start = 0
            parts.append(part)
        return b"".join(parts)

    async def read_some(self) -> bytes:
        """Reads what has come, at least a byte; none at the end."""
        if not await self._need():
            return b""
        while self._waiting:
            await self._need()
        data = b"".join(self._needed)[self._start :]
        self._needed.clear()
        self._needed_bytes = self._start = 0
        return data

    async def _need(self) -> bool:
        """Takes one more chunk; False at the end."""
        while not self._waiting:
            if self._has_ended:
                return False
            self._came.clear()
            await self._came.wait()
        self._take()
        return True

    def _take(self) -> None:
        chunk = self._waiting.popleft()
        self._needed.append(chunk)
        self._needed_bytes += len(chunk)
        self._acknowledge(len(chunk))
