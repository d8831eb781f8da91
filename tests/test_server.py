"""A plugin's process from outside: what it writes, where it listens, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from pyplugin import HandshakeConfig, HandshakeLine, Plugin, ServeConfig, mtls, serve
from pyplugin._generated.grpc_controller_grpc import GRPCControllerStub
from pyplugin._generated.grpc_controller_pb2 import Empty
from pyplugin.errors import TLSError
from pyplugin.handshake import parse_line
from pyplugin.net.grpc.channel import PluginChannel
from pyplugin.net.tasks import TaskScope
from pyplugin.net.transport import Address
from tests.fixtures import PLUGIN, client

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from grpclib.client import Channel

COOKIE = {"BASIC_PLUGIN": "hello"}


@contextlib.asynccontextmanager
async def process(**variables: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The plugin's process, with pipes, ended afterwards whatever it does."""
    child = await asyncio.create_subprocess_exec(
        *PLUGIN,
        env={**os.environ, **COOKIE, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.communicate(), 30)


@contextlib.asynccontextmanager
async def plugin(**variables: str) -> AsyncIterator[tuple[int, HandshakeLine]]:
    """A plugin that has written its handshake: its pid and the line."""
    async with process(**variables) as child:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), 30)
        assert line.endswith(b"\n")
        yield child.pid, parse_line(line.decode())


@contextlib.asynccontextmanager
async def channel(line: HandshakeLine, tls: ssl.SSLContext | None = None) -> AsyncIterator[Any]:
    tasks = TaskScope("test", logging.getLogger("tests"))
    made = PluginChannel(Address(line.network, line.address), tls=tls, tasks=tasks)
    try:
        yield made
    finally:
        made.close()
        await made.wait_closed()
        await tasks.aclose()


async def shut_down(connected: Channel) -> None:
    """Calls Shutdown. A plugin may be gone before its answer is read: that is an answer too."""
    with contextlib.suppress(GRPCError):
        await GRPCControllerStub(connected).Shutdown(Empty())


async def outcome(**variables: str) -> tuple[int | None, bytes, str]:
    """Exit status, stdout and stderr of a plugin that ends by itself."""
    async with process(**variables) as child:
        out, err = await asyncio.wait_for(child.communicate(), 30)
    return child.returncode, out, err.decode()


async def test_a_plugin_started_by_hand_explains_itself() -> None:
    status, out, err = await outcome(BASIC_PLUGIN="")
    assert (status, out) == (1, b"")
    assert "is a plugin" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PLUGIN_UNIX_SOCKET_DIR": "/no/such/folder"}, "'/no/such/folder'"),
        ({"PLUGIN_UNIX_SOCKET_GROUP": "no-such-group"}, "'no-such-group'"),
        ({"PLUGIN_MIN_PORT": "many"}, "PLUGIN_MIN_PORT"),
        ({"PLUGIN_CLIENT_CERT": "no certificate"}, "the peer's certificate cannot be read"),
    ],
)
async def test_a_plugin_that_cannot_serve_says_why(variables: dict[str, str], message: str) -> None:
    status, out, err = await outcome(**variables)
    assert (status, out) == (1, b"")
    entry = json.loads(err)
    assert entry["@level"] == "error"
    assert message in entry["@message"]


async def test_the_socket_is_the_owners_and_goes_with_the_plugin(temporary_folder: Path) -> None:
    async with plugin() as (_, line):
        path = Path(line.address)
        assert (line.network, path.parent) == ("unix", temporary_folder)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


async def test_a_group_may_be_let_in() -> None:
    async with plugin(PLUGIN_UNIX_SOCKET_GROUP=str(os.getgid())) as (_, line):
        status = Path(line.address).stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, os.getgid())


async def test_a_folder_too_long_for_sockets_is_not_used(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    async with plugin(PLUGIN_UNIX_SOCKET_DIR=str(folder)) as (_, line):
        path = Path(line.address)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        async with channel(line) as connected:
            await connected.connect()
    assert not path.parent.exists()


async def test_a_tcp_port_is_in_the_hosts_range() -> None:
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for _ in range(3):
            _, line = await stack.enter_async_context(
                plugin(KV_TCP="1", PLUGIN_MIN_PORT="21370", PLUGIN_MAX_PORT="21390")
            )
            ports.append(Address(line.network, line.address).host_and_port()[1])
    assert len(set(ports)) == 3
    assert all(21370 <= port <= 21390 for port in ports)


@pytest.mark.parametrize(("asked", "seventh"), [(None, None), ("true", "true"), ("0", "true")])
async def test_the_seventh_part_is_for_hosts_that_ask(
    asked: str | None, seventh: str | None
) -> None:
    async with process(**({"PLUGIN_MULTIPLEX_GRPC": asked} if asked else {})) as child:
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), 30)
    parts = line.decode().strip().split("|")
    assert parts[6:] == ([seventh] if seventh else [])
    assert parts[4:6] == ["grpc", ""]


@pytest.mark.parametrize(
    ("host", "chosen"), [("1,2", 2), ("2,1", 2), ("3,2,x", 2), ("9", 2), ("", 2), ("5,7,2", 5)]
)
async def test_the_version_is_the_highest_common_one(host: str, chosen: int) -> None:
    async with plugin(KV_VERSIONS="5,2,4", PLUGIN_PROTOCOL_VERSIONS=host) as (_, line):
        assert line.app_protocol_version == chosen


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_sigterm_ends_a_plugin_and_sigint_does_not(number: signal.Signals) -> None:
    async with process() as child:
        assert child.stdout is not None
        line = parse_line((await asyncio.wait_for(child.stdout.readline(), 30)).decode())
        child.send_signal(number)
        if number is signal.SIGINT:
            async with channel(line) as connected:
                await HealthStub(connected).Check(HealthCheckRequest(service="plugin"))
            child.terminate()
        assert await asyncio.wait_for(child.wait(), 30) == 0
        assert not Path(line.address).exists()


@pytest.mark.parametrize("way", ["shutdown", "sigterm"])
@pytest.mark.parametrize(
    "stuck",
    [
        "while True:\n  try: await asyncio.sleep(60)\n  except asyncio.CancelledError: pass",
        "await asyncio.to_thread(time.sleep, 60)",
    ],
    ids=["task", "thread"],
)
async def test_a_handler_that_does_not_end_keeps_no_plugin_alive(way: str, stuck: str) -> None:
    code = f"""
import asyncio, sys, time
sys.path.insert(0, {str(Path(PLUGIN[1]).parent)!r})
import plugin
async def do(self, name, argument):
 {stuck}
plugin.KVServicer._do = do
plugin.main()
"""
    async with client([sys.executable, "-c", code]) as started:
        assert started._runner is not None
        async with started.dispense("kv").Get.open() as stream:
            await stream.send_message(kv_pb2.GetRequest(key="stuck"))
            if way == "sigterm":
                os.kill(started.pid or 0, signal.SIGTERM)
            else:
                assert started._channel is not None
                await shut_down(started._channel)
            assert await started._runner.wait(30)
            with pytest.raises(GRPCError):
                await stream.recv_message()
        assert started._runner.exit_code == 0


async def test_a_plugin_that_cannot_tell_its_address_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "a|b"
    folder.mkdir()
    status, out, err = await outcome(PLUGIN_UNIX_SOCKET_DIR=str(folder))
    assert (status, out) == (1, b"")
    assert "part 4 of the handshake" in json.loads(err)["@message"]
    assert list(folder.iterdir()) == []


async def test_a_host_that_is_gone_before_the_handshake() -> None:
    read, write = os.pipe()
    os.close(read)
    child = await asyncio.create_subprocess_exec(
        *PLUGIN, env={**os.environ, **COOKIE}, stdout=write, stderr=asyncio.subprocess.PIPE
    )
    os.close(write)
    _, err = await asyncio.wait_for(child.communicate(), 30)
    assert child.returncode == 1
    assert "Broken pipe" in json.loads(err)["@message"]


async def test_only_the_host_of_the_certificate_is_let_in() -> None:
    host, stranger = mtls.generate(), mtls.generate()
    async with plugin(PLUGIN_CLIENT_CERT=host.cert_pem.decode()) as (_, line):
        peer = mtls.der_to_pem(mtls.decode_handshake_cert(line.server_cert))
        for cert, is_let_in in ((host, True), (stranger, False)):
            identity = mtls.Identity(cert.cert_pem, cert.key_pem, peer)
            async with channel(line, identity.client_context) as connected:
                check = HealthStub(connected).Check(HealthCheckRequest(service="plugin"))
                with contextlib.nullcontext() if is_let_in else pytest.raises(GRPCError):
                    await check
        async with channel(line) as insecure:
            with pytest.raises(GRPCError):
                await HealthStub(insecure).Check(HealthCheckRequest(service="plugin"))


async def test_health_is_gos() -> None:
    async with plugin() as (_, line), channel(line) as connected:
        health = HealthStub(connected)
        for service in ("", "plugin"):
            reply = await health.Check(HealthCheckRequest(service=service))
            assert reply.status == HealthCheckResponse.SERVING
        with pytest.raises(GRPCError) as raised:
            await health.Check(HealthCheckRequest(service="other"))
        assert (raised.value.status, raised.value.message) == (
            Status.NOT_FOUND,
            "unknown service",
        )
        for service, status in (("plugin", "SERVING"), ("other", "SERVICE_UNKNOWN")):
            async with health.Watch.open() as stream:
                await stream.send_message(HealthCheckRequest(service=service), end=True)
                first = await stream.recv_message()
                assert first is not None
                assert HealthCheckResponse.ServingStatus.Name(first.status) == status
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.recv_message(), 0.05)
                await stream.cancel()


async def reflect(connected: Any, **request: Any) -> Any:
    async with ServerReflectionStub(connected).ServerReflectionInfo.open() as stream:
        await stream.send_message(ServerReflectionRequest(**request), end=True)
        return await stream.recv_message()


async def test_reflection_lists_and_describes_every_service() -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    async with plugin() as (_, line), channel(line) as connected:
        reply = await reflect(connected, list_services="*")
        assert [service.name for service in reply.list_services_response.service] == [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "plugin.GRPCBroker",
            "plugin.GRPCController",
            "plugin.GRPCStdio",
            "proto.KV",
        ]
        for symbol in ("plugin.GRPCStdio", "plugin.GRPCStdio.StreamStdio", "plugin.StdioData"):
            reply = await reflect(connected, file_containing_symbol=symbol)
            files = [
                FileDescriptorProto.FromString(data)
                for data in reply.file_descriptor_response.file_descriptor_proto
            ]
            assert [file.name for file in files] == [
                "grpc_stdio.proto",
                "google/protobuf/empty.proto",
            ]
        reply = await reflect(connected, file_by_filename="kv.proto")
        assert len(reply.file_descriptor_response.file_descriptor_proto) == 1
        for missing in ("no.Such", "nothing"):
            reply = await reflect(connected, file_containing_symbol=missing)
            assert reply.error_response.error_code == Status.NOT_FOUND.value


async def test_what_a_program_prints_first_does_not_spoil_the_handshake() -> None:
    code = (
        f"import runpy, sys; print('hello from the author'); sys.path.insert(0, '');"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')"
    )
    async with client([sys.executable, "-c", code], PYTHONUNBUFFERED="") as started:
        reply = await started.dispense("kv").Get(kv_pb2.GetRequest(key="bytes:1"))
        assert reply.value == b"\0"


async def test_a_logger_of_the_program_is_used_as_it_is() -> None:
    code = (
        "import logging, runpy; logging.basicConfig(format='mine: %(message)s');"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')"
    )
    async with client([sys.executable, "-c", code]) as started:
        with pytest.raises(GRPCError):
            await started.dispense("kv").Get(kv_pb2.GetRequest(key="raise:x"))
    assert started._stderr is not None
    assert started._stderr.tail[0] == b"mine: /proto.KV/Get raised"


def test_a_plugin_must_be_a_plugin() -> None:
    config = ServeConfig(
        handshake_config=HandshakeConfig(1, "K", "V"),
        plugins={"kv": object()},  # type: ignore[arg-type]
        test_mode=True,
    )
    with pytest.raises(TypeError, match="'kv' must be an instance of"):
        serve(config)


async def test_test_mode_serves_beside_the_test(temporary_folder: Path) -> None:
    loop, is_listening = asyncio.get_running_loop(), asyncio.Event()

    class KV(Plugin):
        def servicers(self, broker: Any) -> list[Any]:
            loop.call_soon_threadsafe(is_listening.set)
            return []

        def stub(self, broker: Any, channel: Any) -> Any:
            raise NotImplementedError

    config = ServeConfig(
        handshake_config=HandshakeConfig(1, "K", "V"), plugins={"kv": KV()}, test_mode=True
    )
    before = set(temporary_folder.iterdir())
    serving = asyncio.ensure_future(asyncio.to_thread(serve, config))
    await asyncio.wait_for(is_listening.wait(), 30)
    (path,) = set(temporary_folder.iterdir()) - before
    async with channel(HandshakeLine(1, 1, "unix", str(path), "grpc")) as connected:
        await shut_down(connected)
    await asyncio.wait_for(serving, 30)


def test_a_bad_certificate_is_a_tls_error() -> None:
    with pytest.raises(TLSError):
        _ = mtls.Identity(b"", b"", b"").server_context


async def test_an_unknown_method_is_unimplemented() -> None:
    async with plugin() as (_, line), channel(line) as connected:
        other = UnaryUnaryMethod(
            connected, "/proto.KV/Other", kv_pb2.GetRequest, kv_pb2.GetResponse
        )
        with pytest.raises(GRPCError, match="unknown method /proto") as raised:
            await other(kv_pb2.GetRequest())
    assert raised.value.status is Status.UNIMPLEMENTED
