"""What else go-plugin's hosts do, with Go on the other side."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.exceptions import GRPCError

from pyplugin import (
    ChecksumMismatch,
    ProcessNotFound,
    ReattachConfig,
    SecureConfig,
    UnixSocketConfig,
    discover,
)
from pyplugin._compat import timeout
from pyplugin.constants import ENV_ORPHAN_GUARD
from tests.fixtures import PLUGIN, client
from tests.fixtures.certificates import make, tls
from tests.fixtures.lives import attach, changed, ends, get, guards
from tests.fixtures.plugin import KVServicer
from tests.test_client_orphans import all_end, hosting

from .kvplugin import COMMAND
from .peers import FOLDER, MARKS, PEER_TIMEOUT, GoHost, process_end

if TYPE_CHECKING:
    from .peers import Peers

pytestmark = MARKS

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
GO_HOST = pytest.mark.asyncio(loop_factories=["asyncio"])


@TLS
async def test_the_state_of_a_go_plugin(peers: Peers, auto_mtls: bool) -> None:
    async with timeout(PEER_TIMEOUT), client([peers.kvplugin], auto_mtls=auto_mtls) as plugin:
        await plugin.ping()
        assert (plugin.id, plugin.protocol, plugin.exited) == (str(plugin.pid), "grpc", False)
    assert await plugin.wait_exited() == 0


async def test_only_the_right_go_plugin_is_run(peers: Peers) -> None:
    right = hashlib.sha256(Path(peers.kvplugin).read_bytes()).digest()
    async with client([peers.kvplugin], secure_config=SecureConfig(checksum=right)) as plugin:
        await plugin.ping()
    with pytest.raises(ChecksumMismatch, match="plugin 'plugin-go-grpc'"):
        await client([peers.grpc_plugin], secure_config=SecureConfig(checksum=right)).start()


async def test_the_sockets_of_a_go_plugin(peers: Peers, tmp_path: Path) -> None:
    sockets = UnixSocketConfig(group=str(os.getgid()), temp_dir=str(tmp_path))
    async with client([peers.kvplugin], unix_socket_config=sockets) as plugin:
        config = plugin.reattach_config()
        assert config is not None
        path = Path(config.addr)
        assert path.parent.parent == tmp_path
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert path.stat().st_gid == os.getgid()
    assert list(tmp_path.iterdir()) == []


def test_go_plugins_are_discovered(peers: Peers) -> None:
    assert discover("kv*", FOLDER) == sorted(
        path for path in (peers.kvplugin, peers.negotiated_plugin)
    )


@GO_HOST
async def test_a_plugin_of_a_go_host_is_attached_to_and_ended(peers: Peers) -> None:
    async with GoHost(peers, [peers.kvplugin]) as host:
        plugin = await host.start()
        config = ReattachConfig.from_go(
            json.loads(
                json.dumps(
                    {
                        "Protocol": "grpc",
                        "ProtocolVersion": plugin["version"],
                        "Pid": plugin["pid"],
                        "Test": False,
                        "Addr": {"Network": plugin["network"], "String": plugin["address"]},
                    }
                )
            )
        )
        async with timeout(PEER_TIMEOUT):
            async with attach(changed(config, test=True)) as second:
                assert await get(second, "bytes:1") == b"\0"
            await host.put("k", b"v")
            async with attach(config) as second:
                assert await get(second, "k") == b"v"
                await second.ping()
            await process_end(plugin["pid"])
            with pytest.raises(ProcessNotFound):
                await attach(config).start()


# Orphans


@pytest.mark.parametrize("wrapped", [False, True], ids=["plugin", "wrapper"])
@TLS
async def test_a_go_plugin_ends_with_its_host(peers: Peers, auto_mtls: bool, wrapped: bool) -> None:
    command = ["sh", "-c", f"{peers.kvplugin}; true"] if wrapped else [peers.kvplugin]
    async with hosting(command, auto_mtls=auto_mtls) as host:
        pids = host.plugins
        assert len(pids) == (2 if wrapped else 1)
        shells = guards(host.process.pid)
        host.process.kill()
        await all_end(pids, 10)
        await all_end(shells)
        assert not Path(host.plugin["addr"]).parent.exists()


async def test_a_go_plugin_ends_with_a_host_that_forgets_it(peers: Peers) -> None:
    async with hosting([peers.kvplugin]) as host:
        pids = host.plugins
        await host.do("return")
        assert await host.process.wait() == 0
        await all_end(pids, 10)


@TLS
async def test_a_go_plugin_outlives_its_host_and_is_attached_to(
    peers: Peers, auto_mtls: bool
) -> None:
    async with hosting([peers.kvplugin], orphan_guard=False, auto_mtls=auto_mtls) as host:
        pids = host.plugins
        host.process.kill()
        await host.process.wait()
        async with timeout(PEER_TIMEOUT), attach(host.reattach_config()) as plugin:
            # More than the pipe of its log holds. By a pipe that is broken it would end.
            for _ in range(50):
                assert await get(plugin, "log:kinds") == b"kinds"
            assert await get(plugin, "bytes:1") == b"\0"
        await all_end(pids)
        assert not Path(host.plugin["addr"]).parent.exists()


@GO_HOST
@pytest.mark.parametrize("options", [(), ("-mtls",), ("-mux",)], ids=["plain", "mtls", "mux"])
async def test_a_python_plugin_ends_with_its_go_host(peers: Peers, options: tuple[str]) -> None:
    async with GoHost(peers, PLUGIN, *options) as host:
        plugin = await host.start()
        await host.die()
        await ends(plugin["pid"], 10)
    assert not Path(plugin["address"]).exists()


@GO_HOST
async def test_a_python_plugin_outlives_its_go_host_whose_pipes_are_broken(peers: Peers) -> None:
    async with GoHost(peers, PLUGIN, env={ENV_ORPHAN_GUARD: "0"}) as host:
        plugin = await host.start()
        await host.die()
        config = ReattachConfig(plugin["pid"], plugin["address"])
        async with timeout(PEER_TIMEOUT), attach(config) as second:
            for _ in range(20):
                with pytest.raises(GRPCError, match="RuntimeError: for the log"):
                    await get(second, "raise:for the log")
            assert await get(second, "print:200000") == b"print"
            await second.ping()
        await process_end(plugin["pid"])


# TLS of one's own


@pytest.mark.parametrize("kind", ["client", "both", "pair"])
@pytest.mark.parametrize("mux", [False, True], ids=["unix", "mux"])
async def test_a_go_plugin_with_tls_of_its_own(
    peers: Peers, tmp_path: Path, kind: str, mux: bool
) -> None:
    make(tmp_path)
    settings: dict[str, Any] = {
        "tls_config": tls(tmp_path, "host", kind),
        "grpc_broker_multiplex": mux,
        "KV_TLS": tmp_path,
    }
    async with timeout(PEER_TIMEOUT), client([peers.kvplugin], **settings) as plugin:
        assert await get(plugin, "bytes:100000") == bytes(100_000)
        await plugin.ping()
        service_id = int(await get(plugin, "accept"))
        async with await plugin.broker.dial(service_id) as channel:
            reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="numbered:8"))
            assert reply.value == b"n000000\n"
        if kind != "client":
            server = await plugin.broker.accept_and_serve(700, [KVServicer()])
            assert await get(plugin, "dial:700:bytes:3") == bytes(3)
            server.close()
            await server.wait_closed()
    with pytest.raises(Exception, match="plugin 'kvplugin'"):
        await client([peers.kvplugin], KV_TLS=tmp_path).start()


@GO_HOST
@pytest.mark.parametrize("options", [(), ("-mux",)], ids=["unix", "mux"])
async def test_a_go_host_with_tls_of_its_own(
    peers: Peers, tmp_path: Path, options: tuple[str]
) -> None:
    make(tmp_path)
    variables = {"KV_TLS": str(tmp_path)}
    async with GoHost(peers, COMMAND, "-tls", str(tmp_path), *options, env=variables) as host:
        await host.start()
        await host.put("k", b"v")
        assert await host.get("k") == b"v"
        service_id = int(await host.get("accept"))
        await host.do("dial", id=service_id)
        assert await host.get("numbered:8", id=service_id) == b"n000000\n"
        answer = await host.do("accept", id=700, key="dial:700:numbered:8")
        assert base64.b64decode(answer["value"]) == b"n000000\n"
