"""The host's end of GRPCStdio: what the plugin's own code prints after the handshake."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .._compat import timeout
from .._generated import empty_pb2, grpc_stdio_grpc
from .._generated.grpc_stdio_pb2 import StdioData
from ..net.grpc.call import read_encoded

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from typing import BinaryIO

    from grpclib.client import Channel

# How much may wait for a writer before the plugin does.
_ROOM_BYTES = 1024 * 1024
# Seconds for a writer to take the last of it.
_FINISH_TIMEOUT = 5.0
# A plugin without the service, one that ended, and a stream that this side ended.
_NORMAL_ENDS = (Status.UNIMPLEMENTED, Status.UNAVAILABLE, Status.CANCELLED)


class StdioReader:
    """Reads the stream to its end, whether or not anybody wants it.

    A Go plugin that prints would block on a stream that nobody reads (go-plugin ``grpc_stdio.go``).

    Args:
        name: The plugin's name, for what goes wrong.
        logger: Where that is logged.
        stdout: Gets what the plugin prints to stdout; called in a thread of its own.
        stderr: Gets what it prints to stderr, likewise.
    """

    def __init__(
        self,
        name: str,
        logger: logging.Logger,
        *,
        stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None,
    ) -> None:
        self._name = name
        self._logger = logger
        self._writers = {
            channel: _Writer(writer, f"plugin {name!r}: sync_{kind}", logger)
            for channel, kind, writer in (
                (StdioData.STDOUT, "stdout", stdout),
                (StdioData.STDERR, "stderr", stderr),
            )
            if writer is not None
        }
        self._has_ended = asyncio.Event()
        self._has_news = asyncio.Event()

    async def run(self, channel: Channel) -> None:
        """Hands on what comes, until the plugin ends the stream."""
        try:
            async with grpc_stdio_grpc.GRPCStdioStub(channel).StreamStdio.open() as stream:
                await stream.send_message(empty_pb2.Empty(), end=True)
                async for messages in read_encoded(stream):
                    self._has_news.set()
                    await self._hand_on(messages)
        except GRPCError as error:
            log = self._logger.debug if error.status in _NORMAL_ENDS else self._logger.warning
            log("plugin %r: the stream of what it prints ended: %s", self._name, error.message)
        except DecodeError as error:
            self._logger.warning(
                "plugin %r: the stream of what it prints cannot be read: %s", self._name, error
            )
        finally:
            self._has_ended.set()
            self._has_news.set()

    async def _hand_on(self, messages: list[bytes]) -> None:
        if not self._writers:
            return
        pieces: dict[StdioData.Channel, list[bytes]] = {}
        unreadable: DecodeError | None = None
        try:
            for message in map(StdioData.FromString, messages):
                pieces.setdefault(message.channel, []).append(message.data)
        except DecodeError as error:
            unreadable = error
        for channel, data in pieces.items():
            writer = self._writers.get(channel)
            if writer is not None:
                await writer.write(b"".join(data))
        if unreadable:
            raise unreadable

    async def wait_ended(self, seconds: float) -> None:
        """Waits, after the plugin was asked to end, until all it had printed has come.

        Args:
            seconds: How long nothing may come.
        """
        with contextlib.suppress(TimeoutError):
            while not self._has_ended.is_set():
                self._has_news.clear()
                async with timeout(seconds):
                    await self._has_news.wait()

    async def finish(self) -> None:
        """Waits, after ``run()``, until all was written; not for a writer that is stuck."""
        await asyncio.gather(*(writer.finish() for writer in self._writers.values()))


class _Writer:
    """Writes to what may be slow, in a thread that begins with the first bytes."""

    def __init__(self, writer: BinaryIO, what: str, logger: logging.Logger) -> None:
        self._writer = writer
        self._what = what
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._waiting = 0
        self._has_room = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._has_ended = asyncio.Event()
        self._has_failed = False

    async def write(self, data: bytes) -> None:
        """Passes it on; waits while much is waiting."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._what, daemon=True)
            self._thread.start()
        self._waiting += len(data)
        self._queue.put(data)
        while self._waiting > _ROOM_BYTES:
            self._has_room.clear()
            await self._has_room.wait()

    async def finish(self) -> None:
        """Ends the thread."""
        if self._thread is None:
            return
        self._queue.put(None)
        try:
            async with timeout(_FINISH_TIMEOUT):
                await self._has_ended.wait()
        except TimeoutError:
            self._logger.error(
                "%s: the last output is lost: the writer did not take it within %g s",
                self._what,
                _FINISH_TIMEOUT,
            )

    def _run(self) -> None:
        while (data := self._queue.get()) is not None:
            pieces, is_last = [data], False
            with contextlib.suppress(queue.Empty):
                while not is_last:
                    more = self._queue.get_nowait()
                    is_last = more is None
                    pieces.append(more or b"")
            self._write(b"".join(pieces))
            self._tell(self._wrote, sum(map(len, pieces)))
            if is_last:
                break
        self._tell(self._has_ended.set)

    def _write(self, data: bytes) -> None:
        try:
            while data:
                count = self._writer.write(data)
                data = data[count:] if isinstance(count, int) else b""
            if hasattr(self._writer, "flush"):
                self._writer.flush()
        except Exception as error:
            # It may be the user's own; the next output may fare better, and one report is enough.
            if not self._has_failed:
                self._has_failed = True
                self._logger.error("%s: output is lost, its writer raised: %r", self._what, error)

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        # The loop may be closed before a writer that is stuck comes back.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, *arguments)

    def _wrote(self, count: int) -> None:
        self._waiting -= count
        self._has_room.set()
