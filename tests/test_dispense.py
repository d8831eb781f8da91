"""Stubs by a plugin's name or its class, and what type checkers know of them."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest

from pyplugin import Plugin, Supervisor
from tests.fixtures import KVPlugin, client, config

if TYPE_CHECKING:
    from grpclib.client import Channel
    from typing_extensions import assert_type

    from pyplugin import Client, GRPCBroker

    async def types(host: Client, supervisor: Supervisor) -> None:
        """What type checkers must find."""
        assert_type(host.dispense("kv"), Any)
        assert_type(host.dispense(name="kv"), Any)
        assert_type(host.dispense(KVPlugin), kv_grpc.KVStub)
        assert_type(host.dispense(Untyped), Any)
        assert_type(supervisor.dispense("kv"), Any)
        assert_type(supervisor.dispense(KVPlugin), kv_grpc.KVStub)
        async with supervisor.call("kv") as named, supervisor.call(KVPlugin) as stub:
            assert_type(named, Any)
            assert_type(stub, kv_grpc.KVStub)
            reply = await stub.Get(kv_pb2.GetRequest(key="cwd"))
            assert_type(reply, kv_pb2.GetResponse)
            await stub.Get(kv_pb2.PutRequest())  # type: ignore[arg-type]
        host.dispense(kv_grpc.KVStub)  # type: ignore[arg-type]


class Untyped(Plugin):
    """As code written for the pure-Python port has them."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        raise NotImplementedError

    def stub(self, broker: GRPCBroker, channel: Channel) -> Any:
        return kv_grpc.KVStub(channel)


KEY = kv_pb2.GetRequest(key="cwd")


async def test_a_plugin_is_found_by_its_name_and_by_its_class() -> None:
    async with client(plugins={"kv": KVPlugin(), "other": Untyped()}) as plugin:
        for key in "kv", "other", KVPlugin, Untyped:
            assert (await plugin.dispense(key).Get(KEY)).value


async def test_one_that_is_not_there_or_not_the_only_one_is_a_key_error() -> None:
    async with client(plugins={"a": KVPlugin(), "b": KVPlugin()}) as plugin:
        missing: list[Any] = ["c", None, Untyped]
        for key in missing:
            with pytest.raises(KeyError, match=r"no plugin .* in version 1; it has: 'a', 'b'"):
                plugin.dispense(key)
        with pytest.raises(KeyError, match=r"more than one plugin .*KVPlugin'> in version 1"):
            plugin.dispense(KVPlugin)


class Name(enum.Enum):
    KV = "kv"


async def test_a_name_need_not_be_a_text() -> None:
    plugins: Any = {Name.KV: KVPlugin()}
    key: Any = Name.KV
    async with client(plugins=plugins) as plugin:
        assert (await plugin.dispense(key).Get(KEY)).value


async def test_the_version_that_was_negotiated_decides() -> None:
    plugins = {1: {"kv": KVPlugin()}, 2: {"kv": Untyped()}}
    async with client(plugins=plugins, KV_VERSIONS="2,3") as plugin:
        assert (await plugin.dispense(Untyped).Get(KEY)).value
        with pytest.raises(KeyError, match=r"no plugin .*KVPlugin'> in version 2; it has: 'kv'"):
            plugin.dispense(KVPlugin)


async def test_a_supervisor_finds_the_class_in_what_runs() -> None:
    async with Supervisor(config()) as supervisor:
        stub = supervisor.dispense(KVPlugin)
        assert (await stub.Get(KEY)).value
        await supervisor.swap(config())
        assert (await stub.Get(KEY)).value
        async with supervisor.call(KVPlugin) as called:
            assert (await called.Get(KEY)).value
        with pytest.raises(KeyError, match="Untyped"):
            await supervisor.dispense(Untyped).Get(KEY)
