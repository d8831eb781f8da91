"""A server: the calls that others make."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpclib.server
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from ..._compat import timeout
from ...constants import NETWORK_UNIX
from .answer import ServerEventsProcessor, ServerHandler, ServerStream, reporting
from .connection import (
    CLOSE_TIMEOUT,
    CONFIGURATION,
    TLS_HANDSHAKE_TIMEOUT,
    EventsProcessor,
    Protocol,
    Stream,
    wait_lost,
)

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Callable, Collection

    from grpclib.config import Configuration

    from ..mux import MuxStream
    from ..tls import TLSTransport
    from ..transport import Listener


class _ServerProtocol(Protocol):
    processor_class: type[EventsProcessor] = ServerEventsProcessor
    stream_class: type[Stream] = ServerStream

    def __init__(self, server: PluginServer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._server.is_closed:
            # It was accepted before, and its TLS handshake took until now.
            self.processor.close("the server was closed")


class _NoListener:
    """What stands for asyncio's server where streams are the connections."""

    def close(self) -> None:
        """There is nothing to close."""

    async def wait_closed(self) -> None:
        """There is nothing to wait for."""


class _Methods(dict[str, Handler]):
    """The methods of a server by path, with an answer for those it does not have.

    grpclib's own lacks a content type, so that clients take it for no answer of gRPC at all.
    """

    def get(self, path: str, default: Any = None) -> Any:
        return super().get(path) or Handler(
            partial(self._refuse, path), Cardinality.STREAM_STREAM, object, object
        )

    async def _refuse(self, path: str, _: grpclib.server.Stream[Any, Any]) -> None:
        raise GRPCError(
            Status.UNIMPLEMENTED, f"unknown method {path}: none of the servicers here has it"
        )


class PluginServer(grpclib.server.Server):
    """A grpclib server with this module's behaviour.

    Args:
        handlers: The servicers. Their methods are coroutine functions, as grpclib's, or run in
            threads, see ``in_thread``.
        logger: Where exceptions of handlers are logged.
        configuration: What ``configured`` gave.

    Attributes:
        is_closed: Whether ``close()`` was called.
    """

    is_closed: bool = False

    def __init__(
        self,
        handlers: Collection[Any],
        *,
        logger: logging.Logger,
        configuration: Configuration = CONFIGURATION,
    ) -> None:
        super().__init__(handlers, config=configuration)
        self._mapping = _Methods(
            (path, reporting(path, handler, logger)) for path, handler in self._mapping.items()
        )
        self._logger = logger
        self._connections: set[Protocol] = set()
        self._securing: set[TLSTransport] = set()
        self._on_close: Callable[[], object] = lambda: None

    async def serve_on(self, listener: Listener, *, tls: ssl.SSLContext | None) -> None:
        """Serves on ``listener``, which it closes at ``close()``."""
        if listener.address.network == NETWORK_UNIX:
            create: Any = self._loop.create_unix_server
        else:
            create = self._loop.create_server
        self._server = await create(
            self._protocol_factory,
            sock=listener.sock,
            ssl=tls,
            ssl_handshake_timeout=TLS_HANDSHAKE_TIMEOUT if tls else None,
        )
        self._server_closed_fut = self._loop.create_future()
        self._on_close = listener.close

    def serve_streams(self, *, tls: ssl.SSLContext | None, on_close: Callable[[], object]) -> None:
        """Serves what is handed to ``accept()``; calls ``on_close`` at ``close()``."""
        self._server = cast("asyncio.AbstractServer", _NoListener())
        self._server_closed_fut = self._loop.create_future()
        self._tls = tls
        self._on_close = on_close

    def accept(self, stream: MuxStream) -> None:
        """Serves one more connection, a stream."""
        if self.is_closed:
            stream.abort()
            return
        protocol = self._protocol_factory()
        if self._tls is None:
            stream.start(protocol)
            return
        from ..tls import TLSTransport

        secured = TLSTransport(
            protocol, self._tls, server_hostname=None, handshake_timeout=TLS_HANDSHAKE_TIMEOUT
        )
        self._securing.add(secured)
        secured.ready.add_done_callback(lambda _: self._securing.discard(secured))
        stream.start(secured)

    def close(self) -> None:
        """Stops listening, removes the socket's file and cancels the handlers."""
        self.is_closed = True
        super().close()
        self._on_close()
        for secured in list(self._securing):
            secured.abort()

    async def wait_closed(self) -> None:
        """Waits, after ``close()``, for handlers to end and connections to close.

        Handlers that do not end within a second of their cancellation are left behind, connections
        that do not are cut.
        """
        if self._server is None or self._server_closed_fut is None:
            raise RuntimeError("Server is not started")
        await self._server_closed_fut
        cancelled = {task for handler in self._handlers for task in handler._cancelled}
        if cancelled:
            _, stuck = await asyncio.wait(cancelled, timeout=CLOSE_TIMEOUT)
            for task in stuck:
                self._logger.warning("a handler ignores its cancellation: %r", task.get_coro())
        connections = list(self._connections)
        for protocol in connections:
            protocol.processor.close("the server was closed")
        await wait_lost(connections)
        # From 3.12 on this waits for clients too, and there may be some that never began TLS.
        if hasattr(self._server, "abort_clients"):
            self._server.abort_clients()
        with contextlib.suppress(TimeoutError):
            async with timeout(CLOSE_TIMEOUT):
                await self._server.wait_closed()

    def _protocol_factory(self) -> _ServerProtocol:
        handler = ServerHandler(
            self._mapping, self._codec, self._status_details_codec, self.__dispatch__
        )
        self.__gc_step__()
        self._handlers.add(handler)
        return _ServerProtocol(self, self._connections, handler, self._config, self._h2_config)
