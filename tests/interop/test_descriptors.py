"""The services of package ``plugin`` are Go's to the last field, and in nobody's way."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.reflection.v1.reflection_grpc import ServerReflectionStub
from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

from pyplugin import Plugin
from pyplugin._compat import timeout
from pyplugin._generated._pool import POOL
from tests.fixtures import PLUGIN, client

from .peers import MARKS, PEER_TIMEOUT, GoHost

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from grpclib.client import Channel

    from pyplugin import GRPCBroker

    from .peers import Peers

pytestmark = MARKS

SERVICES = ["plugin.GRPCBroker", "plugin.GRPCController", "plugin.GRPCStdio"]


class Reflection(Plugin):
    """A plugin of which nothing but its descriptors is asked."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        raise NotImplementedError

    def stub(self, broker: GRPCBroker, channel: Channel) -> ServerReflectionStub:
        return ServerReflectionStub(channel)


def ours(service: str) -> FileDescriptorProto:
    file = FileDescriptorProto()
    POOL.FindFileContainingSymbol(service).CopyToProto(file)
    return file


def text(file: FileDescriptorProto) -> str:
    """All of a file that is on the wire or in generated code; its name and options are neither."""
    bare = FileDescriptorProto()
    bare.CopyFrom(file)
    for field in ("name", "options", "source_code_info"):
        bare.ClearField(field)
    return text_format.MessageToString(bare)


async def reported_to_python(command: Sequence[str]) -> dict[str, FileDescriptorProto]:
    """What a plugin says to our host of each service."""
    files = {}
    async with (
        timeout(PEER_TIMEOUT),
        client(command, plugins={"reflection": Reflection()}) as plugin,
        plugin.dispense("reflection").ServerReflectionInfo.open() as stream,
    ):
        for service in SERVICES:
            await stream.send_message(ServerReflectionRequest(file_containing_symbol=service))
            reply = await stream.recv_message()
            assert reply is not None
            for data in reply.file_descriptor_response.file_descriptor_proto:
                file = FileDescriptorProto.FromString(data)
                for defined in file.service:
                    files[f"{file.package}.{defined.name}"] = file
        await stream.end()
    return files


async def reported_to_go(
    peers: Peers, command: Sequence[str], version: str
) -> dict[str, FileDescriptorProto]:
    """What a plugin says to the Go host of each service."""
    async with GoHost(peers, command) as host:
        await host.start()
        answer = await host.do("reflect", version=version)
    return {
        service: FileDescriptorProto.FromString(base64.b64decode(data))
        for service, data in answer["files"].items()
    }


def test_the_texts_compared_are_whole() -> None:
    whole = "".join(text(ours(service)) for service in SERVICES)
    for name in (
        "ConnInfo",
        "service_id",
        "Knock",
        "ack",
        "Empty",
        "StdioData",
        "Channel",
        "STDERR",
        "StartStream",
        "Shutdown",
        "StreamStdio",
        ".google.protobuf.Empty",
        ".plugin.ConnInfo.Knock",
    ):
        assert f'"{name}"' in whole
    assert whole.count("client_streaming: true") == 1
    assert whole.count("server_streaming: true") == 2


async def test_gos_descriptors_are_ours(peers: Peers) -> None:
    theirs = await reported_to_python([peers.kvplugin])
    assert theirs.keys() == set(SERVICES)
    for service in SERVICES:
        assert text(theirs[service]) == text(ours(service))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_go_sees_in_a_python_plugin_what_it_sees_in_its_own(
    peers: Peers, version: str
) -> None:
    of_go = await reported_to_go(peers, [peers.kvplugin], version)
    of_python = await reported_to_go(peers, PLUGIN, version)
    assert of_go.keys() == of_python.keys() == set(SERVICES)
    for service in SERVICES:
        assert text(of_python[service]) == text(of_go[service]) == text(ours(service))


# Loads the files given on stdin into the default pool, as another port's generated modules do, and
# imports ours; then messages go from the one to the other and back.
BOTH = """
import base64, importlib, json, sys
from google.protobuf import descriptor_pool, empty_pb2, message_factory

NAMES = ["_pool", "empty_pb2", "grpc_broker_pb2", "grpc_broker_grpc", "grpc_controller_pb2",
         "grpc_controller_grpc", "grpc_stdio_pb2", "grpc_stdio_grpc"]

def ours():
    for name in NAMES:
        importlib.import_module("pyplugin._generated." + name)

def theirs():
    for data in json.load(sys.stdin):
        descriptor_pool.Default().AddSerializedFile(base64.b64decode(data))

for step in sys.argv[1].split(","):
    {"ours": ours, "theirs": theirs}[step]()

import pyplugin
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
descriptor = descriptor_pool.Default().FindMessageTypeByName("plugin.ConnInfo")
assert descriptor is not ConnInfo.DESCRIPTOR
Theirs = message_factory.GetMessageClass(descriptor)
one = ConnInfo(service_id=7, address="a", knock=ConnInfo.Knock(ack=True))
other = Theirs.FromString(one.SerializeToString())
assert (other.service_id, other.address, other.knock.ack) == (7, "a", True)
assert ConnInfo.FromString(other.SerializeToString()) == one
"""


def live_together(files: Iterable[FileDescriptorProto], order: str) -> None:
    encoded = [base64.b64encode(file.SerializeToString()).decode() for file in files]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BOTH, order],
        input=json.dumps(encoded),
        capture_output=True,
        text=True,
        timeout=PEER_TIMEOUT,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


ORDER = pytest.mark.parametrize("order", ["theirs,ours", "ours,theirs"])


@ORDER
@pytest.mark.parametrize("folder", ["", "internal/plugin/"])
def test_another_port_may_live_in_the_same_process(order: str, folder: str) -> None:
    files = [ours(service) for service in SERVICES]
    for number, file in enumerate(files):
        file.name = folder + file.name
        # Of other contents too, as those of another version are.
        file.message_type.add(name=f"Another{number}")
    live_together(files, order)


@ORDER
async def test_gos_descriptors_may_live_in_the_same_process(peers: Peers, order: str) -> None:
    theirs = await reported_to_python([peers.kvplugin])
    live_together([theirs[service] for service in SERVICES], order)
