"""Plugins that cannot be reached, as docs/troubleshooting.md lists them: all is told."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from pyplugin import (
    HandshakeError,
    ProcessExitedError,
    StartTimeout,
    TLSError,
    UnixSocketConfig,
)
from tests.fixtures import PLUGIN, script
from tests.fixtures.failures import KV, assert_start_fails, writes

if TYPE_CHECKING:
    from pathlib import Path


def listens(folder: Path, then: str, part: str = "") -> list[str]:
    """A plugin that listens, writes its handshake, and does no more than ``then``."""
    path = f"{folder}/s"
    return script(
        f"import socket; s = socket.socket(socket.AF_UNIX); s.bind({path!r}); s.listen();"
        f"print('1|1|unix|{path}|grpc|{part}'); c, _ = s.accept(); {then}; s.accept()"
    )


# It cannot be reached


async def test_an_end_right_after_the_handshake() -> None:
    await assert_start_fails(
        writes("1|1|unix|/no/such/socket|grpc|", "os._exit(0)"),
        ProcessExitedError,
        cause="it ended right after its handshake",
        remedy="it must serve until its host ends it",
    )


async def test_a_socket_that_is_not_there() -> None:
    await assert_start_fails(
        writes("1|1|unix|/no/such/socket|grpc|"),
        StartTimeout,
        start_timeout=1,
        cause="No such file or directory) within 1 s",
        remedy="it must listen at the address that it writes",
    )


async def test_a_health_check_without_an_answer(tmp_path: Path) -> None:
    await assert_start_fails(
        listens(tmp_path, "pass"),
        StartTimeout,
        start_timeout=1,
        cause="it wrote a handshake, but did not answer a health check within 1 s",
        remedy="it may hang, or needs a longer start_timeout",
    )


async def test_what_is_no_grpc(tmp_path: Path) -> None:
    await assert_start_fails(
        listens(tmp_path, "c.recv(3); c.close()"),
        HandshakeError,
        cause="it did not answer its first call, a health check: the connection was",
        remedy="does it serve gRPC there, and without TLS of its own, which would need tls_config?",
    )


async def test_what_is_no_yamux(tmp_path: Path) -> None:
    await assert_start_fails(
        listens(tmp_path, "c.sendall(b'HTTP/1.1 400 Bad Request')", "|true"),
        HandshakeError,
        grpc_broker_multiplex=True,
        cause="the connection was lost: expected yamux version 0, got 72",
        remedy="does it serve gRPC there",
    )


async def test_a_plugin_that_is_not_well() -> None:
    code = f"""
import runpy
from grpclib.health.v1.health_pb2 import HealthCheckResponse
from pyplugin.serving.health import HealthServicer
async def check(self, stream):
    await stream.recv_message()
    await stream.send_message(HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING))
HealthServicer.Check = check
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    await assert_start_fails(
        script(code),
        HandshakeError,
        cause="its health service says NOT_SERVING, not SERVING",
        remedy="the reason may be in its log",
    )


# TLS


async def test_no_certificate() -> None:
    await assert_start_fails(
        writes("1|1|unix|/s|grpc|"),
        TLSError,
        auto_mtls=True,
        cause="it offers no certificate for the mutual TLS that this host asked for",
        remedy="auto_mtls=False talks to it in the clear",
    )


async def test_a_certificate_that_nobody_asked_for() -> None:
    await assert_start_fails(
        writes(f"1|1|unix|/s|grpc|{'A' * 64}"),
        TLSError,
        cause="it serves mutual TLS, which this host did not ask for",
        remedy="set auto_mtls=True, and no PLUGIN_CLIENT_CERT in `env`",
    )


@pytest.mark.parametrize(
    ("cert", "cause"),
    [("!", "part 6 of the handshake (certificate) is no base64"), ("A", "cannot be read")],
)
async def test_a_bad_certificate(cert: str, cause: str) -> None:
    await assert_start_fails(
        writes(f"1|1|unix|/s|grpc|{cert * 64}"),
        TLSError,
        auto_mtls=True,
        cause=cause,
        remedy="update go-plugin or pyplugin on the side that made it",
    )


async def test_another_certificate_than_announced() -> None:
    """The plugin announces one of a later start."""
    code = f"""
import runpy
from pyplugin import mtls
announced = mtls.encode_handshake_cert(mtls.generate().cert_der)
mtls.encode_handshake_cert = lambda cert: announced
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    await assert_start_fails(
        script(code),
        TLSError,
        auto_mtls=True,
        cause="mutual TLS with it failed: [SSL: CERTIFICATE_VERIFY_FAILED]",
        remedy="each side must have a certificate that the other trusts",
    )


# Sockets and ports


async def test_no_such_socket_folder() -> None:
    await assert_start_fails(
        PLUGIN,
        HandshakeError,
        unix_socket_config=UnixSocketConfig(temp_dir="/no/such/folder"),
        plugin=KV,
        cause="the folder of its sockets: [Errno 2] No such file or directory: '/no/such/folder",
        remedy="unix_socket_config and TMPDIR say where it is",
    )


async def test_no_such_socket_group() -> None:
    await assert_start_fails(
        PLUGIN,
        HandshakeError,
        unix_socket_config=UnixSocketConfig(group="no-such-group"),
        plugin=KV,
        cause="the group 'no-such-group' that may connect to the plugin does not exist",
        remedy="make it, or name another",
    )


async def test_a_port_range_upside_down() -> None:
    await assert_start_fails(
        PLUGIN,
        ProcessExitedError,
        min_port=5,
        max_port=3,
        plugin=KV,
        cause="PLUGIN_MIN_PORT=5 is above PLUGIN_MAX_PORT=3",
        remedy="the host's min_port and max_port say so",
    )


async def test_a_port_range_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        await assert_start_fails(
            PLUGIN,
            ProcessExitedError,
            min_port=port,
            max_port=port,
            KV_TCP=1,
            plugin=KV,
            cause=f"every TCP port from {port} to {port} of 127.0.0.1 is in use",
            remedy="the host allows more by min_port and max_port",
        )
