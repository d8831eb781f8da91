from __future__ import annotations

import base64
import datetime
import re
import ssl
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from pyplugin.errors import TLSError
from pyplugin.mtls import (
    Cert,
    Identity,
    client_ssl_context,
    decode_handshake_cert,
    der_to_pem,
    encode_handshake_cert,
    generate,
    server_ssl_context,
)

if TYPE_CHECKING:
    from types import FrameType

HOST, PLUGIN, OTHER = generate(), generate(), generate()
# More than goes through a pipe, which is what every system without /dev/fd meets.
LONG_COMMENT = b"x" * 5000 + b"\n"


def identity(ours: Cert, theirs: Cert) -> Identity:
    return Identity(ours.cert_pem, ours.key_pem, theirs.cert_pem)


def shake_hands(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A TLS connection in memory, with one byte sent each way, which proves both sides agree."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(to_client, to_server, server_hostname=name)
    right = server.wrap_bio(to_server, to_client, server_side=True)

    def step(work: Any, *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except ssl.SSLWantReadError:
            return None

    for _ in range(5):
        step(left.do_handshake)
        step(right.do_handshake)
    left.write(b"l")
    right.write(b"r")
    assert (left.read(), right.read()) == (b"r", b"l")
    return left, right


# The certificate


@pytest.fixture(scope="module")
def certificate() -> x509.Certificate:
    return x509.load_der_x509_certificate(generate().cert_der)


def extension(certificate: x509.Certificate, kind: type[Any]) -> Any:
    return certificate.extensions.get_extension_for_class(kind).value


def test_the_key_is_p521_and_the_signature_sha512(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP521R1)
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA512)
    certificate.verify_directly_issued_by(certificate)


def test_subject_and_name_are_localhost(certificate: x509.Certificate) -> None:
    assert certificate.subject.rfc4514_string() == "CN=localhost,O=HashiCorp"
    names = extension(certificate, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]


def test_the_serial_has_at_most_128_bits_and_is_random() -> None:
    serials = {x509.load_der_x509_certificate(c.cert_der).serial_number for c in (HOST, PLUGIN)}
    assert len(serials) == 2
    assert all(0 < serial < 2**128 for serial in serials)


def test_it_is_valid_from_half_a_minute_ago_for_thirty_years(certificate: x509.Certificate) -> None:
    valid = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert valid == datetime.timedelta(hours=262980, seconds=30)
    age = datetime.datetime.now(datetime.timezone.utc) - certificate.not_valid_before_utc
    assert datetime.timedelta(seconds=30) <= age < datetime.timedelta(minutes=5)


def test_it_may_be_used_for_what_go_allows(certificate: x509.Certificate) -> None:
    usage = extension(certificate, x509.KeyUsage)
    assert usage.digital_signature
    assert usage.key_encipherment
    assert usage.key_agreement
    assert usage.key_cert_sign
    assert not usage.content_commitment
    assert not usage.data_encipherment
    assert not usage.crl_sign
    assert not usage.encipher_only
    assert not usage.decipher_only
    assert set(extension(certificate, x509.ExtendedKeyUsage)) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    assert extension(certificate, x509.BasicConstraints).ca


def test_the_three_forms_are_of_one_certificate() -> None:
    assert ssl.PEM_cert_to_DER_cert(HOST.cert_pem.decode()) == HOST.cert_der
    assert der_to_pem(HOST.cert_der).split() == HOST.cert_pem.split()
    key = serialization.load_pem_private_key(HOST.key_pem, None)
    assert key.public_key() == x509.load_der_x509_certificate(HOST.cert_der).public_key()


def test_the_key_is_sec1_pem() -> None:
    assert HOST.key_pem.startswith(b"-----BEGIN EC PRIVATE KEY-----\n")


@pytest.mark.parametrize("holder", [HOST, identity(HOST, PLUGIN)], ids=["Cert", "Identity"])
def test_a_repr_shows_no_key(holder: object) -> None:
    assert "CERTIFICATE" in repr(holder)
    assert "PRIVATE KEY" not in repr(holder)
    assert HOST.key_pem.split(b"\n")[1].decode() not in repr(holder)


# Part 6 of the handshake


@pytest.mark.parametrize("size", [1, 2, 3, 700])
def test_a_certificate_travels_as_base64_without_padding(size: int) -> None:
    data = bytes(n % 251 for n in range(size))
    text = encode_handshake_cert(data)
    assert text == base64.b64encode(data).decode().rstrip("=")
    assert decode_handshake_cert(text) == data
    assert decode_handshake_cert(base64.b64encode(data).decode()) == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "A*A=", "A-_A", "AA\nAA", "é" * 4, "AA=A"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(TLSError, match="part 6 of the handshake"):
        decode_handshake_cert(text)


# Connections


def test_two_sides_that_know_each_other_connect() -> None:
    host, plugin = identity(HOST, PLUGIN), identity(PLUGIN, HOST)
    left, right = shake_hands(host.client_context, plugin.server_context)
    assert left.getpeercert(binary_form=True) == PLUGIN.cert_der
    assert right.getpeercert(binary_form=True) == HOST.cert_der
    assert (left.selected_alpn_protocol(), right.selected_alpn_protocol()) == ("h2", "h2")


def test_the_broker_connects_the_other_way_round() -> None:
    host, plugin = identity(HOST, PLUGIN), identity(PLUGIN, HOST)
    left, _ = shake_hands(plugin.client_context, host.server_context)
    assert left.getpeercert(binary_form=True) == HOST.cert_der


def test_tls_1_2_is_spoken_with_peers_that_know_no_newer() -> None:
    client = identity(HOST, PLUGIN).client_context
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    left, _ = shake_hands(client, identity(PLUGIN, HOST).server_context)
    assert left.version() == "TLSv1.2"


def test_another_certificate_of_the_server_is_refused() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
        shake_hands(
            identity(HOST, PLUGIN).client_context,
            identity(OTHER, HOST).server_context,
        )


def test_another_certificate_of_the_client_is_refused() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed"):
        shake_hands(
            identity(OTHER, PLUGIN).client_context,
            identity(PLUGIN, HOST).server_context,
        )


def test_a_client_without_a_certificate_is_refused() -> None:
    client = ssl.create_default_context(cadata=PLUGIN.cert_pem.decode())
    with pytest.raises(ssl.SSLError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
        shake_hands(client, identity(PLUGIN, HOST).server_context)


def test_another_host_name_is_refused() -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(
            identity(HOST, PLUGIN).client_context,
            identity(PLUGIN, HOST).server_context,
            "example.com",
        )


@pytest.mark.parametrize("lowered", [True, False])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused(lowered: bool) -> None:
    client, server = identity(HOST, PLUGIN).client_context, identity(PLUGIN, HOST).server_context
    # OpenSSL's own policy would refuse it too; without it, only our floor does.
    for context in client, server:
        context.set_ciphers("ALL:@SECLEVEL=0")
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
    if lowered:
        server.minimum_version = ssl.TLSVersion.TLSv1_1
        assert shake_hands(client, server)[0].version() == "TLSv1.1"
    else:
        with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
            shake_hands(client, server)


def test_a_context_is_made_once() -> None:
    side = identity(HOST, PLUGIN)
    assert side.server_context is side.server_context
    assert side.client_context is side.client_context


# Making contexts


@pytest.mark.parametrize("build", [client_ssl_context, server_ssl_context])
@pytest.mark.parametrize("garbage", [b"", b"garbage", b"\xff", LONG_COMMENT])
@pytest.mark.parametrize(
    ("field", "whose"),
    [("cert_pem", "this side's"), ("key_pem", "this side's"), ("peer_cert_pem", "the peer's")],
)
def test_garbage_is_refused_by_its_owner(
    build: Any, garbage: bytes, field: str, whose: str
) -> None:
    good = vars(identity(HOST, PLUGIN))
    with pytest.raises(TLSError, match=f"{whose} certificate"):
        build(**{**good, field: garbage})


def test_a_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(TLSError, match="certificate or key"):
        server_ssl_context(
            cert_pem=HOST.cert_pem, key_pem=OTHER.key_pem, peer_cert_pem=PLUGIN.cert_pem
        )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def files_seen_while_loading(folder: Path, cert_pem: bytes) -> list[dict[Path, bytes]]:
    """Makes a context; what lies in the folder each time OpenSSL is about to read a key."""
    seen: list[dict[Path, bytes]] = []

    def look(frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call" and argument.__name__ == "load_cert_chain":
            seen.append({path: path.read_bytes() for path in folder.iterdir()})
            assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        context = server_ssl_context(
            cert_pem=cert_pem, key_pem=HOST.key_pem, peer_cert_pem=PLUGIN.cert_pem
        )
    finally:
        sys.setprofile(before)
    shake_hands(identity(PLUGIN, HOST).client_context, context)
    return seen


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="there is no /dev/fd here")
def test_no_key_touches_a_disk(folder: Path) -> None:
    assert files_seen_while_loading(folder, HOST.cert_pem) == [{}]


def test_where_files_are_needed_the_key_in_them_is_encrypted(folder: Path) -> None:
    files = files_seen_while_loading(folder, LONG_COMMENT + HOST.cert_pem)[-1]
    keys = [data for data in files.values() if b"PRIVATE KEY" in data]
    assert [re.findall(rb"BEGIN .*KEY", key) for key in keys] == [[b"BEGIN ENCRYPTED PRIVATE KEY"]]
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("field", ["cert_pem", "key_pem"])
def test_a_failure_leaves_no_file_behind(field: str, folder: Path) -> None:
    with pytest.raises(TLSError):
        server_ssl_context(**{**vars(identity(HOST, PLUGIN)), field: LONG_COMMENT})
    assert list(folder.iterdir()) == []
