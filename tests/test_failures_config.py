"""Configurations that are refused before there is a plugin to name: docs/troubleshooting.md."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pyplugin import (
    Client,
    ClientConfig,
    LogForward,
    ReattachConfig,
    SecureConfig,
    Supervisor,
)
from tests.fixtures import HANDSHAKE, PLUGIN, client, config

REATTACH: dict[str, Any] = {"cmd": None, "reattach": ReattachConfig(1, "/s")}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cmd": None}, "exactly one of `cmd` (or `runner_func`) and `reattach` must be set"),
        ({"reattach": ReattachConfig(1, "/s")}, "exactly one of `cmd`"),
        ({"cmd": []}, "`cmd` is empty: it needs at least the plugin's program"),
        ({"cmd": "kv -v"}, "`cmd` is the string 'kv -v': it must be a list of words"),
        (
            {**REATTACH, "secure_config": SecureConfig(checksum=bytes(32))},
            "`secure_config` cannot be used with `reattach`: what runs already was not checked",
        ),
        (
            {"secure_config": SecureConfig(checksum=bytes(32)), "runner_func": print},
            "`secure_config` cannot be used with `runner_func`: the runner chooses what runs",
        ),
        (
            {**REATTACH, "grpc_broker_multiplex": True},
            "`grpc_broker_multiplex` cannot be used with `reattach`: a plugin accepts one",
        ),
        (
            {"log_sink": print, "log_forward": LogForward(2)},
            "only one of `log_sink` and `log_forward` can be set",
        ),
        ({"log_level": "verbose"}, "`log_level` is 'verbose'; it must be one of ['trace', "),
        ({"plugin_log_buffer_size": 1}, "`plugin_log_buffer_size` is 1; it must be at least 16"),
    ],
)
def test_a_configuration_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    settings = {"handshake_config": HANDSHAKE, "plugins": {}, "cmd": PLUGIN, **settings}
    with pytest.raises(ValueError, match=re.escape(message)):
        Client(ClientConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checksum": b""}, "`checksum` is empty: it must be the digest of the executable"),
        ({"checksum": bytes(31)}, "`checksum` has 31 bytes, a digest of sha256 has 32"),
        (
            {"checksum": bytes(4), "hash": "crc"},
            "`hash`: unsupported hash type crc; hashlib.algorithms_available are known",
        ),
    ],
)
def test_a_checksum_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        SecureConfig(**settings)


async def test_a_log_descriptor_that_is_closed() -> None:
    with pytest.raises(ValueError, match="`log_forward` names descriptor 987: Bad file descriptor"):
        await client(log_forward=LogForward(987)).start()


def test_a_supervisor_without_a_command() -> None:
    attached = config(None, reattach=ReattachConfig(1, "/s"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`cmd` must be set: a supervisor starts its plugin"):
        Supervisor(attached)


def test_a_reattach_configuration_that_lacks_a_field() -> None:
    with pytest.raises(KeyError, match="'Pid' is missing; Protocol, Pid and Addr with Network"):
        ReattachConfig.from_go({"Addr": {"Network": "unix", "String": "/s"}, "Protocol": "grpc"})
