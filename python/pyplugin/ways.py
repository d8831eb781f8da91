"""The two ways in which the connection of a broker's id comes about (go-plugin ``grpc_broker.go``).

Without multiplexing whoever serves an id opens a listener of its own and announces the address as
``ConnInfo``; whoever dials the id waits for that. With it all goes over one connection: whoever
dials an id knocks, waits for the answer, and opens a stream, which is the id's as it is the next.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from grpclib.exceptions import GRPCError

from ._compat import timeout as time_limit
from ._generated.grpc_broker_pb2 import ConnInfo
from .constants import BROKER_TIMEOUT
from .errors import BrokerError, BrokerTimeout
from .net.grpc.channel import PluginChannel
from .net.transport import Address

if TYPE_CHECKING:
    import logging
    import ssl
    from collections.abc import Callable, Coroutine

    from grpclib.config import Configuration

    from .net.grpc.channel import Explain, Open
    from .net.grpc.server import PluginServer
    from .net.mux import MuxConnection, MuxStream
    from .net.tasks import TaskScope
    from .net.tls import TLS
    from .net.transport import AddressTranslator, Listener

# How many announcements, or knocks, may wait for this side: a peer could send them without end.
_MAX_WAITING = 10_000
# What is kept of an address or a refusal of the peer's, in characters.
_MAX_TEXT = 4096
# Seconds that a knock waits for its id to be accepted. Go's dialler waits BROKER_TIMEOUT: it is to
# have the refusal before, or would take it for the answer to its next knock.
_KNOCK_PATIENCE = BROKER_TIMEOUT - 0.5


class Way(Protocol):
    """How the connections of a broker come about."""

    async def serve(self, service_id: int, server: PluginServer) -> None:
        """Has ``server`` take what the peer dials under ``service_id``; it closes the rest itself.

        Raises:
            BrokerError: The peer cannot be told.
            OSError: The system refuses.
        """

    async def dial(self, service_id: int, seconds: float) -> PluginChannel:
        """A channel to what the peer serves.

        Raises:
            BrokerError: It cannot be reached; ``BrokerTimeout`` if not within ``seconds``.
        """

    def receive(self, info: ConnInfo) -> None:
        """Takes what the peer says on the broker's stream."""

    def fail(self, error: BrokerError) -> None:
        """Ends every ``dial`` that waits with ``error``; the peer has nothing more to say."""


@dataclass
class Means:
    """What a way needs of its broker.

    Attributes:
        send: Sends on the broker's stream; raises ``BrokerError``.
        identity: TLS of the main connection; None without TLS.
        tasks: The broker's.
        explain: Finds out why a connection is gone.
        logger: Where mishaps are logged.
        configuration: Of its connections.
        translator: Of addresses between the two sides, where they differ.
        peer: What errors call the other side.
    """

    send: Callable[[ConnInfo], Coroutine[Any, Any, None]]
    identity: TLS | None
    tasks: TaskScope
    explain: Explain | None
    logger: logging.Logger
    configuration: Configuration
    translator: AddressTranslator | None = None
    peer: str = "the peer"

    @property
    def server_tls(self) -> ssl.SSLContext | None:
        """What secures an accepted connection."""
        return self.identity.server_context if self.identity else None

    def channel(self, target: Address | Open) -> PluginChannel:
        """A channel that is secured as the main one is."""
        tls = self.identity.client_context if self.identity else None
        channel = PluginChannel(target, tls=tls, tasks=self.tasks, configuration=self.configuration)
        channel.explain = self.explain
        channel.owner = f"the channel to {self.peer}"
        return channel


class ListenerAnId:
    """The way without multiplexing: each id has a listener, whose address is announced."""

    def __init__(self, means: Means, open_listener: Callable[[], Listener]) -> None:
        self._means = means
        self._open_listener = open_listener
        # What the peer announced and nobody has dialled, or the other way round.
        self._announced: dict[int, asyncio.Future[ConnInfo]] = {}
        self._diallers: Counter[asyncio.Future[ConnInfo]] = Counter()
        self._expiries: dict[asyncio.Future[ConnInfo], asyncio.TimerHandle] = {}

    async def serve(self, service_id: int, server: PluginServer) -> None:
        listener = self._open_listener()
        try:
            await server.serve_on(listener, tls=self._means.server_tls)
        except BaseException:
            listener.close()
            raise
        network, address = listener.address.network, listener.address.address
        if (translator := self._means.translator) is not None:
            how = translator.host_to_plugin
            network, address = self._translated(how, "host_to_plugin", network, address)
        await self._means.send(ConnInfo(service_id=service_id, network=network, address=address))

    async def dial(self, service_id: int, seconds: float) -> PluginChannel:
        info = await self._await_announcement(service_id, seconds)
        network, address_text = info.network, info.address
        if (translator := self._means.translator) is not None:
            how = translator.plugin_to_host
            network, address_text = self._translated(how, "plugin_to_host", network, address_text)
        address = Address(network, address_text)
        try:
            address.check()
        except ValueError as error:
            raise BrokerError(
                f"{self._means.peer} announced broker id {service_id} at an unusable address: "
                f"{error}"
            ) from error
        return self._means.channel(address)

    def receive(self, info: ConnInfo) -> None:
        if len(self._announced) >= _MAX_WAITING:
            self._means.logger.debug("dropped broker id %d: too many are waiting", info.service_id)
            return
        announced = self._announcement(info.service_id)
        if not announced.done():
            network, address = info.network[:_MAX_TEXT], info.address[:_MAX_TEXT]
            announced.set_result(
                ConnInfo(service_id=info.service_id, network=network, address=address)
            )
            self._expiries[announced] = asyncio.get_running_loop().call_later(
                BROKER_TIMEOUT, self._forget, info.service_id, announced
            )

    def fail(self, error: BrokerError) -> None:
        for expiry in self._expiries.values():
            expiry.cancel()
        self._expiries.clear()
        for announced in self._announced.values():
            fail_future(announced, error)
        self._announced.clear()

    async def _await_announcement(self, service_id: int, seconds: float) -> ConnInfo:
        announced = self._announcement(service_id)
        self._diallers[announced] += 1
        try:
            async with time_limit(seconds):
                info = await asyncio.shield(announced)
            self._forget(service_id, announced)
        except TimeoutError as error:
            raise BrokerTimeout(
                f"{self._means.peer} did not announce broker id {service_id} within {seconds:g} s: "
                "it must accept the id that it, or this side, sent in a message"
            ) from error
        finally:
            self._diallers[announced] -= 1
            if not self._diallers[announced]:
                del self._diallers[announced]
                if not announced.done():
                    self._forget(service_id, announced)
        return info

    def _announcement(self, service_id: int) -> asyncio.Future[ConnInfo]:
        if service_id not in self._announced:
            self._announced[service_id] = asyncio.get_running_loop().create_future()
        return self._announced[service_id]

    def _forget(self, service_id: int, announced: asyncio.Future[ConnInfo]) -> None:
        if self._announced.get(service_id) is announced:
            del self._announced[service_id]
        if expiry := self._expiries.pop(announced, None):
            expiry.cancel()

    def _translated(
        self, how: Callable[[str, str], tuple[str, str]], name: str, network: str, address: str
    ) -> tuple[str, str]:
        try:
            translated_network, translated_address = how(network, address)
        except Exception as error:
            raise BrokerError(
                f"{self._means.peer}: {name} of the runner raised for {address!r}: {error!r}"
            ) from error
        return translated_network, translated_address


class Knocks:
    """The way with multiplexing: each id is a stream of the one connection."""

    def __init__(self, means: Means, connection: MuxConnection) -> None:
        self._means = means
        self._connection = connection
        # A stream that nobody knocked for is the main connection's, in the plugin.
        self._take_main = connection.on_stream
        connection.on_stream = self._take
        self._servers: dict[int, PluginServer] = {}
        # Answers that the peer has not taken yet.
        self._unsent = 0
        # Knocks that came before their id was accepted.
        self._early: dict[int, asyncio.TimerHandle] = {}
        # Whose the next stream is. A knock whose stream never came counts no more.
        self._expected: int | None = None
        # One knock at a time, from the knock to the stream: the peer tells them apart by that only.
        self._knocking = asyncio.Lock()
        self._answers: dict[int, asyncio.Future[ConnInfo]] = {}
        # Why there is nobody to knock at any more: a peer has one connection in its life.
        self._failure: BrokerError | None = None

    async def serve(self, service_id: int, server: PluginServer) -> None:
        server.serve_streams(
            tls=self._means.server_tls, on_close=partial(self._close, service_id, server)
        )
        self._servers[service_id] = server
        if early := self._early.pop(service_id, None):
            early.cancel()
            self._let_in(service_id)

    async def dial(self, service_id: int, seconds: float) -> PluginChannel:
        channel = self._means.channel(partial(self._open, service_id, seconds))
        try:
            await channel.connect()
        except GRPCError as error:
            cause = error.__cause__
            if isinstance(cause, BrokerError):
                raise cause from error
            raise BrokerError(
                f"broker id {service_id} cannot be connected to: {error.message}"
            ) from error
        except BaseException:
            channel.close()
            raise
        return channel

    def receive(self, info: ConnInfo) -> None:
        if not info.knock.knock:
            self._means.logger.debug(
                "ignored the address of broker id %d: all connections are streams", info.service_id
            )
        elif info.knock.ack:
            answer = self._answers.pop(info.service_id, None)
            if answer is not None and not answer.done():
                answer.set_result(info)
        elif info.service_id in self._servers:
            self._let_in(info.service_id)
        elif len(self._early) >= _MAX_WAITING:
            self._refuse(info.service_id)
        elif info.service_id not in self._early:
            self._early[info.service_id] = asyncio.get_running_loop().call_later(
                _KNOCK_PATIENCE, self._refuse, info.service_id
            )

    def fail(self, error: BrokerError) -> None:
        self._failure = self._failure or error
        for early in self._early.values():
            early.cancel()
        self._early.clear()
        for answer in self._answers.values():
            fail_future(answer, error)
        self._answers.clear()

    async def _open(self, service_id: int, seconds: float) -> MuxStream:
        """Knocks, and opens the stream that the peer then takes for this id."""
        opened: asyncio.Future[MuxStream] = asyncio.get_running_loop().create_future()
        exchange = self._means.tasks.spawn(
            self._exchange(service_id, opened), f"knock {service_id}"
        )
        # It may be cancelled before it comes to its turn.
        exchange.add_done_callback(
            lambda _: fail_future(opened, self._failure or BrokerError("the broker was closed"))
        )
        try:
            async with time_limit(seconds):
                return await asyncio.shield(opened)
        except BaseException as error:
            # The peer may have let this knock in, or do so later, and wait for its stream.
            opened.add_done_callback(_use_up)
            if not isinstance(error, TimeoutError) or isinstance(error, BrokerTimeout):
                raise
            raise BrokerTimeout(
                f"{self._means.peer} did not answer the knock for broker id {service_id} within "
                f"{seconds:g} s: it must accept the id that it, or this side, sent in a message"
            ) from error

    async def _exchange(self, service_id: int, opened: asyncio.Future[MuxStream]) -> None:
        """Not to be cancelled by a dialler: the next knock is to come after the answer to this."""
        async with self._knocking:
            try:
                stream = await self._knock(service_id)
            except Exception as error:
                fail_future(opened, error)
                return
            opened.set_result(stream)
            # In a Go host each id waits for the next stream in a thread of its own: it must have
            # taken this one before another is let in, or the two may be mistaken.
            await asyncio.wait({stream.acknowledged}, timeout=BROKER_TIMEOUT)

    async def _knock(self, service_id: int) -> MuxStream:
        if self._failure is not None:
            raise self._failure
        answer = self._answers[service_id] = asyncio.get_running_loop().create_future()
        try:
            async with time_limit(BROKER_TIMEOUT):
                await self._means.send(knock(service_id))
                info = await answer
        except TimeoutError as error:
            raise BrokerTimeout(
                f"{self._means.peer} did not answer the knock for broker id {service_id}"
            ) from error
        finally:
            if self._answers.get(service_id) is answer:
                del self._answers[service_id]
        if info.knock.error:
            reason = info.knock.error[:_MAX_TEXT]
            raise BrokerError(
                f"{self._means.peer} refused broker id {service_id}: {reason}; it must accept the "
                "id first"
            )
        return self._connection.open_stream()

    def _take(self, stream: MuxStream) -> None:
        service_id, self._expected = self._expected, None
        if service_id is None:
            self._take_main(stream)
        elif server := self._servers.get(service_id):
            server.accept(stream)
        else:
            stream.abort()

    def _let_in(self, service_id: int) -> None:
        self._expected = service_id
        self._answer(service_id, "")

    def _refuse(self, service_id: int) -> None:
        self._early.pop(service_id, None)
        self._answer(service_id, f"nobody accepts broker id {service_id}")

    def _answer(self, service_id: int, refusal: str) -> None:
        if self._unsent >= _MAX_WAITING:
            self._means.logger.debug("a knock for broker id %d: too many to answer", service_id)
            return
        self._unsent += 1
        self._means.tasks.spawn(self._send_answer(service_id, refusal), f"answer {service_id}")

    async def _send_answer(self, service_id: int, refusal: str) -> None:
        try:
            await self._means.send(knock(service_id, ack=True, error=refusal))
        except BrokerError as error:
            self._means.logger.debug("a knock for broker id %d: %s", service_id, error)
        finally:
            self._unsent -= 1

    def _close(self, service_id: int, server: PluginServer) -> None:
        if self._servers.get(service_id) is server:
            del self._servers[service_id]


def _use_up(opened: asyncio.Future[MuxStream]) -> None:
    if not opened.cancelled() and opened.exception() is None:
        # Not aborted: the peer would never hear of a stream that is gone before it was sent.
        opened.result().close()


def knock(service_id: int, *, ack: bool = False, error: str = "") -> ConnInfo:
    """A knock for an id, or the answer to one."""
    return ConnInfo(service_id=service_id, knock=ConnInfo.Knock(knock=True, ack=ack, error=error))


def fail_future(future: asyncio.Future[Any], error: Exception) -> None:
    """Ends ``future`` with ``error``, whether or not anybody waits for it."""
    if not future.done():
        future.set_exception(error)
        # Marked as seen.
        future.exception()
