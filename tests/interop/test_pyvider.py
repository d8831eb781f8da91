"""Another Python implementation of go-plugin, pyvider-rpcplugin, at the other end of ours."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin._compat import timeout
from tests.conftest import ROOT
from tests.fixtures import client
from tests.fixtures.logs import Keep, new_logger

from .kvplugin import COMMAND
from .peers import PEER_TIMEOUT, process_end, run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="pyvider-rpcplugin needs Python 3.11"),
    pytest.mark.timeout(60, func_only=True),
]

WANTED = ["pyvider-rpcplugin==0.5.5", f"protobuf=={version('protobuf')}"]
# Seconds for its installation, which downloads.
INSTALL_TIMEOUT = 120.0
NETWORK = pytest.mark.parametrize("network", ["unix", "tcp"])

SETTINGS = {"PLUGIN_MAGIC_COOKIE_KEY": "BASIC_PLUGIN", "PLUGIN_MAGIC_COOKIE_VALUE": "hello"}

# A plugin of the KV service, which listens on the network it is told.
PLUGIN = """
import asyncio, sys
import grpc, kv_pb2
from pyvider.rpcplugin import RPCPluginProtocol, plugin_server

class Handler:
    values = {}

    async def Get(self, request, context):
        if request.key not in self.values:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no key " + repr(request.key))
        return kv_pb2.GetResponse(value=self.values[request.key])

    async def Put(self, request, context):
        print("put", request.key, file=sys.stderr, flush=True)
        self.values[request.key] = request.value
        return kv_pb2.Empty()

class Protocol(RPCPluginProtocol):
    protocol_version = 1

    async def get_grpc_descriptors(self):
        return kv_pb2.DESCRIPTOR, "proto.KV"

    async def add_to_server(self, server, handler):
        unary = grpc.unary_unary_rpc_method_handler
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("proto.KV", {
            "Get": unary(handler.Get, kv_pb2.GetRequest.FromString,
                         kv_pb2.GetResponse.SerializeToString),
            "Put": unary(handler.Put, kv_pb2.PutRequest.FromString,
                         kv_pb2.Empty.SerializeToString),
        })])

async def main():
    await plugin_server(Protocol(), Handler(), transport=sys.argv[1]).serve()

asyncio.run(main())
"""

# A host that starts its plugin, says what came of its calls, and waits for the end of its stdin.
HOST = """
import asyncio, json, sys
import grpc, kv_pb2
from pyvider.rpcplugin import plugin_client, rpcplugin_config

async def main():
    rpcplugin_config.plugin_auto_mtls = False
    async with plugin_client(sys.argv[1:]) as client:
        def method(name, request, response):
            return client.grpc_channel.unary_unary(
                "/proto.KV/" + name, request.SerializeToString, response.FromString)
        put = method("Put", kv_pb2.PutRequest, kv_pb2.Empty)
        get = method("Get", kv_pb2.GetRequest, kv_pb2.GetResponse)
        await put(kv_pb2.PutRequest(key="a", value=b"one"))
        value = (await get(kv_pb2.GetRequest(key="a"))).value.decode()
        try:
            await get(kv_pb2.GetRequest(key="b"))
        except grpc.RpcError as error:
            code = error.code().name
        pid = client._process.pid
        print(json.dumps([value, code, client.target_endpoint, pid]), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def variables() -> Mapping[str, str]:
    """What a Python that imports pyvider needs in its environment.

    It is not installed beside this package: its protobuf and gRPC may be of other versions.
    """
    folder = ROOT / ".build" / f"pyvider-{sys.version_info.major}.{sys.version_info.minor}"
    made = folder / "made-with.txt"
    recipe = "\n".join(WANTED)
    if not made.exists() or made.read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [*pip, "--retries", "1", "--target", str(folder), *WANTED],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
        )
        if done.returncode:
            pytest.skip(f"{WANTED[0]} cannot be installed: {done.stderr.strip()[-500:]}")
        made.write_text(recipe)
    path = os.pathsep.join([str(folder), str(ROOT / "examples" / "kv")])
    return {**SETTINGS, "PYTHONPATH": path}


def theirs(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


@NETWORK
@pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
async def test_our_host_and_their_plugin(
    variables: Mapping[str, str], network: str, auto_mtls: bool
) -> None:
    log = Keep()
    async with client(
        theirs(PLUGIN, network), env=variables, auto_mtls=auto_mtls, stderr_logger=new_logger(log)
    ) as host:
        kv = host.dispense("kv")
        await kv.Put(kv_pb2.PutRequest(key="a", value=b"one"))
        assert (await kv.Get(kv_pb2.GetRequest(key="a"))).value == b"one"
        with pytest.raises(GRPCError) as caught:
            await kv.Get(kv_pb2.GetRequest(key="b"))
        assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no key 'b'")
        await host.ping()
        reattach = host.reattach_config()
        assert reattach is not None
        assert reattach.network == network
        assert (reattach.server_cert_pem is not None) == auto_mtls
    assert await host.wait_exited() == 0
    assert "put a" in log.messages


@NETWORK
async def test_their_host_and_our_plugin(
    variables: Mapping[str, str], network: str, tmp_path: Path
) -> None:
    settings = {"KV_TCP": "1"} if network == "tcp" else {}
    status, out, _ = await run(theirs(HOST, *COMMAND), cwd=tmp_path, env={**variables, **settings})
    assert status == 0
    value, code, endpoint, pid = json.loads(out)
    assert (value, code) == ("one", "NOT_FOUND")
    assert endpoint.startswith({"unix": "unix:/", "tcp": "127.0.0.1:"}[network])
    await process_end(pid)


async def test_our_plugin_ends_with_their_host(variables: Mapping[str, str]) -> None:
    host = await asyncio.create_subprocess_exec(
        *theirs(HOST, *COMMAND),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, **variables},
    )
    assert host.stdout is not None
    try:
        async with timeout(PEER_TIMEOUT):
            line = await host.stdout.readline()
    finally:
        host.kill()
        await host.communicate()
    *_, pid = json.loads(line)
    await process_end(pid)
