"""What the plugin's own code prints, and the service by which the host reads it.

After the handshake (go-plugin ``server.go``, ``grpc_stdio.go``) descriptors 1 and 2 are pipes to
the host's GRPCStdio stream: for ``print``, for C extensions and for child processes alike. Logging,
and what ends the interpreter, still go to the real stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import logging
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from .._compat import timeout
from .._generated import grpc_stdio_grpc
from ..net.grpc.answer import send_encoded

if sys.platform != "win32":
    from .._rust import OutputPump

if TYPE_CHECKING:
    from grpclib.server import Stream

    from .._generated import empty_pb2, grpc_stdio_pb2

# Printed bytes of one message: what go-plugin sends, and what Python hosts take at less cost.
_GO_CHUNK_BYTES = 1024
_CHUNK_BYTES = 16 * 1024
# Printed bytes that are sent at once.
_MOST_BYTES = 64 * 1024
# Seconds in which a host must take something of the last of it.
_FLUSH_TIMEOUT = 1.0


class GRPCStdioServicer(grpc_stdio_grpc.GRPCStdioBase):
    """Redirects what is printed to its stream.

    Args:
        logger: Where lost output and exceptions of threads are logged.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._pump: OutputPump | None = None
        self._undo = contextlib.ExitStack()
        self._is_over = False
        # Set when there may be something to send.
        self._has_news = asyncio.Event()
        self._has_sent = asyncio.Event()
        self._is_sending = False
        self._streams = 0
        self._turn = asyncio.Lock()

    def redirect(self) -> None:
        """From now on descriptors 1 and 2 are the stream. Logging keeps the real stderr."""
        if sys.platform == "win32":
            return
        with contextlib.ExitStack() as undo:
            try:
                self._pump = _redirect(undo)
            except OSError as error:
                self._logger.warning("what this plugin prints does not reach its host: %s", error)
                return
            self._undo = undo.pop_all()
        asyncio.get_running_loop().add_reader(self._pump.fileno(), self._look)
        if threading.excepthook is threading.__excepthook__:
            threading.excepthook = self._log_exception_of_thread
            self._undo.callback(setattr, threading, "excepthook", threading.__excepthook__)

    async def StreamStdio(self, stream: Stream[empty_pb2.Empty, grpc_stdio_pb2.StdioData]) -> None:
        """Sends what is printed until the plugin ends. A second host waits for the first to go."""
        await stream.recv_message()
        is_go = (stream.user_agent or "").startswith("grpc-go/")
        chunk = _GO_CHUNK_BYTES if is_go else _CHUNK_BYTES
        self._streams += 1
        try:
            async with self._turn:
                await self._send(stream, chunk)
        finally:
            self._streams -= 1
            self._has_sent.set()

    async def flush(self) -> None:
        """Lets a host that reads the stream take what was printed before, as long as it does."""
        if self._pump is not None:
            _flush_streams()
            await self._drain(self._pump)

    async def close(self) -> None:
        """Gives descriptors 1 and 2 back, and ends the stream when all of it was sent."""
        if self._pump is not None:
            _flush_streams()
            self._undo.close()
            await self._drain(self._pump)
            asyncio.get_running_loop().remove_reader(self._pump.fileno())
            self._pump.close()
            self._pump = None
        self._is_over = True
        self._has_news.set()

    async def _send(self, stream: Stream[Any, Any], chunk: int) -> None:
        while not self._is_over:
            self._has_news.clear()
            messages = self._pump.take(_MOST_BYTES, chunk) if self._pump else b""
            if messages:
                self._is_sending = True
                try:
                    await send_encoded(stream, messages)
                finally:
                    self._is_sending = False
            self._has_sent.set()
            if not messages:
                await self._has_news.wait()

    async def _drain(self, pump: OutputPump) -> None:
        pump.flush()
        with contextlib.suppress(TimeoutError):
            while self._streams and (self._is_sending or not pump.is_flushed()):
                self._has_sent.clear()
                async with timeout(_FLUSH_TIMEOUT):
                    await self._has_sent.wait()

    def _look(self) -> None:
        assert self._pump is not None
        self._pump.look()
        if lost := self._pump.lost():
            self._logger.error(
                "%d bytes of what this plugin printed are lost: its host does not read them", lost
            )
        self._has_news.set()

    def _log_exception_of_thread(self, arguments: threading.ExceptHookArgs) -> None:
        error = arguments.exc_value
        if error is not None and not isinstance(error, SystemExit):
            name = arguments.thread.name if arguments.thread else "a thread"
            self._logger.error("%s ended with an exception", name, exc_info=error)


def _redirect(undo: contextlib.ExitStack) -> OutputPump:
    with contextlib.ExitStack() as ends:
        pipes = [os.pipe(), os.pipe()]
        for end in itertools.chain(*pipes):
            ends.callback(os.close, end)
        real = []
        for descriptor in (1, 2):
            real.append(os.dup(descriptor))
            undo.callback(os.close, real[-1])
        pump = OutputPump(*(read_end for read_end, _ in pipes))
        for descriptor, saved, (_, write_end) in zip((1, 2), real, pipes, strict=True):
            undo.callback(os.dup2, saved, descriptor)
            os.dup2(write_end, descriptor)
    _keep_stderr(real[1], undo)
    for stream in (sys.stdout, sys.stderr):
        # Line by line, as to a terminal: the host is to see it when it is printed.
        if isinstance(stream, io.TextIOWrapper) and not stream.line_buffering:
            stream.reconfigure(line_buffering=True)
            undo.callback(stream.reconfigure, line_buffering=False)
    return pump


def _keep_stderr(descriptor: int, undo: contextlib.ExitStack) -> None:
    """Has what is meant for the log write to the real stderr as before."""
    real = os.fdopen(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        for handler in logger.handlers if isinstance(logger, logging.Logger) else ():
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stderr:
                undo.callback(handler.setStream, handler.stream)
                handler.setStream(real)
    if sys.flags.dev_mode or "faulthandler" in sys._xoptions or "PYTHONFAULTHANDLER" in os.environ:
        import faulthandler

        faulthandler.enable(real)
        undo.callback(faulthandler.enable)


def _flush_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        # A program may have closed them, or put anything in their place.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
