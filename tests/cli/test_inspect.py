"""``pyplugin inspect``: the facts about a plugin."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import script

from . import COOKIE, PYTHON_KV, STREAMER, pyplugin

if TYPE_CHECKING:
    from tests.interop.peers import Peers

KV_METHODS = [
    {
        "name": "Get",
        "request": "proto.GetRequest",
        "response": "proto.GetResponse",
        "client_streaming": False,
        "server_streaming": False,
    },
    {
        "name": "Put",
        "request": "proto.PutRequest",
        "response": "proto.Empty",
        "client_streaming": False,
        "server_streaming": False,
    },
]
WAYS = pytest.mark.parametrize(
    "options",
    [[], ["--no-tls"], ["--mux"], ["--mux", "--no-tls"]],
    ids=lambda o: "".join(o) or "tls",
)


def check(facts: dict[str, Any], options: list[str]) -> None:
    """What is so of every KV plugin."""
    has_tls = "--no-tls" not in options
    handshake = facts["handshake"]
    assert facts["started"] is True
    assert facts["error"] is None
    assert facts["negotiated_version"] == handshake["app_protocol_version"] == 1
    assert handshake["core_protocol_version"] == 1
    assert (handshake["network"], handshake["protocol"]) == ("unix", "grpc")
    assert handshake["line"].startswith(f"1|1|unix|{handshake['address']}|grpc|")
    assert facts["multiplexed"] is ("--mux" in options)
    assert facts["health"] == "SERVING"
    assert facts["reflection"] == "v1"
    services = {service["name"]: service for service in facts["services"]}
    assert services["proto.KV"]["methods"] == KV_METHODS
    assert services["proto.KV"]["infrastructure"] is False
    assert services["plugin.GRPCBroker"]["infrastructure"] is True
    times = facts["start_seconds"]
    assert list(times) == ["process", "handshake", "connection", "health"]
    assert 0 < times["process"] < times["handshake"] < times["connection"] < times["health"]
    assert facts["tls"]["mode"] == ("mutual" if has_tls else "none")
    certificate = facts["tls"]["certificate"]
    if not has_tls:
        assert certificate is handshake["server_cert"] is None
        return
    der = base64.b64decode(handshake["server_cert"] + "==")
    assert certificate["sha256"] == hashlib.sha256(der).hexdigest()
    assert certificate["subject"] == certificate["issuer"] == "CN=localhost,O=HashiCorp"
    assert certificate["key"] == "EC secp521r1"
    assert certificate["not_before"] < certificate["not_after"]


@pytest.mark.parametrize("options", [[], ["--mux", "--no-tls"]], ids=["tls", "mux"])
def test_a_python_plugin(options: list[str]) -> None:
    done = pyplugin("inspect", "--json", *COOKIE, *options, plugin=PYTHON_KV)
    assert (done.status, done.err) == (0, "")
    check(done.json, options)


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
@WAYS
def test_a_go_plugin(peers: Peers, options: list[str]) -> None:
    done = pyplugin("inspect", "--json", *COOKIE, *options, plugin=[peers.kvplugin])
    assert (done.status, done.err) == (0, "")
    check(done.json, options)
    logged = [(line["level"], line["message"], line["fields"]) for line in done.json["log"]]
    address = done.json["handshake"]["address"]
    assert ("debug", "plugin address", {"address": address, "network": "unix"}) in logged


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
def test_a_go_plugin_for_people(peers: Peers) -> None:
    done = pyplugin("inspect", *COOKIE, plugin=[peers.kvplugin])
    assert (done.status, done.err) == (0, "")
    assert "\x1b" not in done.out
    shown = [" ".join(line.split()) for line in done.out.splitlines()]
    for line in (
        "version 1 (offered 0 to 99)",
        "TLS mutual, AutoMTLS",
        "key EC secp521r1",
        "health SERVING",
        "services by reflection v1",
        "proto.KV",
        "Get(proto.GetRequest) returns (proto.GetResponse)",
    ):
        assert line in shown
    assert any(line.endswith("plugin address") or " plugin address " in line for line in shown)


def test_streams_are_told_apart() -> None:
    done = pyplugin("inspect", *COOKIE, "--no-tls", plugin=STREAMER)
    assert done.status == 0
    assert "Read(proto.Read.Request) returns (stream proto.Read.ResponseChunk)" in done.out
    assert "Write(stream proto.Write.RequestChunk) returns (proto.Write.Response)" in done.out
    assert "Search(stream streaming.Word) returns (stream streaming.Places)" in done.out


def test_the_older_reflection_does_too() -> None:
    done = pyplugin("inspect", "--json", *COOKIE, "--no-tls", plugin=altered("v1.", "v0."))
    assert done.status == 0
    assert done.json["reflection"] == "v1alpha"
    assert "proto.KV" in {service["name"] for service in done.json["services"]}


def test_a_plugin_without_reflection_says_so() -> None:
    plugin = altered("reflection", "nothing")
    done = pyplugin("inspect", "--json", *COOKIE, "--no-tls", plugin=plugin)
    assert done.status == 0
    assert done.json["started"] is True
    assert done.json["reflection"] is done.json["services"] is None
    shown = pyplugin("inspect", *COOKIE, "--no-tls", plugin=plugin).out
    assert "not known: the plugin offers no reflection" in shown


def test_reflection_that_fails_is_told() -> None:
    plugin = altered("v1", "v1", "reflection.ReflectionServicer._answer = None\n")
    done = pyplugin("inspect", "--json", *COOKIE, "--no-tls", plugin=plugin)
    assert (done.status, done.json["started"], done.json["services"]) == (0, True, None)
    assert done.json["note"].startswith("reflection failed: UNKNOWN: ")
    called = pyplugin("call", *COOKIE, "--no-tls", "KV/Get", plugin=plugin)
    assert (called.status, called.out) == (1, "")
    assert "reflection failed: UNKNOWN: " in called.err


@pytest.mark.parametrize("words", [["--protocol-version", "3", "--protocol-version", "7"], []])
def test_versions_that_are_offered(words: list[str]) -> None:
    plugin = ("inspect", "--json", *COOKIE, "--no-tls", "--env", "KV_VERSIONS=2,3")
    done = pyplugin(*plugin, *words, plugin=PYTHON_KV)
    assert done.status == 0
    assert done.json["negotiated_version"] == 3
    assert done.json["offered_versions"] == ([3, 7] if words else [*range(100)])


# What does not start


def test_bytes_that_are_no_text_do_no_harm() -> None:
    plugin = script("import sys; sys.stdout.buffer.write(b'\\x1b[2J\\xff|\\n')")
    done = pyplugin("inspect", "--json", "--cookie", "A=B", plugin=plugin)
    assert done.json["handshake"] == {"line": "\x1b[2J\udcff|"}
    done = pyplugin("inspect", "--cookie", "A=B", plugin=plugin)
    assert (done.status, done.err) == (1, "")
    assert "handshake       \\x1b[2J\\udcff|\n" in done.out


# Its services are of the name NAME, and each of its files imports the next.
HOSTILE = """
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpclib.reflection.v1.reflection_pb2 import (
    FileDescriptorResponse, ListServiceResponse, ServerReflectionResponse, ServiceResponse
)
def answer(self, request, sent):
    if request.HasField("list_services"):
        services = ListServiceResponse(service=[ServiceResponse(name=NAME)])
        return ServerReflectionResponse(list_services_response=services)
    if NAME != "a.B":
        return reflection._error(reflection.Status.NOT_FOUND, "")
    number = int("0" + request.file_by_filename)
    file = FileDescriptorProto(name=str(number), dependency=[str(number + 1)])
    files = FileDescriptorResponse(file_descriptor_proto=[file.SerializeToString()])
    return ServerReflectionResponse(file_descriptor_response=files)
reflection.ReflectionServicer._answer = answer
"""


def test_names_of_services_are_shown_and_not_obeyed() -> None:
    name = "plugin.GRPC\x1b[2J"
    plugin = altered("v1", "v1", f"NAME = {name!r}{HOSTILE}")
    done = pyplugin("inspect", *COOKIE, "--no-tls", plugin=plugin)
    assert (done.status, done.err) == (0, "")
    assert "of go-plugin and gRPC: plugin.GRPC\\x1b[2J\n" in done.out


def test_files_that_import_each_other_without_end() -> None:
    plugin = altered("v1", "v1", f"NAME = 'a.B'{HOSTILE}")
    done = pyplugin("inspect", *COOKIE, "--no-tls", plugin=plugin)
    assert (done.status, done.err) == (0, "")
    assert "reflection failed: its files import each other more than 100 deep\n" in done.out


def test_no_common_version() -> None:
    done = pyplugin("inspect", "--json", *COOKIE, "--protocol-version", "9", plugin=PYTHON_KV)
    assert done.status == 1
    facts = done.json
    assert facts["started"] is False
    assert facts["handshake"]["app_protocol_version"] == 1
    assert facts["tls"]["mode"] == "mutual"
    assert list(facts["start_seconds"]) == ["process", "handshake"]
    assert facts["error"]["kind"] == "AppProtocolMismatch"
    assert "--protocol-version" in facts["error"]["advice"]


def test_a_wrong_cookie() -> None:
    done = pyplugin("inspect", "--json", "--cookie", "BASIC_PLUGIN=bye", plugin=PYTHON_KV)
    assert done.status == 1
    facts = done.json
    assert facts["handshake"] is None
    assert facts["error"]["kind"] == "ProcessExitedError"
    assert facts["error"]["exit_status"] == 1
    assert "BASIC_PLUGIN=bye" in facts["error"]["advice"]
    assert facts["log"][0]["message"].startswith("This binary is a plugin")


@pytest.mark.parametrize(
    ("plugin", "kind"),
    [
        (script("print('hello')"), "HandshakeError"),
        (script(""), "ProcessExitedError"),
        (["/no/such/program"], "PluginNotFound"),
    ],
    ids=["talks", "ends", "is not there"],
)
def test_what_is_no_plugin(plugin: list[str], kind: str) -> None:
    done = pyplugin("inspect", "--json", "--cookie", "A=B", plugin=plugin)
    assert done.status == 1
    assert done.json["error"]["kind"] == kind
    shown = pyplugin("inspect", "--cookie", "A=B", plugin=plugin)
    assert (shown.status, shown.err) == (1, "")
    assert "did not start" in shown.out


def altered(old: str, new: str, more: str = "") -> list[str]:
    """A KV plugin whose reflection has other names."""
    return script(
        "import sys\n"
        f"sys.path[:0] = {[PYTHON_KV[1].rpartition('/')[0]]!r}\n"
        "import pyplugin.serving.reflection as reflection\n"
        "names = reflection._SERVICES\n"
        f"reflection._SERVICES = tuple(name.replace({old!r}, {new!r}) for name in names)\n"
        f"{more}"
        "import plugin\n"
        "plugin.main()\n"
    )
