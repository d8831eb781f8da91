"""TLS of one's own in place of AutoMTLS, on both sides."""

from __future__ import annotations

import contextlib
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import kv_grpc
import kv_pb2
import pytest
from grpclib.config import Configuration
from grpclib.exceptions import GRPCError

from pyplugin import ProcessExitedError, PyPluginError, TLSContexts, TLSError
from pyplugin._compat import timeout
from tests.fixtures import client
from tests.fixtures.certificates import context, make, tls
from tests.fixtures.lives import LIMIT, get
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    from pyplugin import Client

PLUGIN = str(Path(__file__).parent / "fixtures" / "own_tls.py")
MUX = pytest.mark.parametrize("mux", [False, True], ids=["listeners", "mux"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificates")
    make(path)
    return path


def of(
    folder: Path,
    host: str | ssl.SSLContext | TLSContexts = "pair",
    plugin: str = "pair",
    *,
    mux: bool = False,
) -> Client:
    """A client and a plugin with contexts of these kinds."""
    config = tls(folder, "host", host) if isinstance(host, str) else host
    command = [sys.executable, PLUGIN, str(folder), plugin]
    # AutoMTLS is asked for, and is off nevertheless.
    return client(
        command, tls_config=config, auto_mtls=True, grpc_broker_multiplex=mux, start_timeout=LIMIT
    )


@MUX
@pytest.mark.parametrize("kinds", [("client", "server"), ("pair", "pair")])
async def test_calls_and_an_end_over_own_tls(
    folder: Path, kinds: tuple[str, str], mux: bool
) -> None:
    async with timeout(LIMIT), of(folder, *kinds, mux=mux) as plugin:
        assert await get(plugin, f"bytes:{2**20}") == bytes(2**20)
        await plugin.ping()
        assert await get(plugin, "env:PLUGIN_CLIENT_CERT") == b""
        config = plugin.reattach_config()
        assert config is not None
        assert config.client_key_pem is None
    assert await plugin.wait_exited() == 0


@MUX
@pytest.mark.parametrize("kind", ["pair", "both"])
async def test_the_broker_over_own_tls_in_both_directions(
    folder: Path, kind: str, mux: bool
) -> None:
    async with timeout(LIMIT), of(folder, kind, kind, mux=mux) as plugin:
        service_id = int(await get(plugin, "accept"))
        async with await plugin.broker.dial(service_id) as channel:
            reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="bytes:3"))
            assert reply.value == bytes(3)
        mine = plugin.broker.next_id()
        store = KVServicer()
        store.values["from the plugin"] = b"from the host"
        server = await plugin.broker.accept_and_serve(mine, [store])
        assert await get(plugin, f"dial:{mine}") == b"from the host"
        server.close()
        await server.wait_closed()


@MUX
async def test_a_context_of_a_client_accepts_nothing_and_says_so(folder: Path, mux: bool) -> None:
    async with timeout(LIMIT), of(folder, "client", "server", mux=mux) as plugin:
        with pytest.raises(TLSError, match=r"no context to accept.*TLSContexts.*server's"):
            await plugin.broker.accept_and_serve(plugin.broker.next_id(), [KVServicer()])
        # Nor does the plugin dial with a server's.
        with pytest.raises(GRPCError, match=r"no context to open.*TLSContexts.*client's"):
            await get(plugin, "dial:1") if mux else await dial_announced(plugin)
        assert await get(plugin, "bytes:1") == b"\0"


async def dial_announced(plugin: Client) -> None:
    """Has the plugin dial what is announced, and served without TLS."""
    from pyplugin._generated.grpc_broker_pb2 import ConnInfo

    broker = plugin.broker
    await broker._send(ConnInfo(service_id=1, network="unix", address="/no/such/socket"))
    await get(plugin, "dial:1")


async def test_a_context_of_a_server_starts_no_plugin(folder: Path) -> None:
    lacking = r"plugin 'own_tls.py': .*no context to open.*a client's"
    for config in ("server", TLSContexts(server=context(folder, "host", "server"))):
        with pytest.raises(TLSError, match=lacking):
            await of(folder, config, "server").start()


async def test_a_context_of_a_client_serves_no_plugin_and_says_so(folder: Path) -> None:
    with pytest.raises(ProcessExitedError, match=r"cannot serve.*no context to accept.*server's"):
        await of(folder, "client", "client").start()


def test_a_context_for_the_other_direction_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"`client` is a context of .*_CLIENT"):
        TLSContexts(client=context(folder, "host", "server"))
    with pytest.raises(ValueError, match=r"`server` is a context of .*_SERVER"):
        TLSContexts(server=context(folder, "host", "client"))


async def test_a_plugin_without_tls_is_not_talked_to(folder: Path) -> None:
    with pytest.raises(TLSError, match=r"plugin 'plugin.py': mutual TLS with it failed|instead"):
        await client(tls_config=tls(folder, "host")).start()


async def test_a_host_without_tls_is_told_what_is_wrong(folder: Path) -> None:
    command = [sys.executable, PLUGIN, str(folder), "server"]
    with pytest.raises(PyPluginError, match=r"plugin 'own_tls.py'.*tls_config|did not answer"):
        await client(command).start()


async def test_automtls_with_a_plugin_of_own_tls_is_refused(folder: Path) -> None:
    command = [sys.executable, PLUGIN, str(folder), "server"]
    with pytest.raises(TLSError, match="offers no certificate"):
        await client(command, auto_mtls=True).start()


async def test_a_plugin_whose_certificate_is_not_trusted_is_refused(folder: Path) -> None:
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.load_cert_chain(folder / "host.pem", folder / "host.key")
    with pytest.raises(TLSError, match="CERTIFICATE_VERIFY_FAILED"):
        await of(folder, stranger, "server").start()


@MUX
async def test_the_name_in_the_plugins_certificate_may_be_another(folder: Path, mux: bool) -> None:
    command = [sys.executable, PLUGIN, str(folder), "server"]
    for name, error in (("localhost", ""), ("elsewhere", "elsewhere")):
        plugin = client(
            command,
            tls_config=context(folder, "host", "client"),
            grpc_options=Configuration(ssl_target_name_override=name),
            grpc_broker_multiplex=mux,
        )
        with pytest.raises(TLSError, match=error) if error else contextlib.nullcontext():
            await plugin.start()
        await plugin.kill()


async def test_a_host_without_a_certificate_is_refused(folder: Path) -> None:
    nobody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    nobody.load_verify_locations(folder / "ca.pem")
    with pytest.raises(TLSError, match=r"plugin 'own_tls\.py'"):
        await of(folder, nobody, "server").start()
