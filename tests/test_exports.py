from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import pyplugin

ROOT = Path(__file__).resolve().parents[1]

# What code written for the pure-Python port imports, and from where.
FROM_THE_PACKAGE = [
    "AppProtocolMismatch",
    "Client",
    "ClientConfig",
    "CoreProtocolMismatch",
    "CORE_PROTOCOL_VERSION",
    "GRPCBroker",
    "HandshakeConfig",
    "HandshakeError",
    "HandshakeLine",
    "MagicCookieMismatch",
    "NETWORK_TCP",
    "NETWORK_UNIX",
    "Plugin",
    "PluginSet",
    "ProcessExitedError",
    "PROTOCOL_GRPC",
    "PyPluginError",
    "ReattachConfig",
    "ServeConfig",
    "StartTimeout",
    "TLSError",
    "UnsupportedProtocol",
    "VersionedPlugins",
    "serve",
]
FROM_MODULES = {
    "broker": ["GRPCBroker"],
    "client": ["Client", "ClientConfig"],
    "controller": ["GRPCControllerServicer"],
    "cookie": ["validate_or_exit"],
    "errors": [
        "AppProtocolMismatch",
        "CoreProtocolMismatch",
        "HandshakeError",
        "MagicCookieMismatch",
        "ProcessExitedError",
        "PyPluginError",
        "StartTimeout",
        "TLSError",
        "UnsupportedProtocol",
    ],
    "handshake": ["HandshakeConfig", "HandshakeLine", "format_line", "parse_line"],
    "logging_bridge": ["emit"],
    "mtls": ["decode_handshake_cert", "encode_handshake_cert", "generate"],
    "plugin": ["Plugin", "PluginSet", "VersionedPlugins"],
    "reattach": ["ReattachConfig"],
    "server": ["ServeConfig", "serve"],
}
METHODS = {
    "Client": [
        "start",
        "dispense",
        "kill",
        "reattach_config",
        "broker",
        "negotiated_version",
        "pid",
        "__aenter__",
        "__aexit__",
    ],
    "GRPCBroker": ["next_id", "accept_and_serve", "dial", "close"],
    "Plugin": ["servicers", "stub"],
}


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("name", pyplugin.__all__)
def test_a_public_name_is_there_in_a_fresh_process_and_listed(name: str) -> None:
    run(f"from pyplugin import {name}")
    assert getattr(pyplugin, name) is getattr(pyplugin, name)
    assert name in dir(pyplugin)


def test_the_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(pyplugin.__file__).read_text())
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    seen = [
        alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted([*seen, "__version__"]) == sorted(pyplugin.__all__)


def test_a_star_import_gives_the_public_names() -> None:
    code = "before = {*globals(), 'before'}; from pyplugin import *; print(*{*globals()} - before)"
    assert sorted(run(code).split()) == sorted(pyplugin.__all__)


def test_names_are_listed_before_they_are_loaded() -> None:
    listed = run(
        "import pyplugin, sys; print(*dir(pyplugin)); assert 'pyplugin.client' not in sys.modules"
    )
    assert set(pyplugin.__all__) <= set(listed.split())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pyplugin' has no attribute 'nothing'"):
        _ = pyplugin.nothing
    with pytest.raises(ImportError, match="nothing"):
        exec("from pyplugin import nothing")


def test_the_version_is_cargos() -> None:
    match = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert match is not None
    assert pyplugin.__version__ == match[1]


# Frozen from the port


def test_the_package_has_the_names_of_the_port() -> None:
    assert set(FROM_THE_PACKAGE) <= set(pyplugin.__all__)


@pytest.mark.parametrize("module", FROM_MODULES)
def test_a_module_has_the_names_of_the_port(module: str) -> None:
    loaded = importlib.import_module(f"pyplugin.{module}")
    for name in FROM_MODULES[module]:
        assert hasattr(loaded, name), name
        if name in pyplugin.__all__:
            assert getattr(loaded, name) is getattr(pyplugin, name)


@pytest.mark.parametrize("name", METHODS)
def test_a_class_has_the_members_of_the_port(name: str) -> None:
    kind = getattr(pyplugin, name)
    assert [member for member in METHODS[name] if not hasattr(kind, member)] == []


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (
            pyplugin.HandshakeConfig,
            ["protocol_version", "magic_cookie_key", "magic_cookie_value"],
        ),
        (
            pyplugin.HandshakeLine,
            [
                "core_protocol_version",
                "app_protocol_version",
                "network",
                "address",
                "protocol",
                "server_cert",
                "multiplex_supported",
            ],
        ),
        (pyplugin.ServeConfig, ["handshake_config", "plugins"]),
        (pyplugin.ClientConfig, ["handshake_config", "plugins"]),
    ],
)
def test_fields_keep_their_order(config: Any, names: list[str]) -> None:
    assert [field.name for field in dataclasses.fields(config)][: len(names)] == names


@pytest.mark.parametrize("name", ["cmd", "auto_mtls"])
def test_a_client_config_takes_what_the_readme_gives_it(name: str) -> None:
    assert name in inspect.signature(pyplugin.ClientConfig).parameters


@pytest.mark.parametrize("name", ["force_tcp", "test_mode", "logger"])
def test_a_serve_config_takes_what_the_port_took(name: str) -> None:
    assert name in inspect.signature(pyplugin.ServeConfig).parameters


def test_the_constants_are_the_protocols() -> None:
    assert pyplugin.CORE_PROTOCOL_VERSION == 1
    assert (pyplugin.NETWORK_UNIX, pyplugin.NETWORK_TCP) == ("unix", "tcp")
    assert pyplugin.PROTOCOL_GRPC == "grpc"
