"""The broker: further gRPC connections between host and plugin, in both directions.

Ids travel in messages of the application; what makes a connection of one is said on a stream that
both sides keep open (go-plugin ``grpc_broker.go``). There are two ways of that, see ``ways``.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from ._compat import timeout as time_limit
from ._generated import grpc_broker_grpc
from .constants import BROKER_TIMEOUT
from .errors import BrokerError, BrokerTimeout
from .net.grpc.connection import CALL_ERRORS, configured
from .net.grpc.server import PluginServer
from .net.tasks import TaskScope
from .ways import Knocks, ListenerAnId, Means, fail_future

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Collection

    from grpclib.config import Configuration
    from grpclib.server import Stream

    from ._generated.grpc_broker_pb2 import ConnInfo
    from .net.grpc.channel import Explain, PluginChannel
    from .net.mux import MuxConnection
    from .net.tls import TLS
    from .net.transport import AddressTranslator, Listener
    from .ways import Way

__all__ = ["GRPCBroker"]


class ConnInfoStream(Protocol):
    """What the broker needs of its stream: grpclib's, of either side."""

    async def send_message(self, message: ConnInfo, /) -> None:
        """Sends one message."""

    async def recv_message(self) -> ConnInfo | None:
        """The next message of the peer, None at the end."""


class GRPCBroker:
    """Opens and accepts sub-channels. ``Plugin`` methods and ``Client.broker`` hand it out.

    Args:
        open_listener: Makes the listener of one accepted id.
        identity: TLS of the main connection, which secures the sub-channels too; None without TLS.
        mux: The one connection that carries everything; None without multiplexing.
        logger: Where exceptions of handlers are logged.
        explain: Finds out why a connection is gone, as in ``PluginChannel``.
        translator: Of addresses between this side and the peer, where they differ.
        peer: What errors call the other side.
        configuration: Of its connections, as ``net.grpc.connection.configured`` gives it.
    """

    def __init__(
        self,
        *,
        open_listener: Callable[[], Listener],
        identity: TLS | None,
        logger: logging.Logger,
        explain: Explain | None = None,
        mux: MuxConnection | None = None,
        translator: AddressTranslator | None = None,
        peer: str = "the peer",
        configuration: Configuration | None = None,
    ) -> None:
        self._logger = logger
        self._peer = peer
        self._ids = itertools.count(1)
        self._tasks = TaskScope("broker", logger)
        self._means = means = Means(
            send=self._send,
            identity=identity,
            tasks=self._tasks,
            explain=explain,
            logger=logger,
            configuration=configuration or configured(None),
            translator=translator,
            peer=peer,
        )
        self._way: Way = Knocks(means, mux) if mux else ListenerAnId(means, open_listener)
        # Resolves to the stream to the peer; a newer stream replaces an older one.
        self._stream: asyncio.Future[ConnInfoStream] | None = None
        self._sending = asyncio.Lock()
        # The loop alone does not keep a server alive.
        self._servers: set[PluginServer] = set()
        self._channels: weakref.WeakSet[PluginChannel] = weakref.WeakSet()
        self._closed: str | None = None

    def next_id(self) -> int:
        """A service id that this side has not used yet; the first is 1."""
        return next(self._ids)

    async def accept_and_serve(self, service_id: int, servicers: Collection[Any]) -> PluginServer:
        """Serves ``servicers`` under ``service_id`` and announces it to the peer.

        Args:
            service_id: From ``next_id()``. The application tells the peer.
            servicers: grpclib servicers.

        Returns:
            The running server, a grpclib ``Server``: ``close()``, then
            ``await wait_closed()``, end it.

        Raises:
            BrokerTimeout: The peer has not opened the broker's stream within 5 s.
            BrokerError: The broker is closed, or the announcement could not be sent.
            OSError: No listener could be made.
            TLSError: ``tls_config`` or ``tls_provider`` has no context to accept with.

        Cancellation is safe: nothing stays open.
        """
        self._check_open()
        _ = self._means.server_tls
        server = PluginServer(
            servicers, logger=self._logger, configuration=self._means.configuration
        )
        self._servers = {server, *(other for other in self._servers if not other.is_closed)}
        try:
            await self._way.serve(service_id, server)
            self._check_open()
        except BaseException:
            server.close()
            raise
        return server

    async def dial(self, service_id: int, *, timeout: float = BROKER_TIMEOUT) -> PluginChannel:
        """Connects to what the peer serves under ``service_id``.

        Args:
            service_id: An id that the peer has announced or is about to.
            timeout: Seconds to wait for the announcement.

        Returns:
            A grpclib ``Channel``, connected at its first call. Close it when done.

        Raises:
            BrokerTimeout: The announcement did not come in time; also a ``TimeoutError``.
            BrokerError: The broker is closed, the peer is gone, or it announced no usable address.
            TLSError: ``tls_config`` or ``tls_provider`` has no context to dial with.

        Cancellation is safe: the announcement can be dialled again.
        """
        self._check_open()
        channel = await self._way.dial(service_id, timeout)
        self._channels.add(channel)
        return channel

    async def close(self) -> None:
        """Ends every server and channel of this broker and wakes whoever waits. Idempotent."""
        self.fail(f"the broker of {self._peer} was closed: it ends with its Client or its plugin")
        servers, channels = list(self._servers), list(self._channels)
        for server in servers:
            server.close()
        for channel in channels:
            channel.close()
        await asyncio.gather(
            *(server.wait_closed() for server in servers),
            *(channel.wait_closed() for channel in channels),
        )
        await self._tasks.aclose()

    async def run(self, stream: ConnInfoStream) -> None:
        """Carries messages over ``stream`` until the peer ends it."""
        connected = self._connected()
        if connected.done():
            connected = self._stream = asyncio.get_running_loop().create_future()
        connected.set_result(stream)
        try:
            while (info := await stream.recv_message()) is not None:
                self._way.receive(info)
        finally:
            if self._stream is connected:
                self._stream = None

    def lose_peer(self) -> None:
        """Wakes whoever waits for a peer that is gone, unless another has come in its place."""
        if self._stream is None or not self._stream.done():
            self._way.fail(BrokerError(f"{self._peer} ended the broker's stream"))

    def fail(self, reason: str) -> None:
        """Refuses all further work, and wakes whoever waits with a ``BrokerError``."""
        if self._closed is None:
            self._closed = reason
        error = BrokerError(reason)
        self._way.fail(error)
        fail_future(self._connected(), error)

    async def _send(self, info: ConnInfo) -> None:
        try:
            async with time_limit(BROKER_TIMEOUT):
                stream = await asyncio.shield(self._connected())
        except TimeoutError as error:
            raise BrokerTimeout(
                f"{self._peer} did not open the broker's stream within {BROKER_TIMEOUT:g} s: it "
                "must have a broker, as those of go-plugin and pyplugin do"
            ) from error
        try:
            async with self._sending:
                await stream.send_message(info)
        except CALL_ERRORS as error:
            raise BrokerError(
                f"{self._peer} cannot be told of broker id {info.service_id}: {error}"
            ) from error

    def _connected(self) -> asyncio.Future[ConnInfoStream]:
        if self._stream is None:
            self._stream = asyncio.get_running_loop().create_future()
        return self._stream

    def _check_open(self) -> None:
        if self._closed is not None:
            raise BrokerError(self._closed)


class GRPCBrokerServicer(grpc_broker_grpc.GRPCBrokerBase):
    """The plugin's end of the broker's stream."""

    def __init__(self, broker: GRPCBroker) -> None:
        self._broker = broker

    async def StartStream(self, stream: Stream[ConnInfo, ConnInfo]) -> None:
        """Runs until the host ends the stream; another host may open one of its own."""
        try:
            await self._broker.run(stream)
        finally:
            self._broker.lose_peer()
