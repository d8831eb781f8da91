"""AutoMTLS: throw-away certificates that host and plugin make for each other.

Each side makes one P-521 certificate (go-plugin ``mtls.go``). The host's travels in
``PLUGIN_CLIENT_CERT``, the plugin's in part 6 of the handshake, and each trusts only the
other's, and what its key signs. The private keys never leave the processes that made them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import functools
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .constants import TLS_SERVER_NAME
from .errors import TLSError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Cert",
    "Identity",
    "client_ssl_context",
    "decode_handshake_cert",
    "der_to_pem",
    "encode_handshake_cert",
    "generate",
    "server_ssl_context",
]

# mtls.go: the clock of the other side may be behind
_BACKDATED_SECONDS = 30
_VALID_HOURS = 262980

_UPDATE = "update go-plugin or pyplugin on the side that made it"


@dataclass(frozen=True)
class Cert:
    """A certificate with its private key.

    Attributes:
        cert_pem: The certificate, PEM.
        key_pem: The private key, PEM of the form "EC PRIVATE KEY" (SEC1), unencrypted.
        cert_der: The certificate, DER.
    """

    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    cert_der: bytes


@dataclass(frozen=True)
class Identity:
    """One side of a mutual TLS connection: its certificate, and the one it trusts.

    Attributes:
        cert_pem: The certificate of this side, PEM.
        key_pem: Its private key, PEM.
        peer_cert_pem: The certificate of the other side, PEM.
    """

    cert_pem: bytes
    key_pem: bytes = field(repr=False)
    peer_cert_pem: bytes

    @functools.cached_property
    def server_context(self) -> ssl.SSLContext:
        """TLS for connections that this side accepts."""
        return server_ssl_context(
            cert_pem=self.cert_pem, key_pem=self.key_pem, peer_cert_pem=self.peer_cert_pem
        )

    @functools.cached_property
    def client_context(self) -> ssl.SSLContext:
        """TLS for connections that this side opens."""
        return client_ssl_context(
            cert_pem=self.cert_pem, key_pem=self.key_pem, peer_cert_pem=self.peer_cert_pem
        )


def generate() -> Cert:
    """Makes a self-signed P-521 certificate for ``localhost``, like go-plugin's ``mtls.go``."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP521R1())
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "HashiCorp"),
            x509.NameAttribute(NameOID.COMMON_NAME, TLS_SERVER_NAME),
        ]
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_encipherment=True,
        key_agreement=True,
        key_cert_sign=True,
        content_commitment=False,
        data_encipherment=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    extended_usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    now = datetime.datetime.now(datetime.timezone.utc)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(int.from_bytes(os.urandom(16), "big") or 1)
        .not_valid_before(now - datetime.timedelta(seconds=_BACKDATED_SECONDS))
        .not_valid_after(now + datetime.timedelta(hours=_VALID_HOURS))
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage(extended_usage), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(TLS_SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA512())
    )
    return Cert(
        cert_pem=cert.public_bytes(serialization.Encoding.PEM),
        key_pem=key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
        cert_der=cert.public_bytes(serialization.Encoding.DER),
    )


def encode_handshake_cert(cert_der: bytes) -> str:
    """A certificate as part 6 of the handshake: standard base64 without padding."""
    return base64.b64encode(cert_der).rstrip(b"=").decode("ascii")


def decode_handshake_cert(b64: str) -> bytes:
    """The certificate (DER) in part 6 of a handshake; padding is accepted too.

    Raises:
        TLSError: It is no base64.
    """
    text = b64.rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise TLSError(
            f"part 6 of the handshake (certificate) is no base64: {error}; {_UPDATE}"
        ) from error


def der_to_pem(cert_der: bytes) -> bytes:
    """A certificate from DER to PEM."""
    return ssl.DER_cert_to_PEM_cert(cert_der).encode("ascii")


def server_ssl_context(*, cert_pem: bytes, key_pem: bytes, peer_cert_pem: bytes) -> ssl.SSLContext:
    """TLS for the side that listens: its own certificate, the peer's required.

    Args:
        cert_pem: The certificate of this side, PEM.
        key_pem: Its private key, PEM.
        peer_cert_pem: The certificate of the only side that may connect, PEM.

    Raises:
        TLSError: One of the three cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    return _load(context, cert_pem, key_pem, peer_cert_pem)


def client_ssl_context(*, cert_pem: bytes, key_pem: bytes, peer_cert_pem: bytes) -> ssl.SSLContext:
    """TLS for the side that connects: as ``server_ssl_context``, and the name is checked.

    Connect with ``server_hostname="localhost"``, the name in the certificate.

    Raises:
        TLSError: A certificate or the key cannot be read.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _load(context, cert_pem, key_pem, peer_cert_pem)


def _load(
    context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes, peer_cert_pem: bytes
) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=peer_cert_pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise TLSError(f"the peer's certificate cannot be read: {error}; {_UPDATE}") from error
    try:
        _load_key(context, cert_pem, key_pem)
    except (ssl.SSLError, ValueError) as error:
        raise TLSError(
            f"this side's certificate or key cannot be read: {error}; they must be PEM, and a pair"
        ) from error
    return context


def _load_key(context: ssl.SSLContext, cert_pem: bytes, key_pem: bytes) -> None:
    # The ssl module takes a key only by a file's name. A pipe has one, and never touches a disk.
    try:
        with _pipe(cert_pem) as cert_path, _pipe(key_pem) as key_path:
            context.load_cert_chain(cert_path, key_path)
    except OSError as error:
        if isinstance(error, ssl.SSLError):
            raise
    else:
        return
    from cryptography.hazmat.primitives import serialization

    password = os.urandom(32)
    encrypted = serialization.load_pem_private_key(key_pem, None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password),
    )
    with _file(cert_pem) as cert_path, _file(encrypted) as key_path:
        context.load_cert_chain(cert_path, key_path, password)


@contextlib.contextmanager
def _pipe(data: bytes) -> Iterator[str]:
    read, write = os.pipe()
    try:
        # More than a pipe of any system holds would block, with nobody there to read.
        if len(data) > 4096:
            raise OSError("too large for a pipe")
        os.write(write, data)
        os.close(write)
        write = -1
        yield f"/dev/fd/{read}"
    finally:
        os.close(read)
        if write != -1:
            os.close(write)


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[str]:
    import tempfile

    handle, path = tempfile.mkstemp(prefix="pyplugin-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        yield path
    finally:
        Path(path).unlink()
