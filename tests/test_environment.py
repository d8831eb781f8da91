from __future__ import annotations

from typing import Any

import pytest

from pyplugin.environment import PluginEnvironment, host_environment
from pyplugin.handshake import HandshakeConfig

HANDSHAKE = HandshakeConfig(1, "COOKIE", "hello")


def environment(
    inherited: dict[str, str] | None = None, extra: dict[str, str] | None = None, **settings: Any
) -> dict[str, str]:
    defaults: dict[str, Any] = {
        "handshake": HANDSHAKE,
        "versions": [1],
        "ports": (10000, 25000),
        "socket_dir": None,
        "client_cert_pem": None,
    }
    return host_environment(inherited or {}, extra or {}, **{**defaults, **settings})


# The host's side


def test_a_plugin_is_told_cookie_versions_and_ports_and_nothing_else() -> None:
    assert environment() == {
        "COOKIE": "hello",
        "PLUGIN_PROTOCOL_VERSIONS": "1",
        "PLUGIN_MIN_PORT": "10000",
        "PLUGIN_MAX_PORT": "25000",
    }


def test_every_version_is_listed() -> None:
    listed = environment(versions={5, 1, 3})["PLUGIN_PROTOCOL_VERSIONS"].split(",")
    assert sorted(listed) == ["1", "3", "5"]


def test_a_certificate_is_handed_over_as_pem() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    assert environment(client_cert_pem=pem)["PLUGIN_CLIENT_CERT"] == pem.decode()


def test_what_the_user_adds_wins_over_what_is_inherited() -> None:
    found = environment({"A": "host", "B": "host"}, {"B": "user"})
    assert (found["A"], found["B"]) == ("host", "user")


def test_the_folder_for_sockets_is_handed_over_unless_the_user_says_another() -> None:
    inherited = {"PLUGIN_UNIX_SOCKET_DIR": "/outer"}
    extra = {"PLUGIN_UNIX_SOCKET_DIR": "/user"}
    assert environment(inherited, socket_dir="/ours")["PLUGIN_UNIX_SOCKET_DIR"] == "/ours"
    assert environment(inherited, extra, socket_dir="/ours")["PLUGIN_UNIX_SOCKET_DIR"] == "/user"


def test_the_cookie_and_the_versions_cannot_be_spoilt() -> None:
    spoilt = {"COOKIE": "bad", "PLUGIN_PROTOCOL_VERSIONS": "9", "PLUGIN_MIN_PORT": "1"}
    found = environment(spoilt, spoilt)
    assert {name: found[name] for name in spoilt} == {
        "COOKIE": "hello",
        "PLUGIN_PROTOCOL_VERSIONS": "1",
        "PLUGIN_MIN_PORT": "10000",
    }


@pytest.mark.parametrize("name", ["PLUGIN_CLIENT_CERT", "PLUGIN_MULTIPLEX_GRPC"])
def test_what_concerns_the_outer_connection_is_not_handed_on(name: str) -> None:
    assert name not in environment({name: "of the outer host"})


def test_the_mappings_given_stay_as_they_are() -> None:
    inherited, extra = {"PLUGIN_CLIENT_CERT": "outer"}, {"B": "user"}
    environment(inherited, extra, client_cert_pem=b"pem", socket_dir="/s")
    assert (inherited, extra) == ({"PLUGIN_CLIENT_CERT": "outer"}, {"B": "user"})


# The plugin's side


def test_without_variables_everything_has_its_default() -> None:
    found = PluginEnvironment.from_mapping({"HOME": "/home/ada"})
    assert found == PluginEnvironment()
    assert (found.versions, found.min_port, found.max_port) == ((), 0, 0)
    assert found.client_cert_pem is None
    assert found.socket_dir is None
    assert found.socket_group is None
    assert found.multiplex is None


def test_every_variable_is_read() -> None:
    assert PluginEnvironment.from_mapping(
        {
            "PLUGIN_PROTOCOL_VERSIONS": "3,1,2",
            "PLUGIN_CLIENT_CERT": "pem",
            "PLUGIN_MIN_PORT": "10000",
            "PLUGIN_MAX_PORT": "25000",
            "PLUGIN_UNIX_SOCKET_DIR": "/sockets",
            "PLUGIN_UNIX_SOCKET_GROUP": "staff",
            "PLUGIN_MULTIPLEX_GRPC": "false",
        }
    ) == PluginEnvironment(
        versions=(3, 1, 2),
        client_cert_pem="pem",
        min_port=10000,
        max_port=25000,
        socket_dir="/sockets",
        socket_group="staff",
        multiplex="false",
    )


def test_an_empty_variable_is_an_absent_one() -> None:
    names = ["PROTOCOL_VERSIONS", "CLIENT_CERT", "MIN_PORT", "MAX_PORT", "UNIX_SOCKET_DIR"]
    names += ["UNIX_SOCKET_GROUP", "MULTIPLEX_GRPC"]
    empty = {f"PLUGIN_{name}": "" for name in names}
    assert PluginEnvironment.from_mapping(empty) == PluginEnvironment()


@pytest.mark.parametrize("bad", ["x", "1.0", "0x2", " 2", "1_0", "٣"])
def test_a_version_that_go_cannot_read_is_passed_over_and_kept_for_a_warning(bad: str) -> None:
    found = PluginEnvironment.from_mapping({"PLUGIN_PROTOCOL_VERSIONS": f"1,{bad},-4,+5"})
    assert (found.versions, found.bad_versions) == ((1, -4, 5), (bad,))


@pytest.mark.parametrize("name", ["PLUGIN_MIN_PORT", "PLUGIN_MAX_PORT"])
@pytest.mark.parametrize("port", ["x", "-1", "65536", "1.5", " 80", "٣", "1_0"])
def test_a_bad_port_is_named(name: str, port: str) -> None:
    with pytest.raises(ValueError, match=name) as raised:
        PluginEnvironment.from_mapping({"PLUGIN_MAX_PORT": "65535", name: port})
    assert repr(port) in str(raised.value)


@pytest.mark.parametrize("ports", [{"PLUGIN_MAX_PORT": "2"}, {}])
def test_a_range_upside_down_is_refused(ports: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"PLUGIN_MIN_PORT=3 .*PLUGIN_MAX_PORT"):
        PluginEnvironment.from_mapping({"PLUGIN_MIN_PORT": "3", **ports})


def test_a_range_of_one_port_is_taken() -> None:
    found = PluginEnvironment.from_mapping({"PLUGIN_MIN_PORT": "65535", "PLUGIN_MAX_PORT": "65535"})
    assert (found.min_port, found.max_port) == (65535, 65535)


def test_what_the_host_writes_the_plugin_reads() -> None:
    written = environment(
        versions=[2, 4], ports=(5, 6), socket_dir="/sockets", client_cert_pem=b"pem"
    )
    assert PluginEnvironment.from_mapping(written) == PluginEnvironment(
        versions=(2, 4), client_cert_pem="pem", min_port=5, max_port=6, socket_dir="/sockets"
    )
