"""TLS inside of streams, and over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import mtls
from pyplugin._compat import timeout
from pyplugin.constants import TLS_SERVER_NAME
from pyplugin.net.tls import TLSTransport
from tests.net.test_mux import LIMIT, Echo, Recorder, attach, joined, no_complaints, stream_sockets

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OVER = pytest.mark.parametrize("over", ["stream", "unix", "tcp"])


@functools.cache
def cert(name: str) -> mtls.Cert:
    return mtls.generate()


def context(own: str, *, trusts: str, is_server: bool) -> ssl.SSLContext:
    identity = mtls.Identity(cert(own).cert_pem, cert(own).key_pem, cert(trusts).cert_pem)
    return identity.server_context if is_server else identity.client_context


class Wire(asyncio.Protocol):
    """Stands between TLS and what is below it.

    Attributes:
        piece_bytes: In what pieces it hands on what comes; None as it comes.
    """

    def __init__(self, above: TLSTransport) -> None:
        self.above = above
        self.piece_bytes: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.below: Any = transport
        self.above.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        size = self.piece_bytes or len(data)
        for start in range(0, len(data), size):
            self.above.data_received(data[start : start + size])

    def eof_received(self) -> bool | None:
        return self.above.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.above.connection_lost(exc)

    def pause_writing(self) -> None:
        self.above.pause_writing()

    def resume_writing(self) -> None:
        self.above.resume_writing()


class Side:
    """One side of TLS, with what is above it and below it."""

    def __init__(
        self, own: str, trusts: str, *, is_server: bool, seconds: float, protocol: Recorder
    ) -> None:
        self.protocol = protocol
        self.tls = TLSTransport(
            protocol,
            context(own, trusts=trusts, is_server=is_server),
            server_hostname=None if is_server else TLS_SERVER_NAME,
            handshake_timeout=seconds,
        )
        self.wire = Wire(self.tls)


@contextlib.asynccontextmanager
async def below(over: str) -> AsyncIterator[list[Callable[[asyncio.Protocol], Any]]]:
    """Two coroutine functions, which attach protocols to the two ends of a connection."""
    if over == "stream":
        async with joined() as (host, plugin):

            async def client(protocol: asyncio.Protocol) -> None:
                host.connection.open_stream().start(protocol)

            async def server(protocol: asyncio.Protocol) -> None:
                (await plugin.accepting.streams.get()).start(protocol)

            plugin.accepting.factory = None
            yield [client, server]
        return
    sockets = stream_sockets(tcp=over == "tcp")
    try:
        with no_complaints():
            async with timeout(LIMIT):
                yield [functools.partial(attach, sock) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


@contextlib.asynccontextmanager
async def sides(
    over: str = "stream",
    *,
    client: tuple[str, str] = ("host", "plugin"),
    server: tuple[str, str] = ("plugin", "host"),
    seconds: float = LIMIT,
    protocols: tuple[Callable[[], Recorder], Callable[[], Recorder]] = (Recorder, Recorder),
    piece_bytes: int | None = None,
) -> AsyncIterator[tuple[Side, Side]]:
    """The client's side and the server's: whose certificate, and whom it trusts."""
    async with below(over) as attachments:
        pair = (
            Side(*client, is_server=False, seconds=seconds, protocol=protocols[0]()),
            Side(*server, is_server=True, seconds=seconds, protocol=protocols[1]()),
        )
        for side, attach_to in zip(pair, attachments, strict=True):
            side.wire.piece_bytes = piece_bytes
            await attach_to(side.wire)
        try:
            yield pair
        finally:
            for side in pair:
                if not side.tls.is_closing():
                    side.tls.abort()


async def both_ready(*pair: Side) -> None:
    for side in pair:
        await side.tls.ready


def pattern(size: int) -> bytes:
    return hashlib.shake_128(b"tls").digest(size)


@OVER
async def test_megabytes_each_way(over: str) -> None:
    there, back = pattern(2**22), pattern(2**22 + 1)[1:]
    async with sides(over) as (client, server):
        await both_ready(client, server)
        # One write, of many records.
        client.protocol.transport.write(there)
        server.protocol.transport.write(back)
        assert await server.protocol.until_received(2**22) == there
        assert await client.protocol.until_received(2**22) == back


@OVER
async def test_both_show_their_certificates(over: str) -> None:
    async with sides(over) as (client, server):
        await both_ready(client, server)
        for side, peer in ((client, "plugin"), (server, "host")):
            ssl_object = side.tls.get_extra_info("ssl_object")
            assert ssl_object.getpeercert(binary_form=True) == cert(peer).cert_der
            assert side.tls.get_extra_info("peercert") == ssl_object.getpeercert()
            assert side.tls.get_extra_info("cipher") == ssl_object.cipher()
            assert isinstance(side.tls.get_extra_info("sslcontext"), ssl.SSLContext)
            assert side.tls.get_extra_info("socket") is not None
            assert side.tls.get_extra_info("no such", 1) == 1
            assert side.protocol.transport is side.tls
            assert side.protocol.calls == ["made"]


@OVER
async def test_a_server_that_is_not_trusted(over: str) -> None:
    async with sides(over, server=("stranger", "host")) as (client, server):
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.tls.ready
        with pytest.raises(ssl.SSLError, match=r"(?i)alert"):
            await server.tls.ready
        assert client.protocol.calls == server.protocol.calls == []


@OVER
async def test_a_client_that_is_not_trusted(over: str) -> None:
    async with sides(over, client=("stranger", "plugin")) as (client, server):
        with pytest.raises(ssl.SSLError):
            await server.tls.ready
        assert server.protocol.calls == []
        # Under TLS 1.3 the client is done before the server looks at its certificate.
        with contextlib.suppress(ssl.SSLError):
            await client.tls.ready
            assert isinstance(await client.protocol.until_lost(), ssl.SSLError)


async def test_the_name_of_the_server_is_checked() -> None:
    async with below("unix") as attachments:
        client = TLSTransport(
            Recorder(),
            context("host", trusts="plugin", is_server=False),
            server_hostname="elsewhere",
            handshake_timeout=LIMIT,
        )
        server = Side("plugin", "host", is_server=True, seconds=LIMIT, protocol=Recorder())
        await attachments[0](client)
        await attachments[1](server.wire)
        with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
            await client.ready
        with pytest.raises(ssl.SSLError):
            await server.tls.ready


@OVER
@pytest.mark.parametrize("is_server", [False, True], ids=["client", "server"])
async def test_a_peer_that_talks_no_tls(over: str, is_server: bool) -> None:
    async with below(over) as attachments:
        side = Side("host", "plugin", is_server=is_server, seconds=LIMIT, protocol=Recorder())
        peer = Recorder()
        await attachments[0](side.wire if not is_server else peer)
        if over == "stream" and not is_server:
            # The stream is there with the first that is sent on it.
            await asyncio.sleep(0)
        await attachments[1](side.wire if is_server else peer)
        peer.transport.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            await side.tls.ready
        await peer.until_lost()
        assert side.protocol.calls == []


@OVER
async def test_a_peer_that_stops_talking_tls(over: str) -> None:
    async with sides(over) as (client, server):
        await both_ready(client, server)
        client.wire.below.write(b"no TLS at all, for the length of a record's head and more")
        assert isinstance(await server.protocol.until_lost(), ssl.SSLError)
        assert await client.protocol.until_lost() is not None or client.protocol.is_lost
        assert server.protocol.received == b""


@OVER
async def test_the_handshake_has_a_limit(over: str) -> None:
    async with below(over) as attachments:
        side = Side("host", "plugin", is_server=False, seconds=0.02, protocol=Recorder())
        peer = Recorder()
        await attachments[0](side.wire)
        await attachments[1](peer)
        with pytest.raises(TimeoutError, match=r"within 0\.02 s"):
            await side.tls.ready
        await peer.until_lost()
        assert side.protocol.calls == []
        assert side.tls.is_closing()


async def test_the_limit_is_for_the_handshake_alone() -> None:
    async with sides(seconds=0.5) as (client, server):
        await both_ready(client, server)
        assert client.tls._timer is not None
        assert client.tls._timer.cancelled()


@OVER
@pytest.mark.parametrize("way", ["close", "abort"])
async def test_a_connection_cut_during_the_handshake(over: str, way: str) -> None:
    async with below(over) as attachments:
        side = Side("host", "plugin", is_server=False, seconds=LIMIT, protocol=Recorder())
        peer = Recorder()
        await attachments[0](side.wire)
        await attachments[1](peer)
        await peer.until_received(1)
        getattr(peer.transport, way)()
        with pytest.raises(ConnectionResetError):
            await side.tls.ready
        assert side.protocol.calls == []


@pytest.mark.parametrize("way", ["close", "abort"])
async def test_an_end_that_gives_up_during_its_own_handshake(way: str) -> None:
    async with below("stream") as attachments:
        side = Side("host", "plugin", is_server=False, seconds=LIMIT, protocol=Recorder())
        await attachments[0](side.wire)
        getattr(side.tls, way)()
        with pytest.raises(ConnectionResetError):
            await side.tls.ready
        assert side.protocol.calls == []


@pytest.mark.parametrize("closer", [0, 1], ids=["client", "server"])
async def test_either_side_says_goodbye(closer: int) -> None:
    # Over streams alone: a socket that is closed resets a peer who still writes its goodbye.
    sent = pattern(2**20)
    async with sides() as pair:
        await both_ready(*pair)
        ours, theirs = pair[closer].protocol, pair[1 - closer].protocol
        ours.transport.write(sent)
        ours.transport.close()
        ours.transport.close()
        ours.transport.write(b"late")
        assert ours.transport.is_closing()
        assert await theirs.until_lost() is None
        assert await ours.until_lost() is None
        assert theirs.received == sent
        assert theirs.calls == ["made", "data", "eof", "lost"]


@OVER
async def test_abort_sends_nothing_more(over: str) -> None:
    async with sides(over) as (client, server):
        await both_ready(client, server)
        client.protocol.transport.abort()
        client.protocol.transport.write(b"late")
        assert await client.protocol.until_lost() is None
        await server.protocol.until_lost()
        assert server.protocol.received == b""


class Hesitant(Recorder):
    """Reads one piece and pauses."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.pause_reading()


async def test_reading_pauses_with_records_inside() -> None:
    sent = pattern(2**22)
    async with sides(protocols=(Recorder, Hesitant)) as (client, server):
        await both_ready(client, server)
        client.protocol.transport.write(sent)
        client.protocol.transport.close()
        reader = server.protocol
        assert server.tls.is_reading()
        await reader.until_received(1)
        assert not server.tls.is_reading()
        while not reader.is_lost:
            seen = len(reader.received)
            reader.transport.resume_reading()
            await reader.until_received(seen + 1)
        assert reader.received == sent
        assert reader.calls.count("eof") == 1
        assert reader.error is None


@OVER
async def test_a_reader_that_pauses_stops_its_writer(over: str) -> None:
    async with sides(over) as (client, server):
        await both_ready(client, server)
        server.protocol.transport.pause_reading()
        writer = client.protocol
        writer.transport.write(bytes(2**23))
        assert writer.is_full
        assert writer.transport.get_write_buffer_size() > 2**20
        server.protocol.transport.resume_reading()
        assert len(await server.protocol.until_received(2**23)) == 2**23
        await writer.until(lambda: not writer.is_full)
        assert writer.transport.get_write_buffer_size() == 0


async def test_data_that_comes_byte_by_byte() -> None:
    sent = pattern(20_000)
    async with sides(piece_bytes=1, protocols=(Recorder, Echo)) as (client, server):
        await both_ready(client, server)
        client.protocol.transport.write(sent)
        assert await client.protocol.until_received(len(sent)) == sent


async def test_many_small_writes() -> None:
    async with sides() as (client, server):
        await both_ready(client, server)
        for _ in range(1000):
            client.protocol.transport.write(b"ab")
        client.protocol.transport.writelines([b"c", bytearray(b"d")])
        client.protocol.transport.write(memoryview(b"xex")[1:2])
        client.protocol.transport.write(b"")
        assert await server.protocol.until_received(2003) == b"ab" * 1000 + b"cde"


async def test_a_transport_like_any_other() -> None:
    async with sides() as (client, server):
        await both_ready(client, server)
        assert isinstance(client.tls, asyncio.Transport)
        assert client.tls.get_protocol() is client.protocol
        assert not client.tls.can_write_eof()
        client.tls.set_write_buffer_limits(high=2**23)
        client.tls.write(bytes(2**22))
        assert not client.protocol.is_full
        assert len(await server.protocol.until_received(2**22)) == 2**22


async def test_what_is_sent_with_the_end_of_the_handshake() -> None:
    """A protocol may write as soon as it is connected."""

    class Eager(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.write(b"first")

    async with sides(protocols=(Eager, Eager)) as (client, server):
        assert await client.protocol.until_received(5) == b"first"
        assert await server.protocol.until_received(5) == b"first"


async def test_many_at_once_over_one_connection() -> None:
    async with joined() as (host, plugin):
        plugin.accepting.factory = None
        pairs = []
        for _ in range(50):
            client = Side("host", "plugin", is_server=False, seconds=LIMIT, protocol=Recorder())
            server = Side("plugin", "host", is_server=True, seconds=LIMIT, protocol=Echo())
            host.connection.open_stream().start(client.wire)
            (await plugin.accepting.streams.get()).start(server.wire)
            pairs.append((client, server))
        for number, (client, server) in enumerate(pairs):
            await both_ready(client, server)
            client.protocol.transport.write(b"%05d" % number * 10_000)
        for number, (client, _) in enumerate(pairs):
            assert await client.protocol.until_received(50_000) == b"%05d" % number * 10_000
            client.protocol.transport.close()
        for client, server in pairs:
            await client.protocol.until_lost()
            await server.protocol.until_lost()
