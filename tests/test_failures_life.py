"""Failures of plugins that run, as docs/troubleshooting.md lists them: all is told."""

from __future__ import annotations

import os
import re
import signal
from typing import Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import (
    BrokerError,
    BrokerTimeout,
    ConnectionLost,
    PluginCrashed,
    ProcessExitedError,
    ProcessNotFound,
    ReattachConfig,
    ReattachError,
    RestartPolicy,
    Supervisor,
    TLSError,
)
from pyplugin._compat import timeout
from tests.fixtures import PLUGIN, client, config, script
from tests.fixtures.failures import KV, PYTHON, assert_tells
from tests.fixtures.lives import LIMIT, attach, changed, dead_pid, get
from tests.fixtures.plugin import KVServicer

MUX = pytest.mark.parametrize("mux", [False, True], ids=["listeners", "mux"])
ATTACHED = "plugin 'reattached plugin'"


# Calls


async def test_a_call_before_start_and_after_kill() -> None:
    plugin = client()
    with pytest.raises(RuntimeError) as before:
        plugin.dispense("kv")
    async with plugin:
        kv = plugin.dispense("kv")
    with pytest.raises(RuntimeError) as after:
        _ = plugin.broker
    with pytest.raises(RuntimeError) as again:
        await plugin.start()
    with pytest.raises(GRPCError) as call:
        await kv.Get(kv_pb2.GetRequest(key="k"))
    assert_tells(before.value, KV, "was not started", "`await client.start()` comes first")
    assert_tells(after.value, KV, "was killed", "make a new Client")
    assert_tells(again.value, KV, "was killed", "make a new Client")
    assert_tells(call.value, KV, "was closed", "make a new one")
    assert call.value.status is Status.UNAVAILABLE


async def test_an_unknown_name() -> None:
    async with client() as plugin:
        with pytest.raises(KeyError) as raised:
            plugin.dispense("other")
    assert_tells(raised.value, KV, "has no plugin 'other' in version 1", "it has: 'kv'")


async def test_no_plugins_at_all() -> None:
    async with client(plugins={}) as plugin:
        with pytest.raises(KeyError) as raised:
            plugin.dispense("kv")
    assert_tells(raised.value, KV, "has no plugin 'kv'", "it has: none")


async def test_an_unknown_method() -> None:
    request = kv_pb2.GetRequest(key="k")

    class Stub:
        def __init__(self, channel: Any) -> None:
            path = "/proto.KV/Other"
            self.Other = UnaryUnaryMethod(channel, path, kv_pb2.GetRequest, kv_pb2.GetResponse)

    from tests.fixtures import KVPlugin

    class Newer(KVPlugin):
        def stub(self, broker: Any, channel: Any) -> Any:
            return Stub(channel)

    async with client(plugins={"kv": Newer()}) as plugin:
        with pytest.raises(GRPCError) as raised:
            await plugin.dispense("kv").Other(request)
    assert raised.value.status is Status.UNIMPLEMENTED
    cause, remedy = "unknown method /proto.KV/Other", "none of the servicers here has it"
    assert_tells(raised.value, "/proto.KV", cause, remedy)


@MUX
async def test_a_crash_during_a_call(mux: bool) -> None:
    async with client(grpc_broker_multiplex=mux) as plugin:
        with pytest.raises(PluginCrashed) as raised:
            await get(plugin, "stderr-exit")
        error = raised.value
        assert_tells(error, KV, "exited with status 9", "start it anew, or have a Supervisor do so")
        assert "Its stderr ended with:\n  one\n  two\n  three" in str(error)
        assert (error.plugin, error.exit_code, error.status) == ("plugin.py", 9, Status.UNAVAILABLE)


async def test_a_kill_by_others() -> None:
    async with client() as plugin, timeout(LIMIT):
        os.kill(plugin.pid or 0, signal.SIGKILL)
        await plugin.wait_exited()
        with pytest.raises(PluginCrashed) as raised:
            await plugin.ping()
    assert_tells(raised.value, KV, "was killed by SIGKILL", "start it anew")


async def test_a_sub_channel_whose_server_was_closed() -> None:
    """The plugin lives, so it has not crashed."""
    async with client() as plugin, timeout(LIMIT):
        service_id = int(await get(plugin, "accept"))
        async with await plugin.broker.dial(service_id) as channel:
            stub = kv_grpc.KVStub(channel)
            await stub.Get(kv_pb2.GetRequest(key="bytes:1"))
            await get(plugin, f"close:{service_id}")
            with pytest.raises(ConnectionLost) as raised:
                await stub.Get(kv_pb2.GetRequest(key="bytes:1"))
        error = raised.value
        assert type(error) is ConnectionLost
        assert_tells(error, KV, "cannot connect", "it still runs: call it, or dial, again")
        assert (error.plugin, error.exit_code) == ("plugin.py", None)
        assert error.status is Status.UNAVAILABLE
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_plugin_of_which_only_the_address_is_known() -> None:
    """Nobody can tell this client whether it lives."""
    async with timeout(LIMIT), client() as first:
        second = attach(changed(first.reattach_config(), test=True))
        await second.start()
        await first.kill()
        with pytest.raises(ConnectionLost) as raised:
            await second.ping()
        await second.kill()
    assert_tells(raised.value, ATTACHED, "cannot connect", "it may still run: call it")


@MUX
async def test_a_sub_channel_that_is_closed(mux: bool) -> None:
    async with client(grpc_broker_multiplex=mux) as plugin, timeout(LIMIT):
        channel = await plugin.broker.dial(int(await get(plugin, "accept")))
        channel.close()
        with pytest.raises(GRPCError) as raised:
            await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key="k"))
        await channel.wait_closed()
    assert_tells(raised.value, f"the channel to {KV}", "was closed", "make a new one")


async def test_a_plugin_that_turns_unwell() -> None:
    from tests.test_client_state import UNWELL

    async with client(script(UNWELL)) as plugin:
        with pytest.raises(Exception, match="SERVING") as raised:
            await plugin.ping()
    assert_tells(raised.value, PYTHON, "its health service says NOT_SERVING", "in its log")


async def test_a_plugin_that_does_not_end(caplog: pytest.LogCaptureFixture) -> None:
    async with client(kill_timeout=0.1, KV_IGNORE_SHUTDOWN=1, KV_IGNORE_SIGTERM=1):
        pass
    told = [record.getMessage() for record in caplog.records]
    asked, forced = (text for text in told if "sending" in text)
    assert asked.startswith(KV)
    assert asked.endswith("did not end within 0.1 s: sending SIGTERM")
    assert forced.startswith(KV)
    assert forced.endswith("ignored SIGTERM for 0.1 s: sending SIGKILL")


# The broker


@MUX
async def test_an_id_that_nobody_accepts(mux: bool) -> None:
    async with client(grpc_broker_multiplex=mux) as plugin:
        with pytest.raises(BrokerTimeout) as raised:
            await plugin.broker.dial(77, timeout=0.1)
    assert_tells(raised.value, KV, "broker id 77 within 0.1 s", "it must accept the id")


@MUX
async def test_an_id_that_is_dialled_after_a_crash(mux: bool) -> None:
    async with client(grpc_broker_multiplex=mux) as plugin, timeout(LIMIT):
        os.kill(plugin.pid or 0, signal.SIGKILL)
        await plugin.wait_exited()
        with pytest.raises(BrokerError) as raised:
            await plugin.broker.dial(1)
    assert_tells(raised.value, KV, "was killed by SIGKILL", "start it anew")


async def test_a_broker_of_a_killed_client() -> None:
    async with client() as plugin:
        broker = plugin.broker
    with pytest.raises(BrokerError) as raised:
        await broker.accept_and_serve(1, [KVServicer()])
    assert_tells(raised.value, KV, "was closed", "it ends with its Client or its plugin")


async def test_a_plugin_without_a_broker() -> None:
    code = f"""
import runpy
from pyplugin import broker
broker.GRPCBrokerServicer.__mapping__ = lambda self: {{}}
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client(script(code)) as plugin:
        with pytest.raises(BrokerError) as raised:
            await plugin.broker.dial(1)
    cause, remedy = "the broker's stream ended: unknown method", "none of the servicers here has it"
    assert_tells(raised.value, PYTHON, cause, remedy)


async def test_an_announced_address_that_is_unusable() -> None:
    code = f"""
import runpy
from pyplugin import ways
real = ways.ConnInfo
ways.ConnInfo = lambda **fields: real(service_id=fields["service_id"], network="udp")
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
    async with client(script(code)) as plugin:
        await get(plugin, "accept")
        with pytest.raises(BrokerError) as raised:
            await plugin.broker.dial(1)
    cause = "announced broker id 1 at an unusable address: unknown network 'udp'"
    assert_tells(raised.value, PYTHON, cause, "expected 'unix' or 'tcp'")


# Attaching


async def attaching_fails(
    reattach: ReattachConfig | None, kind: type[Exception], **more: Any
) -> Any:
    with pytest.raises(kind) as raised:
        await attach(reattach, **more).start()
    return raised.value


async def test_attaching_to_a_process_that_has_ended() -> None:
    pid = dead_pid()
    error = await attaching_fails(ReattachConfig(pid=pid, addr="/no/such"), ProcessNotFound)
    assert_tells(error, ATTACHED, f"no process has the id {pid}: it has ended", "start it anew")


async def test_attaching_to_another_process() -> None:
    async with client() as first:
        other = changed(first.reattach_config(), process_start=1)
        error = await attaching_fails(other, ProcessNotFound)
    assert_tells(error, ATTACHED, "another process has the id", "start it anew")


async def test_attaching_where_nothing_listens() -> None:
    async with client() as first:
        nowhere = changed(first.reattach_config(), addr="/no/such/socket")
        error = await attaching_fails(nowhere, ReattachError)
    cause = "nothing listens at its address any more: cannot connect: [Errno 2]"
    assert_tells(error, ATTACHED, cause, "attach by its newest reattach_config()")


async def test_attaching_without_the_key() -> None:
    async with client(auto_mtls=True) as first:
        keyless = changed(first.reattach_config(), client_key_pem=None)
        error = await attaching_fails(keyless, TLSError)
    cause = "the ReattachConfig lacks the certificate and key of the host that started it"
    assert_tells(error, ATTACHED, cause, "have it from reattach_config() there")


async def test_attaching_with_the_key_of_another_host() -> None:
    async with client(auto_mtls=True) as first, client(auto_mtls=True) as other:
        stranger = other.reattach_config()
        assert stranger is not None
        keys = {name: getattr(stranger, name) for name in ("client_cert_pem", "client_key_pem")}
        error = await attaching_fails(changed(first.reattach_config(), **keys), TLSError)
    assert_tells(error, ATTACHED, "mutual TLS", "must")
    assert re.search("each side must have|it must trust this host's certificate", str(error))


# Supervisors


async def test_a_plugin_that_is_given_up() -> None:
    policy = RestartPolicy(max_restarts=0)
    async with Supervisor(config(), policy) as supervisor, timeout(LIMIT):
        kv = supervisor.dispense("kv")
        with pytest.raises(PluginCrashed):
            await kv.Get(kv_pb2.GetRequest(key="exit"))
        with pytest.raises(ProcessExitedError) as raised:
            await kv.Get(kv_pb2.GetRequest(key="k"))
    assert_tells(raised.value, KV, "was given up after 0 restarts", "swap() starts it anew")
    assert "exited with status 7" in str(raised.value)


async def test_a_supervisor_that_does_not_run() -> None:
    supervisor = Supervisor(config())
    with pytest.raises(RuntimeError) as before:
        await supervisor.client()
    with pytest.raises(RuntimeError) as nothing:
        await supervisor.swap()
    await supervisor.close()
    with pytest.raises(RuntimeError) as again:
        await supervisor.start()
    with pytest.raises(ProcessExitedError) as after:
        await supervisor.client()
    assert_tells(before.value, KV, "was not started", "`await start()` comes first")
    assert_tells(nothing.value, KV, "nothing can be replaced", "before start() or after close()")
    assert_tells(again.value, KV, "was closed", "make a new one")
    assert_tells(after.value, KV, "was closed", "make a new one")
