"""A channel: the connection that calls are made on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import grpclib.client
import grpclib.protocol
from grpclib.const import Status
from grpclib.encoding.base import GRPC_CONTENT_TYPE
from grpclib.exceptions import GRPCError
from grpclib.metadata import USER_AGENT

from ...constants import NETWORK_UNIX
from ...errors import BrokerError, MuxError
from ..transport import Address
from .call import Call, ClientEventsProcessor, ClientStream, terminate
from .connection import (
    CONFIGURATION,
    TLS_HANDSHAKE_TIMEOUT,
    EventsProcessor,
    Protocol,
    Stream,
    wait_lost,
)

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable, Coroutine

    from grpclib.config import Configuration

    from ..mux import MuxStream
    from ..tasks import TaskScope

    Open = Callable[[], Coroutine[Any, Any, MuxStream]]
    ErrorFactory = Callable[[], GRPCError]
    Explain = Callable[[str], Coroutine[Any, Any, ErrorFactory]]


class _ClientProtocol(Protocol):
    processor_class: type[EventsProcessor] = ClientEventsProcessor
    stream_class: type[Stream] = ClientStream

    def __init__(self, channel: PluginChannel, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._channel = channel

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        processor = cast("ClientEventsProcessor", self.processor)
        processor.fail = self._channel.fail_calls
        self.connection.on_close = partial(
            processor.close, "the peer did not answer a keepalive ping"
        )
        self._channel.live = self


class PluginChannel(grpclib.client.Channel):
    """A grpclib channel with this module's behaviour.

    Args:
        target: The address to connect to, or what opens a stream of a multiplexed connection.
        tls: Secures the connection; None leaves it in the clear.
        tasks: Owns what finds out why a connection is gone.
        configuration: What ``configured`` gave.

    Attributes:
        explain: Finds out, given a short reason, why the connection is gone; returns what makes the
            error for each call. None until the owner can tell: then the reason is the error's text.
        live: The newest connection, lost or not.
        owner: What it belongs to, for the error of a call after ``close()``.
    """

    owner = "the channel"

    def __init__(
        self,
        target: Address | Open,
        *,
        tls: ssl.SSLContext | None,
        tasks: TaskScope,
        configuration: Configuration = CONFIGURATION,
    ) -> None:
        self._open = None if isinstance(target, Address) else target
        if not isinstance(target, Address):
            super().__init__(ssl=tls, config=configuration)
        elif target.network == NETWORK_UNIX:
            super().__init__(path=target.address, ssl=tls, config=configuration)
        else:
            host, port = target.host_and_port()
            super().__init__(host, port, ssl=tls, config=configuration)
        self.explain: Explain | None = None
        self._tasks = tasks
        self._is_closed = False
        self._headers: dict[str, list[tuple[str, str]]] = {}
        self.live: _ClientProtocol | None = None
        # More than one while calls of an older connection come to their end.
        self._connections: set[Protocol] = set()

    def request(self, *arguments: Any, **options: Any) -> grpclib.client.Stream[Any, Any]:
        """A call, of which stubs are made."""
        call = super().request(*arguments, **options)
        call.__class__ = Call
        return call

    @property
    def live_protocol(self) -> Protocol | None:
        """The connection that takes calls; None while there is none."""
        return cast("Protocol", self._protocol) if self._connected else None

    def headers_of(self, path: str) -> list[tuple[str, str]]:
        """What each request to the method at ``path`` begins with (gRPC over HTTP/2)."""
        if path not in self._headers:
            self._headers[path] = [
                (":method", "POST"),
                (":scheme", self._scheme),
                (":path", path),
                (":authority", self._authority),
                ("te", "trailers"),
                ("content-type", GRPC_CONTENT_TYPE),
                ("user-agent", USER_AGENT),
            ]
        return self._headers[path]

    async def connect(self) -> None:
        """Connects, TLS included, unless it is connected.

        Raises:
            GRPCError: ``UNAVAILABLE``; its ``__cause__`` is the ``OSError`` or ``ssl.SSLError``.
        """
        await self.__connect__()

    def loss(self) -> BaseException | None:
        """What broke the newest connection, where that is known."""
        if self.live is None or not self.live.lost.done():
            return None
        return self.live.lost.result()

    def close(self) -> None:
        """Closes the connection for good; calls in flight end with ``UNAVAILABLE``."""
        self._is_closed = True
        super().close()
        for protocol in list(self._connections):
            protocol.processor.close()

    async def wait_closed(self) -> None:
        """Waits until the connection has been closed, after ``close()``; at most a second."""
        await wait_lost(list(self._connections))

    def fail_calls(self, streams: list[grpclib.protocol.Stream], reason: str) -> None:
        """Ends the calls on ``streams``, whose connection is gone."""
        if not streams:
            return
        if self.explain is None or self._is_closed:
            error = self._unavailable(reason)
            for stream in streams:
                terminate(stream, error())
            return
        unexplained = self._unavailable(reason)

        def explained(task: asyncio.Task[ErrorFactory]) -> None:
            is_explained = not task.cancelled() and task.exception() is None
            error = task.result() if is_explained else unexplained
            for stream in streams:
                terminate(stream, error())

        # In a callback, since a task that is cancelled before it began runs no code of its own.
        task = self._tasks.spawn(self.explain(reason), "explain a lost connection")
        task.add_done_callback(explained)

    def _protocol_factory(self) -> _ClientProtocol:
        return _ClientProtocol(
            self, self._connections, grpclib.client.Handler(), self._config, self._h2_config
        )

    async def _create_connection(self) -> grpclib.protocol.H2Protocol:
        if self._is_closed:
            raise self._unavailable("")()
        try:
            if self._open is None:
                protocol = await super()._create_connection()
            else:
                protocol = await self._connect_stream(await self._open())
        except (OSError, ValueError, BrokerError, MuxError) as error:
            # ValueError: a host name that cannot be looked up.
            reason = f"cannot connect: {error}"
            if self.explain is None:
                raise self._unavailable(reason)() from error
            raise (await self.explain(reason))() from error
        if self._is_closed:
            protocol.processor.close()
            raise self._unavailable("")()
        return protocol

    async def _connect_stream(self, stream: MuxStream) -> grpclib.protocol.H2Protocol:
        protocol = self._protocol_factory()
        if self._ssl is None:
            stream.start(protocol)
            return protocol
        from ..tls import TLSTransport

        try:
            secured = TLSTransport(
                protocol,
                self._ssl,
                server_hostname=self._config.ssl_target_name_override,
                handshake_timeout=TLS_HANDSHAKE_TIMEOUT,
            )
            stream.start(secured)
            await secured.ready
        except BaseException:
            stream.abort()
            raise
        return protocol

    def _unavailable(self, reason: str) -> ErrorFactory:
        if self._is_closed:
            reason = f"{self.owner} was closed: make a new one"
        return lambda: GRPCError(Status.UNAVAILABLE, reason)
