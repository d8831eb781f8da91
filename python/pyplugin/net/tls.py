"""TLS over any transport, by the ``ssl`` module alone: it goes inside the streams of a session.

``loop.start_tls`` takes only the transports of its own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import TLSError

if TYPE_CHECKING:
    from collections.abc import Callable

# What is decrypted at once.
_READ_BYTES = 256 * 1024


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """One end of TLS: the protocol of the transport below, the transport of the protocol above.

    The protocol above is connected once the handshake is complete.

    Args:
        protocol: The protocol above.
        context: Whose certificate and whom it trusts.
        server_hostname: The name that the server's certificate must have; None is the server.
        handshake_timeout: Seconds for the handshake.
    """

    def __init__(
        self,
        protocol: asyncio.Protocol,
        context: ssl.SSLContext,
        *,
        server_hostname: str | None,
        handshake_timeout: float,
    ) -> None:
        super().__init__()
        self._protocol = protocol
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._handshake_timeout = handshake_timeout
        self._loop = asyncio.get_running_loop()
        self._below: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_paused = False
        self._is_closing = False
        self._error: BaseException | None = None
        #: Ends with the handshake, or with what broke it.
        self.ready: asyncio.Future[None] = self._loop.create_future()

    # The protocol of the transport below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are none of asyncio's classes.
        self._below = cast("asyncio.Transport", transport)
        self._timer = self._loop.call_later(self._handshake_timeout, self._give_up)
        self._handshake()

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        if not self.ready.done():
            self._handshake()
        if self._is_connected and not self._is_paused:
            self._read()

    def eof_received(self) -> bool:
        self._incoming.write_eof()
        if not self.ready.done():
            self._fail(
                ConnectionResetError("the peer ended the connection during the TLS handshake")
            )
        return False

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._timer:
            self._timer.cancel()
        self._is_closing = True
        error = self._error or exc
        if self._is_connected:
            self._protocol.connection_lost(error if isinstance(error, Exception) else None)
        elif not self.ready.done():
            self._set_failed(error or ConnectionResetError("the connection was lost"))

    def pause_writing(self) -> None:
        if self._is_connected:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._is_connected:
            self._protocol.resume_writing()

    # The transport of the protocol above

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._is_closing or not data:
            return
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._object.write(rest) :]
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._send()

    def close(self) -> None:
        if self._is_closing:
            return
        self._is_closing = True
        assert self._below is not None
        # It says goodbye, and does not wait for an answer.
        with contextlib.suppress(ssl.SSLError):
            self._object.unwrap()
        self._send()
        self._below.close()

    def abort(self) -> None:
        self._is_closing = True
        assert self._below is not None
        self._below.abort()

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._is_paused

    def pause_reading(self) -> None:
        assert self._below is not None
        self._is_paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        assert self._below is not None
        self._is_paused = False
        self._read()
        if not self._is_paused:
            self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        assert self._below is not None
        return self._below.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert self._below is not None
        self._below.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own: dict[str, Callable[[], Any]] = {
            "ssl_object": lambda: self._object,
            "sslcontext": lambda: self._object.context,
            "peercert": self._object.getpeercert,
            "cipher": self._object.cipher,
        }
        if name in own:
            return own[name]()
        return self._below.get_extra_info(name, default) if self._below else default

    # Between them

    @property
    def _is_connected(self) -> bool:
        return self.ready.done() and self.ready.exception() is None

    def _handshake(self) -> None:
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            # With an alert for the peer.
            self._send()
            self._fail(error)
        else:
            self._send()
            assert self._timer is not None
            self._timer.cancel()
            self.ready.set_result(None)
            self._protocol.connection_made(self)

    def _read(self) -> None:
        pieces = []
        try:
            while piece := self._object.read(_READ_BYTES):
                pieces.append(piece)
            self._end(pieces)
        except ssl.SSLWantReadError:
            self._deliver(pieces)
        except ssl.SSLZeroReturnError:
            self._end(pieces)
        except ssl.SSLError as error:
            self._deliver(pieces)
            self._fail(error)
        # An answer of TLS's own, to a new key for example.
        self._send()

    def _deliver(self, pieces: list[bytes]) -> None:
        if pieces and not self._is_closing:
            self._protocol.data_received(b"".join(pieces))

    def _end(self, pieces: list[bytes]) -> None:
        self._deliver(pieces)
        if not self._is_closing and not self._protocol.eof_received():
            self.close()

    def _send(self) -> None:
        if self._outgoing.pending and self._below is not None:
            self._below.write(self._outgoing.read())

    def _give_up(self) -> None:
        seconds = self._handshake_timeout
        self._fail(TimeoutError(f"the TLS handshake was not complete within {seconds:g} s"))

    def _fail(self, error: BaseException) -> None:
        self._error = error
        if not self.ready.done():
            self._set_failed(error)
        assert self._below is not None
        self._below.close() if isinstance(error, ssl.SSLError) else self._below.abort()

    def _set_failed(self, error: BaseException) -> None:
        self.ready.set_exception(error)
        # Marked as seen: a server has nobody who waits for it.
        self.ready.exception()


class TLS(Protocol):
    """What secures the connections of one side, in both roles."""

    @property
    def server_context(self) -> ssl.SSLContext:
        """For connections that this side accepts."""

    @property
    def client_context(self) -> ssl.SSLContext:
        """For connections that this side opens."""


@dataclass(frozen=True, kw_only=True)
class TLSContexts:
    """TLS of one's own, in place of AutoMTLS, for a side that opens and accepts connections.

    A host opens them and a plugin accepts them, but for the broker's, where either does either.
    In Python a context is for one of the two. Go's ``tls.Config`` is for both.

    Attributes:
        client: For connections that this side opens, made with ``ssl.PROTOCOL_TLS_CLIENT``. The
            peer's certificate must be for ``localhost`` where it checks host names. None where
            this side opens none.
        server: For connections that this side accepts, made with ``ssl.PROTOCOL_TLS_SERVER``. None
            where it accepts none.

    Raises:
        ValueError: One is for the other direction.
    """

    client: ssl.SSLContext | None = None
    server: ssl.SSLContext | None = None

    def __post_init__(self) -> None:
        if self.client is not None and self.client.protocol == ssl.PROTOCOL_TLS_SERVER:
            raise ValueError(
                "`client` is a context of ssl.PROTOCOL_TLS_SERVER, which opens nothing: make it "
                "with ssl.PROTOCOL_TLS_CLIENT"
            )
        if self.server is not None and self.server.protocol == ssl.PROTOCOL_TLS_CLIENT:
            raise ValueError(
                "`server` is a context of ssl.PROTOCOL_TLS_CLIENT, which accepts nothing: make it "
                "with ssl.PROTOCOL_TLS_SERVER"
            )


class OwnTLS:
    """TLS that the user made, in place of AutoMTLS.

    Args:
        given: What ``tls_config`` or ``tls_provider`` gave. The contexts are made to offer HTTP/2,
            without which Go refuses a connection.
    """

    def __init__(self, given: ssl.SSLContext | TLSContexts) -> None:
        if isinstance(given, ssl.SSLContext):
            # One of ssl.PROTOCOL_TLS, which Python advises against, is for both.
            given = TLSContexts(
                client=None if given.protocol == ssl.PROTOCOL_TLS_SERVER else given,
                server=None if given.protocol == ssl.PROTOCOL_TLS_CLIENT else given,
            )
        self._contexts = given
        for context in (given.client, given.server):
            if context is not None:
                context.set_alpn_protocols(["h2"])

    @property
    def server_context(self) -> ssl.SSLContext:
        """TLS for connections that this side accepts.

        Raises:
            TLSError: There is no context for them.
        """
        if self._contexts.server is None:
            raise _lacking("server", "accept")
        return self._contexts.server

    @property
    def client_context(self) -> ssl.SSLContext:
        """TLS for connections that this side opens.

        Raises:
            TLSError: There is no context for them.
        """
        if self._contexts.client is None:
            raise _lacking("client", "open")
        return self._contexts.client


def _lacking(side: str, verb: str) -> TLSError:
    return TLSError(
        f"tls_config or tls_provider has no context to {verb} a connection with: set "
        f"it to TLSContexts(client=..., server=...), with a {side}'s context among the two"
    )
