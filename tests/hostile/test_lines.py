"""The handshake line of a plugin, each of its parts with what no plugin writes."""

from __future__ import annotations

import datetime
import sys
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pyplugin import (
    AppProtocolMismatch,
    CoreProtocolMismatch,
    HandshakeError,
    PyPluginError,
    StartTimeout,
    TLSError,
    UnsupportedProtocol,
    mtls,
)
from tests.fixtures.logs import LIMIT

from .starts import MOST_BYTES, error_of, errors_of, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="plugins of sh, unix sockets")

JUNK = b"\xff\xfe\x00\x80\xc3("
HUGE = b"x" * 60_000

NO_LINES = [
    JUNK,
    HUGE * 3,
    HUGE,
    b"|",
    b"|||",
    b"||||||||",
    b"\x00" * 100_000,
    b"\r",
    "1\uff5c1\uff5cunix\uff5c/s\uff5cgrpc\uff5c".encode(),
    b"HTTP/1.1 200 OK\r",
    b"{}",
    b"1|1|unix",
    b"|" * 100,
    b"\x1b[31m1|1|unix|/s|grpc|",
]
NUMBERS = [b"", b" ", b"-", b"9" * 5000, b"9223372036854775808", "٣".encode(), b"1.0", b"0x1"]
NUMBERS += [b"1_0", b"1e1", b"\x00", JUNK, HUGE]
NETWORKS = [b"", b"udp", b"UNIX", b"unixgram", b"unix\x00", b"fd", b"tcp4", JUNK, HUGE]
PATHS = [b"", b"\x00", b"\x00abstract", b"/s\x00", b"x" * 108, b"/" + b"\xff" * 107, HUGE]
HOSTS = [b"", b":", b":80", b"::", b"[]:80", b"host", b"/s", b"127.0.0.1", b"127.0.0.1:0"]
HOSTS += [b"127.0.0.1:65536", b"127.0.0.1:-1", b"127.0.0.1:+80", b"127.0.0.1:8_0", b"[::1]:0"]
HOSTS += ["127.0.0.1:٣".encode(), b"127.0.0.1: 80", b"127.0.0.1:" + b"9" * 5000, JUNK, HUGE]
# Refused by the look-up of names.
NAMES = [b"a\x00b:80", b"x" * 64 + b":80", b"\xff\xfe:80", b"x." * 200 + b":80", b"..:80"]
PROTOCOLS = [b"", b"GRPC", b"netrpc", b"grpc ", b"grpc\x00", JUNK, HUGE]
MULTIPLEX = [b"", b"false", b"tRUE", b"yes", b" 1", "\uff11".encode(), JUNK, HUGE, b"|true"]


def lines(form: bytes, values: Sequence[bytes]) -> list[bytes]:
    return [form % value + b"\n" for value in values]


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        pytest.param(HandshakeError, [line + b"\n" for line in NO_LINES], id="none"),
        pytest.param(HandshakeError, lines(b"%b|1|unix|/s|grpc|", NUMBERS), id="core"),
        pytest.param(HandshakeError, lines(b"1|%b|unix|/s|grpc|", NUMBERS), id="app"),
        pytest.param(
            CoreProtocolMismatch,
            lines(b"%b|1|unix|/s|grpc|", [b"0", b"-1", b"2", b"9" * 18]),
            id="core version",
        ),
        pytest.param(
            AppProtocolMismatch,
            lines(b"1|%b|unix|/s|grpc|", [b"0", b"-1", b"2", b"9" * 18, b"-" + b"9" * 18]),
            id="app version",
        ),
        pytest.param(HandshakeError, lines(b"1|1|%b|/s|grpc|", NETWORKS), id="network"),
        pytest.param(HandshakeError, lines(b"1|1|unix|%b|grpc|", PATHS), id="path"),
        pytest.param(HandshakeError, lines(b"1|1|tcp|%b|grpc|", HOSTS), id="host"),
        pytest.param(HandshakeError, lines(b"1|1|tcp|%b|grpc|", NAMES), id="name"),
        pytest.param(UnsupportedProtocol, lines(b"1|1|unix|/s|%b|", PROTOCOLS), id="protocol"),
    ],
)
async def test_a_line(kind: type[PyPluginError], given: list[bytes], tmp_path: Path) -> None:
    for line, error in zip(given, await errors_of(tmp_path, given), strict=True):
        assert type(error) is kind, (line[:80], error)


async def test_part_seven(tmp_path: Path) -> None:
    given = lines(b"1|1|unix|/s|grpc||%b", MULTIPLEX)
    for error in await errors_of(tmp_path, given, grpc_broker_multiplex=True):
        assert "does not offer the multiplexing" in str(error)


def rsa_certificate() -> bytes:
    """DER of a certificate whose key is none that go-plugin makes."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )


async def test_a_certificate(tmp_path: Path) -> None:
    ours = mtls.generate()
    no_base64 = [b"!" * 60, b"A" * 61, JUNK * 20, b"=" * 60 + b"A" * 60, "é".encode() * 60]
    no_certificates = [
        b"A" * 60,
        HUGE[:59_999].replace(b"x", b"A"),
        mtls.encode_handshake_cert(ours.cert_pem).encode(),
        mtls.encode_handshake_cert(ours.cert_der[:-10]).encode(),
    ]
    for values, words in (
        ([b"", b"A" * 50, b"-"], "offers no certificate"),
        (no_base64, "is no base64"),
        (no_certificates, "cannot be read"),
    ):
        given = lines(b"1|1|unix|/s|grpc|%b", values)
        for line, error in zip(
            given, await errors_of(tmp_path, given, auto_mtls=True), strict=True
        ):
            assert type(error) is TLSError
            assert words in str(error), (line, error)


async def test_a_certificate_of_another_kind_is_no_way_in(tmp_path: Path) -> None:
    """It is read, and nobody who has it listens."""
    line = b"1|1|unix|/no/such|grpc|%b\n" % mtls.encode_handshake_cert(rsa_certificate()).encode()
    (error,) = await errors_of(tmp_path, [line], auto_mtls=True, start_timeout=1)
    assert type(error) is StartTimeout


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
@pytest.mark.parametrize("line", ["", "1|1|unix|/no/such|grpc|\\n"], ids=["none", "a line"])
async def test_output_without_end_takes_no_memory(line: str) -> None:
    before = resident_bytes()
    command = ["sh", "-c", f"printf '{line}'; cat /dev/zero & exec cat /dev/zero >&2"]
    # Forty lines of two kilobytes, each byte of which is shown by four characters.
    error = await error_of(command, 400_000, start_timeout=1 if line else LIMIT)
    assert isinstance(error, StartTimeout if line else HandshakeError)
    assert resident_bytes() - before < MOST_BYTES
