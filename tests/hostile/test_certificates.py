"""Intruders with certificates of their own, at every connection that there is."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import ssl
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest

from pyplugin import mtls
from pyplugin._compat import timeout
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.mux import connect
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address
from tests.fixtures import client
from tests.fixtures.lives import get
from tests.fixtures.logs import LIMIT
from tests.fixtures.plugin import KVServicer
from tests.net.test_grpc import pair
from tests.test_mtls import shake_hands
from tests.test_server import plugin as plugin_process

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pyplugin import Client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="looks for unix sockets")

LOGGER = logging.getLogger("tests.hostile")
PEM = serialization.Encoding.PEM


def made(key: Any, *, days: int = 1) -> mtls.Cert:
    """A certificate for localhost, signed by itself, which ends ``days`` from now."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return mtls.Cert(
        cert_pem=certificate.public_bytes(PEM),
        key_pem=key.private_bytes(
            PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        cert_der=certificate.public_bytes(serialization.Encoding.DER),
    )


def intruders(server: mtls.Cert | bytes) -> dict[str, ssl.SSLContext | None]:
    """Who is no host of this server: each knows its certificate, which is no secret."""
    peer = server if isinstance(server, bytes) else server.cert_pem
    stranger, nobody = mtls.generate(), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(cadata=peer.decode())
    nobody.set_alpn_protocols(["h2"])
    return {
        "another": mtls.client_ssl_context(
            cert_pem=stranger.cert_pem, key_pem=stranger.key_pem, peer_cert_pem=peer
        ),
        "none": nobody,
        "no TLS": None,
    }


@contextlib.asynccontextmanager
async def channel(target: Any, tls: ssl.SSLContext | None) -> AsyncIterator[PluginChannel]:
    tasks = TaskScope("test", LOGGER)
    opened = PluginChannel(target, tls=tls, tasks=tasks)
    try:
        yield opened
    finally:
        opened.close()
        await opened.wait_closed()
        await tasks.aclose()


def server_pem(plugin: Client) -> bytes:
    config = plugin.reattach_config()
    assert config is not None
    assert config.server_cert_pem is not None
    return config.server_cert_pem


def sockets(plugin: Client) -> set[str]:
    assert plugin._socket_folder is not None
    return {f"{plugin._socket_folder}/{name}" for name in os.listdir(plugin._socket_folder)}


async def refused(target: Any, tls: ssl.SSLContext | None) -> None:
    async with channel(target, tls) as opened:
        with pytest.raises(GRPCError):
            await HealthStub(opened).Check(HealthCheckRequest(service="plugin"))


async def test_nobody_else_gets_into_the_plugin() -> None:
    """Neither by the main connection nor by those of the broker."""
    async with timeout(LIMIT), client(auto_mtls=True) as plugin:
        (main,) = sockets(plugin)
        service_id = int(await get(plugin, "accept"))
        assert len(sockets(plugin)) == 2
        for path in sockets(plugin):
            for tls in intruders(server_pem(plugin)).values():
                await refused(Address("unix", path), tls)
        # The host is let in after all that.
        async with await plugin.broker.dial(service_id) as dialled:
            reply = await kv_grpc.KVStub(dialled).Get(kv_pb2.GetRequest(key="bytes:1"))
            assert reply.value == b"\0"
        assert main in sockets(plugin)


async def test_nobody_else_gets_into_the_host() -> None:
    """Nor the plugin itself, with another certificate than the one it showed."""
    async with timeout(LIMIT), client(auto_mtls=True) as plugin:
        before = sockets(plugin)
        store = KVServicer()
        store.values["from the plugin"] = b"from the host"
        await plugin.broker.accept_and_serve(700, [store])
        (path,) = sockets(plugin) - before
        config = plugin.reattach_config()
        assert config is not None
        assert config.client_cert_pem is not None
        for tls in intruders(config.client_cert_pem).values():
            await refused(Address("unix", path), tls)
        assert await get(plugin, "dial:700") == b"from the host"


async def test_the_host_trusts_nobody_whom_the_plugin_announces() -> None:
    """And so does the plugin: an address of another server is an error, not a call."""
    async with (
        timeout(LIMIT),
        client(auto_mtls=True) as plugin,
        pair(KVServicer(), tls=True) as (_, secured),
        pair(KVServicer()) as (_, plain),
    ):
        for number, server in enumerate((secured, plain)):
            listening: Any = server._server
            path = listening.sockets[0].getsockname()
            announced = ConnInfo(service_id=900 + number, network="unix", address=path)
            plugin.broker._way.receive(announced)
            async with await plugin.broker.dial(900 + number) as dialled:
                with pytest.raises(GRPCError):
                    await kv_grpc.KVStub(dialled).Get(kv_pb2.GetRequest(key="bytes:1"))
            await plugin.broker._send(announced)
            with pytest.raises(GRPCError, match=r"cannot connect|lost"):
                await get(plugin, f"dial:{900 + number}")
        assert await get(plugin, "bytes:1") == b"\0"


@pytest.mark.parametrize("who", ["another", "none", "no TLS"])
async def test_nobody_else_gets_in_by_a_stream(who: str) -> None:
    """Whoever takes the one connection of a plugin that multiplexes gets no answer on it."""
    host = mtls.generate()
    variables = {"PLUGIN_CLIENT_CERT": host.cert_pem.decode(), "PLUGIN_MULTIPLEX_GRPC": "true"}
    async with timeout(LIMIT), plugin_process(**variables) as (_, line):
        peer = mtls.der_to_pem(mtls.decode_handshake_cert(line.server_cert))
        mux = await connect(Address(line.network, line.address), LOGGER)

        async def open_stream() -> Any:
            return mux.open_stream()

        try:
            for _ in range(3):
                await refused(open_stream, intruders(peer)[who])
        finally:
            await mux.aclose()


KEYS = {
    "P-256": ec.generate_private_key(ec.SECP256R1()),
    "P-384": ec.generate_private_key(ec.SECP384R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", [*KEYS, "expired", "of two", "of two, the other"])
async def test_hosts_of_other_certificates(kind: str) -> None:
    """Any key will do, as in Go; what has expired will not. Each of two is let in."""
    key = KEYS.get(kind, KEYS["P-256"])
    host, other = made(key, days=-1 if kind == "expired" else 1), mtls.generate()
    pem = (host.cert_pem + other.cert_pem if "two" in kind else host.cert_pem).decode()
    shown = other if "other" in kind else host
    async with timeout(LIMIT), plugin_process(PLUGIN_CLIENT_CERT=pem) as (_, line):
        peer = mtls.der_to_pem(mtls.decode_handshake_cert(line.server_cert))
        address = Address(line.network, line.address)
        identity = mtls.Identity(shown.cert_pem, shown.key_pem, peer)
        if kind == "expired":
            await refused(address, identity.client_context)
        else:
            async with channel(address, identity.client_context) as opened:
                await HealthStub(opened).Check(HealthCheckRequest(service="plugin"))
        for tls in intruders(peer).values():
            await refused(address, tls)


def test_a_certificate_that_says_the_host_has_signed_it() -> None:
    """It has not, and the key is what counts."""
    host, plugin = mtls.generate(), mtls.generate()
    signer = serialization.load_pem_private_key(mtls.generate().key_pem, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    name = x509.load_pem_x509_certificate(host.cert_pem).subject
    key = ec.generate_private_key(ec.SECP521R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    forged = (
        x509.CertificateBuilder(name, name, key.public_key(), 7)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(signer, hashes.SHA512())
    )
    pem = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    intruder = mtls.Identity(forged.public_bytes(PEM), pem, plugin.cert_pem)
    ours = mtls.Identity(plugin.cert_pem, plugin.key_pem, host.cert_pem)
    with pytest.raises(ssl.SSLError):
        shake_hands(intruder.client_context, ours.server_context)
