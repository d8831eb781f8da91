"""Attaching to a plugin that another host started, and ending it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import kv_pb2
import pytest

from pyplugin import (
    AppProtocolMismatch,
    ProcessNotFound,
    ReattachConfig,
    ReattachError,
    TLSError,
)
from pyplugin._compat import timeout
from pyplugin.host.process import process_start
from tests.fixtures import KVPlugin, client, is_alive
from tests.fixtures.lives import LIMIT, attach, changed, dead_pid, get

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])


@pytest.fixture
def has_pidfd(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the system has process descriptors, as a parameter."""
    if not request.param:
        monkeypatch.delattr(os, "pidfd_open")


EACH_WATCH = pytest.mark.parametrize(
    "has_pidfd", [True, False], ids=["pidfd", "polled"], indirect=True
)


# Processes that are not there


@EACH_WATCH
async def test_a_process_that_has_ended_is_not_found_at_once(has_pidfd: None) -> None:
    pid = dead_pid()
    plugin = attach(ReattachConfig(pid=pid, addr="/no/such/socket"), start_timeout=3600)
    async with timeout(LIMIT):
        with pytest.raises(ProcessNotFound, match=f"no process has the id {pid}.*start it anew"):
            await plugin.start()
    await plugin.kill()


@EACH_WATCH
async def test_an_id_that_no_process_can_have(has_pidfd: None) -> None:
    with pytest.raises(ProcessNotFound, match="no process has the id 1099511627776"):
        await attach(ReattachConfig(pid=2**40, addr="/no/such/socket")).start()


async def test_a_process_that_nobody_has_reaped_has_ended() -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 -- at once
    try:
        with pytest.raises(ProcessNotFound):
            await attach(ReattachConfig(pid=process.pid, addr="/no/such/socket")).start()
    finally:
        process.wait()


@EACH_WATCH
async def test_another_process_with_the_id_is_left_alone(has_pidfd: None) -> None:
    async with client() as first:
        config = first.reattach_config()
        assert config is not None
        assert config.process_start is not None
        assert config.process_start == process_start(config.pid)
        other = attach(changed(config, process_start=config.process_start - 1))
        async with timeout(LIMIT):
            with pytest.raises(ProcessNotFound, match="another process has the id"):
                await other.start()
            await other.kill()
        assert await get(first, "bytes:1") == b"\0"


@TLS
async def test_an_attach_that_fails_leaves_the_process_alive(auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as first, timeout(LIMIT):
        config = first.reattach_config()
        nowhere = attach(changed(config, addr="/no/such/socket"))
        with pytest.raises(ReattachError, match="nothing listens"):
            await nowhere.start()
        await nowhere.kill()
        with pytest.raises(AppProtocolMismatch):
            await attach(changed(config, protocol_version=9)).start()
        assert await get(first, "bytes:1") == b"\0"


async def test_an_attach_with_another_key_leaves_the_process_alive() -> None:
    async with client(auto_mtls=True) as first, client(auto_mtls=True) as other, timeout(LIMIT):
        config, stranger = first.reattach_config(), other.reattach_config()
        assert stranger is not None
        keys = {
            "client_cert_pem": stranger.client_cert_pem,
            "client_key_pem": stranger.client_key_pem,
        }
        with pytest.raises(TLSError):
            await attach(changed(config, **keys)).start()
        with pytest.raises(TLSError):
            await attach(changed(config, server_cert_pem=stranger.server_cert_pem)).start()
        assert await get(first, "bytes:1") == b"\0"


# Versions, forms


@TLS
async def test_the_negotiated_version_is_attached_to(auto_mtls: bool) -> None:
    plugins: dict[int, Any] = {3: {"old": KVPlugin()}, 5: {"kv": KVPlugin()}}
    async with (
        client(plugins=plugins, auto_mtls=auto_mtls, KV_VERSIONS="3,5") as first,
        attach(first.reattach_config(), plugins=plugins) as second,
    ):
        assert second.negotiated_version == 5
        assert await get(second, "bytes:1") == b"\0"
        with pytest.raises(KeyError):
            second.dispense("old")


async def test_gos_field_names_there_and_back() -> None:
    async with client() as first:
        config = first.reattach_config()
        assert config is not None
        fields = config.to_go()
        assert fields == {
            "Protocol": "grpc",
            "ProtocolVersion": 1,
            "Pid": first.pid,
            "Test": False,
            "Addr": {"Network": "unix", "String": config.addr},
        }
        assert ReattachConfig.from_go(fields) == changed(config, process_start=None)
        async with attach(ReattachConfig.from_go({**fields, "Test": True})) as second:
            assert await get(second, "bytes:1") == b"\0"


def test_a_field_of_gos_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="Pid"):
        ReattachConfig.from_go({"Protocol": "grpc"})


# The end


@TLS
@EACH_WATCH
async def test_kill_ends_what_was_attached_to(has_pidfd: None, auto_mtls: bool) -> None:
    async with client(auto_mtls=auto_mtls) as first, timeout(LIMIT):
        async with attach(first.reattach_config()) as second:
            await second.dispense("kv").Put(kv_pb2.PutRequest(key="k", value=b"v"))
            assert await get(first, "k") == b"v"
        assert await first.wait_exited() == 0


@EACH_WATCH
@pytest.mark.parametrize("stubborn", [False, True], ids=["sigterm", "sigkill"])
async def test_kill_ends_by_force_what_does_not_listen(
    has_pidfd: None, stubborn: bool, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {
        "KV_IGNORE_SHUTDOWN": 1,
        **({"KV_IGNORE_SIGTERM": 1} if stubborn else {}),
    }
    async with client(**settings) as first, timeout(LIMIT):
        async with attach(first.reattach_config(), kill_timeout=0.2 if stubborn else 2):
            pass
        status = await first.wait_exited()
    assert "sending SIGTERM" in caplog.text
    assert ("sending SIGKILL" in caplog.text) == stubborn
    assert (status == -9) == stubborn


async def test_kill_after_attach_ends_a_wrapper_and_its_plugin() -> None:
    shell = ["sh", "-c", f"{sys.executable} {Path(__file__).parent}/fixtures/plugin.py; true"]
    stubborn: dict[str, Any] = {"KV_IGNORE_SHUTDOWN": 1, "KV_IGNORE_SIGTERM": 1}
    async with client(shell, **stubborn) as first, timeout(LIMIT):
        async with attach(first.reattach_config(), kill_timeout=0.2):
            pass
        await first.wait_exited()
    # The check for leaks sees the plugin, as its socket would be left.
    config = first.reattach_config()
    assert config is not None
    assert not Path(config.addr).exists()


async def test_a_plugin_under_test_is_left_alone() -> None:
    async with client() as first:
        async with attach(changed(first.reattach_config(), test=True)) as second:
            assert second.pid == first.pid
        assert first.pid is not None
        assert is_alive(first.pid)
        assert await get(first, "bytes:1") == b"\0"


async def test_an_attached_plugin_that_has_ended_is_killed_quietly(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        timeout(LIMIT),
        client() as first,
        attach(first.reattach_config(), kill_timeout=3600) as second,
    ):
        await first.kill()
        await second.wait_exited()
    assert "SIGTERM" not in caplog.text
