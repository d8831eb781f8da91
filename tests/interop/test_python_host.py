"""Our host, and plugins that Go's own library serves."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import signal
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kv_pb2
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from pyplugin import (
    AppProtocolMismatch,
    BrokerTimeout,
    Client,
    ClientConfig,
    LogForward,
    Plugin,
    PluginCrashed,
    PyPluginError,
    TLSError,
    UnsupportedProtocol,
)
from pyplugin._compat import timeout
from tests.fixtures import HANDSHAKE, KVPlugin, client, is_alive
from tests.fixtures.logs import Keep, new_logger

from .peers import MARKS, PEER_TIMEOUT, process_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from grpclib.client import Channel

    from pyplugin import GRPCBroker, LogBatch

    from .peers import Peers

pytestmark = MARKS

TLS = pytest.mark.parametrize("auto_mtls", [False, True], ids=["plain", "mtls"])
NETWORK = pytest.mark.parametrize(
    ("network", "settings"),
    [
        pytest.param("unix", {}, id="unix"),
        pytest.param("tcp", {"KV_TCP": "ipv4"}, id="tcp"),
        pytest.param("tcp", {"KV_TCP": "ipv6"}, id="tcp6"),
    ],
)


class Health(Plugin):
    """A plugin of which nothing but the health is asked."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        raise NotImplementedError

    def stub(self, broker: GRPCBroker, channel: Channel) -> HealthStub:
        return HealthStub(channel)


@contextlib.asynccontextmanager
async def started(command: str, **settings: Any) -> AsyncIterator[Client]:
    """A running Go plugin. All that is done with it has one time limit."""
    async with timeout(PEER_TIMEOUT), client([command], **settings) as plugin:
        yield plugin


async def failed_start(command: str, **settings: Any) -> PyPluginError:
    """The error of a start that must fail."""
    with pytest.raises(PyPluginError) as raised:
        async with started(command, **settings):
            pass
    return raised.value


async def get(plugin: Client, key: str) -> bytes:
    reply = await plugin.dispense("kv").Get(kv_pb2.GetRequest(key=key))
    value: bytes = reply.value
    return value


async def put(plugin: Client, key: str, value: bytes) -> None:
    await plugin.dispense("kv").Put(kv_pb2.PutRequest(key=key, value=value))


def socket_of(plugin: Client) -> Path:
    config = plugin.reattach_config()
    assert config is not None
    assert config.network == "unix"
    return Path(config.addr)


# go-plugin's own examples


@TLS
async def test_the_example_plugin(peers: Peers, tmp_path: Path, auto_mtls: bool) -> None:
    async with started(peers.grpc_plugin, auto_mtls=auto_mtls, cwd=str(tmp_path)) as plugin:
        await put(plugin, "k", b"from Python")
        assert (tmp_path / "kv_k").read_bytes() == b"from Python\n\nWritten from plugin-go-grpc"
        assert await get(plugin, "k") == b"from Python\n\nWritten from plugin-go-grpc"
        with pytest.raises(GRPCError, match="open kv_none: no such file") as raised:
            await get(plugin, "none")
        assert raised.value.status is Status.UNKNOWN


@TLS
async def test_the_negotiated_plugin(peers: Peers, tmp_path: Path, auto_mtls: bool) -> None:
    plugins = {3: {"kv": KVPlugin()}, 4: {"new": KVPlugin()}}
    async with started(
        peers.negotiated_plugin, plugins=plugins, auto_mtls=auto_mtls, cwd=str(tmp_path)
    ) as plugin:
        assert plugin.negotiated_version == 3
        await put(plugin, "k", b"v")
        assert await get(plugin, "k") == (
            b"v\n\nWritten from plugin version 3\nRead by plugin version 3\n"
        )


@TLS
async def test_the_negotiated_plugin_speaks_netrpc_to_version_2(
    peers: Peers, auto_mtls: bool
) -> None:
    plugins = {2: {"kv": KVPlugin()}}
    error = await failed_start(peers.negotiated_plugin, plugins=plugins, auto_mtls=auto_mtls)
    assert type(error) is UnsupportedProtocol
    assert "'netrpc'" in str(error)
    assert "GRPCServer" in str(error)


async def test_the_negotiated_plugin_has_no_version_of_the_host(peers: Peers) -> None:
    error = await failed_start(peers.negotiated_plugin, plugins={5: {"kv": KVPlugin()}})
    assert type(error) is AppProtocolMismatch
    assert "version 2 of the application, this host 5" in str(error)


# Calls


@TLS
@NETWORK
async def test_a_life(
    peers: Peers,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    network: str,
    settings: dict[str, str],
    auto_mtls: bool,
) -> None:
    """Start, calls, and an end that needs no signal."""
    signalled = tmp_path / "sigterm"
    async with started(
        peers.kvplugin,
        auto_mtls=auto_mtls,
        kill_timeout=PEER_TIMEOUT,
        KV_SIGTERM_FILE=signalled,
        **settings,
    ) as plugin:
        config = plugin.reattach_config()
        assert config is not None
        assert config.network == network
        assert config.addr.startswith("[::1]:") == (settings.get("KV_TCP") == "ipv6")
        await put(plugin, "k", b"\0v\xff")
        assert await get(plugin, "k") == b"\0v\xff"
        await put(plugin, "empty", b"")
        assert await get(plugin, "empty") == b""
        before = time.monotonic()
        await plugin.kill()
        assert time.monotonic() - before < 5
    assert plugin.pid is not None
    assert not is_alive(plugin.pid)
    assert not signalled.exists()
    assert "SIGTERM" not in caplog.text


@TLS
@NETWORK
async def test_errors_and_long_answers(
    peers: Peers, network: str, settings: dict[str, str], auto_mtls: bool
) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls, **settings) as plugin:
        with pytest.raises(GRPCError) as raised:
            await get(plugin, "k ü")
        assert (raised.value.status, raised.value.message) == (Status.NOT_FOUND, 'no key "k ü"')
        with pytest.raises(GRPCError) as raised:
            await get(plugin, "sleep:x")
        assert raised.value.status is Status.INVALID_ARGUMENT
        with pytest.raises(GRPCError) as raised:
            await get(plugin, "fat-error:100000")
        assert (raised.value.status, raised.value.message) == (Status.UNKNOWN, "e" * 100_000)
        # After an error as before it.
        assert await get(plugin, f"bytes:{2**20}") == bytes(2**20)
        assert await get(plugin, f"bytes:{24 * 2**20}") == bytes(24 * 2**20)
        await put(plugin, "k", value := os.urandom(3 * 2**20))
        assert await get(plugin, "k") == value


@TLS
@NETWORK
async def test_a_request_beyond_what_go_takes(
    peers: Peers, network: str, settings: dict[str, str], auto_mtls: bool
) -> None:
    """Go answers while the request is still on its way, and resets the stream with NO_ERROR."""
    async with started(peers.kvplugin, auto_mtls=auto_mtls, **settings) as plugin:
        for mebibytes in (5, 20, 5):
            with pytest.raises(GRPCError, match="larger than max") as raised:
                await put(plugin, "k", bytes(mebibytes * 2**20))
            assert raised.value.status is Status.RESOURCE_EXHAUSTED
        await put(plugin, "k", b"v")
        assert await get(plugin, "k") == b"v"


@TLS
async def test_many_calls_at_once(peers: Peers, auto_mtls: bool) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls) as plugin:
        before = time.monotonic()
        calls = [get(plugin, "sleep:200") for _ in range(300)]
        assert await asyncio.gather(*calls) == [b"slept"] * 300
        # Go serves 300 at once: one after the other they take a minute.
        assert time.monotonic() - before < 10


@TLS
@NETWORK
async def test_health(
    peers: Peers, network: str, settings: dict[str, str], auto_mtls: bool
) -> None:
    async with started(
        peers.kvplugin, plugins={"health": Health()}, auto_mtls=auto_mtls, **settings
    ) as plugin:
        health = plugin.dispense("health")
        for service in ("plugin", ""):
            reply = await health.Check(HealthCheckRequest(service=service))
            assert reply.status == HealthCheckResponse.SERVING
        with pytest.raises(GRPCError) as raised:
            await health.Check(HealthCheckRequest(service="other"))
        assert (raised.value.status, raised.value.message) == (Status.NOT_FOUND, "unknown service")


async def test_ten_plugins_at_once(peers: Peers) -> None:
    plugins = [client([peers.kvplugin], auto_mtls=number % 2 == 0) for number in range(10)]
    async with timeout(PEER_TIMEOUT):
        try:
            await asyncio.gather(*(plugin.start() for plugin in plugins))
            await asyncio.gather(*(put(p, "k", b"%d" % n) for n, p in enumerate(plugins)))
            values = await asyncio.gather(*(get(plugin, "k") for plugin in plugins))
            assert values == [b"%d" % number for number in range(10)]
            assert len({plugin.pid for plugin in plugins}) == 10
        finally:
            await asyncio.gather(*(plugin.kill() for plugin in plugins))


# Versions, protocols, certificates


@NETWORK
async def test_the_highest_common_version_is_chosen(
    peers: Peers, network: str, settings: dict[str, str]
) -> None:
    plugins = {1: {"old": KVPlugin()}, 3: {"kv": KVPlugin()}, 4: {"new": KVPlugin()}}
    async with started(peers.kvplugin, plugins=plugins, KV_VERSIONS="1,3,5", **settings) as plugin:
        assert plugin.negotiated_version == 3
        assert await get(plugin, "bytes:1") == b"\0"


@TLS
async def test_no_common_version(peers: Peers, auto_mtls: bool) -> None:
    plugins = {1: {"kv": KVPlugin()}, 4: {"kv": KVPlugin()}}
    error = await failed_start(
        peers.kvplugin, plugins=plugins, auto_mtls=auto_mtls, KV_VERSIONS="3,2"
    )
    assert type(error) is AppProtocolMismatch
    assert "version 2 of the application, this host 1, 4" in str(error)


@pytest.mark.parametrize("tcp", ["ipv4", "ipv6"])
@pytest.mark.parametrize("switch", ["KV_WRONG_CERT", "KV_WRONG_HOST"])
async def test_a_wrong_certificate_is_refused(peers: Peers, switch: str, tcp: str) -> None:
    error = await failed_start(peers.kvplugin, auto_mtls=True, KV_TCP=tcp, **{switch: "1"})
    assert type(error) is TLSError
    assert "certificate" in str(error)


async def test_another_cookie_is_refused_with_what_go_says(peers: Peers) -> None:
    stranger = ClientConfig(
        handshake_config=type(HANDSHAKE)(1, "BASIC_PLUGIN", "bye"),
        cmd=[peers.kvplugin],
        plugins={"kv": KVPlugin()},
        auto_mtls=False,
        start_timeout=PEER_TIMEOUT,
    )
    with pytest.raises(PyPluginError, match="This binary is a plugin") as raised:
        await Client(stranger).start()
    assert raised.value.exit_code == 1


# Output and logs


@TLS
@NETWORK
async def test_a_megabyte_printed_does_not_wedge_it(
    peers: Peers, network: str, settings: dict[str, str], auto_mtls: bool
) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls, KV_PRINT=2**20, **settings) as plugin:
        for _ in range(3):
            assert await get(plugin, "print") == b"1048576"


@NETWORK
async def test_hclogs_lines_arrive_as_records(
    peers: Peers, caplog: pytest.LogCaptureFixture, network: str, settings: dict[str, str]
) -> None:
    logger = logging.getLogger("of.the.host")
    with caplog.at_level(logging.INFO):
        async with started(peers.kvplugin, logger=logger, KV_LOG=200, **settings):
            pass
    records = [record for record in caplog.records if record.name == "of.the.host.stderr"]
    lines = [record for record in records if record.getMessage() == "line"]
    assert {record.levelname for record in lines} == {"INFO"}
    assert {vars(record)["plugin"] for record in lines} == {"kv"}
    assert [vars(record)["fields"] for record in lines] == [
        {
            "n": n,
            "text": 'a "b" ü',
            "flag": n % 2 == 0,
            "ratio": 0.5,
            "list": [1, 2],
            "nothing": None,
        }
        for n in range(200)
    ]


async def test_what_go_plugin_itself_logs_keeps_its_level(
    peers: Peers, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with started(peers.kvplugin, auto_mtls=True) as plugin:
            address = socket_of(plugin)
    found = {
        record.getMessage(): record
        for record in caplog.records
        if record.name == "pyplugin.host.plugin.kvplugin"
    }
    record = found["plugin address"]
    assert record.levelno == logging.DEBUG
    assert vars(record)["fields"] == {"network": "unix", "address": str(address)}


KINDS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("trace", "kv", "a trace", {}),
    ("debug", "kv", "a debug", {}),
    ("info", "kv", "an info", {}),
    ("warn", "kv", "a warning", {}),
    ("error", "kv", "an error", {}),
    (
        "info",
        "kv.store",
        "numbers",
        {"least": -(2**63), "most": 2**64 - 1, "ratio": 0.1, "huge": 1e300, "byte": 7},
    ),
    (
        "info",
        "kv.store",
        "texts",
        {
            "empty": "",
            "quoted": 'a "b" \\ \u00fc \u2028',
            "lines": "one\ntwo",
            "control": "\0\x1f",
            "html": "<&>",
            "bad": "a\ufffdb",
        },
    ),
    (
        "info",
        "kv.store",
        "values",
        {
            "yes": True,
            "nothing": None,
            "list": [1, "a", None],
            "map": {"a": None, "b": [1]},
            "struct": {"A": 1},
            "bytes": "AQI=",
        },
    ),
    (
        "info",
        "kv.store",
        "words",
        {
            "error": "an error",
            "duration": 1_500_000_000,
            "time": "2024-01-02T03:04:05.000000006Z",
            "address": "::1",
            "hex": 255,
            "octal": 8,
            "binary": 5,
            "format": "1 of 2",
        },
    ),
    ("info", "kv.store", "odd", {"a": 1, "EXTRA_VALUE_AT_END": "left over"}),
    ("info", "other", "a module of its own", {}),
]
for *_, fields in KINDS[5:]:
    # Which their logger has.
    fields["request"] = 7


async def log_kinds(command: str, form: str, **settings: Any) -> None:
    async with started(command, **settings) as plugin:
        assert await get(plugin, f"log:{form}") == form.encode()


async def test_hclogs_values_of_every_kind_are_records(peers: Peers) -> None:
    keep = Keep()
    await log_kinds(peers.kvplugin, "json", stderr_logger=new_logger(keep))
    records = [vars(record) for record in keep.records.items if vars(record)["plugin"]]
    found = [
        (record["hclog_level"], record["plugin"], record["msg"], record["fields"])
        for record in records
    ]
    assert found == KINDS
    assert {type(found[5][3][name]) for name in ("least", "most", "byte")} == {int}
    levels = {"trace": 10, "debug": 10, "info": 20, "warn": 30, "error": 40}
    for record in records:
        assert record["levelno"] == levels[record["hclog_level"]]
        written = datetime.fromisoformat(record["plugin_timestamp"].replace("Z", "+00:00"))
        assert written.timestamp() <= record["created"]


async def test_hclogs_values_of_every_kind_come_to_a_sink_and_a_copy(peers: Peers) -> None:
    found: list[tuple[str, str, str, dict[str, Any]]] = []
    lines: list[bytes] = []
    copy = io.BytesIO()

    def sink(batch: LogBatch) -> None:
        assert batch.plugin == "kvplugin"
        for entry in batch:
            lines.append(entry.line)
            if entry.module:
                found.append((entry.level, entry.module, entry.message, entry.fields))

    await log_kinds(peers.kvplugin, "json", log_sink=sink, stderr=copy)
    assert found == KINDS
    assert copy.getvalue() == b"".join(line + b"\n" for line in lines)


@pytest.mark.parametrize("form", ["hclog", "logfmt", "verbatim"])
async def test_hclogs_values_of_every_kind_are_forwarded(peers: Peers, form: Any) -> None:
    copy = io.BytesIO()
    with tempfile.TemporaryFile() as file:
        forward = LogForward(file.fileno(), form)
        await log_kinds(peers.kvplugin, "json", log_forward=forward, stderr=copy)
        file.seek(0)
        forwarded = file.read()
    lines = copy.getvalue().splitlines()
    assert len(lines) >= len(KINDS)
    if form == "verbatim":
        assert forwarded == copy.getvalue()
    elif form == "hclog":
        assert [json.loads(line) for line in forwarded.splitlines()] == [
            {**json.loads(line), "plugin": "kvplugin"} for line in lines
        ]
    else:
        *words, _ = forwarded.decode().split("\n")
        assert len(words) == len(lines)
        assert all(" plugin=kvplugin msg=" in line for line in words)
        (numbers,) = (line for line in words if " msg=numbers " in line)
        assert numbers.split(" msg=numbers ")[1] == (
            "byte=7 huge=1e+300 least=-9223372036854775808 most=18446744073709551615 ratio=0.1 "
            "request=7"
        )


async def test_hclogs_text_has_levels_and_modules(peers: Peers) -> None:
    """Its values are part of the message, and lines of a value are lines of their own."""
    keep = Keep()
    await log_kinds(peers.kvplugin, "text", stderr_logger=new_logger(keep))
    records = [vars(record) for record in keep.records.items if vars(record)["plugin"]]
    found = [(record["hclog_level"], record["plugin"], record["msg"]) for record in records]
    assert [(*start, text.partition(":")[0]) for *start, text in found] == [
        (level, module, message) for level, module, message, _ in KINDS
    ]
    assert found[5][2] == (
        "numbers: request=7 least=-9223372036854775808 most=18446744073709551615 ratio=0.1 "
        'huge="1e+300" byte=7'
    )
    assert {"  | one", "  | two"} <= set(keep.messages)
    assert {str(record["plugin_timestamp"]) for record in records} == {"None"}


@pytest.mark.parametrize(
    ("level", "count"), [("trace", 11), ("debug", 10), ("info", 9), ("warn", 2), ("error", 1)]
)
async def test_levels_of_hclog_are_told_apart(peers: Peers, level: str, count: int) -> None:
    keep = Keep()
    logger = new_logger(keep, level=logging.CRITICAL)
    for form in ("json", "text"):
        keep.records.items.clear()
        await log_kinds(peers.kvplugin, form, stderr_logger=logger, log_level=level)
        found = [record for record in keep.records.items if vars(record)["plugin"]]
        assert len(found) == count


async def test_a_panic_is_an_error_to_its_last_line(peers: Peers) -> None:
    keep = Keep()
    async with started(peers.kvplugin, stderr_logger=new_logger(keep)) as plugin:
        with pytest.raises(PluginCrashed):
            await get(plugin, "panic")
    start = keep.messages.index("panic: asked to panic")
    panic = keep.records.items[start:]
    assert {record.levelname for record in panic} == {"ERROR"}
    assert any(text.startswith("goroutine ") for text in keep.messages[start:])
    assert len(panic) > 5


async def test_sixteen_go_plugins_in_a_storm(peers: Peers) -> None:
    """Every line of each, in order, while each answers."""
    count = 3_000
    keeps = [Keep() for _ in range(16)]
    plugins = [
        client([peers.kvplugin], stderr_logger=new_logger(keep), KV_LOG=count) for keep in keeps
    ]
    async with timeout(PEER_TIMEOUT):
        try:
            await asyncio.gather(*(plugin.start() for plugin in plugins))
            await asyncio.gather(*(put(plugin, "k", b"v") for plugin in plugins))
            assert await asyncio.gather(*(get(plugin, "k") for plugin in plugins)) == [b"v"] * 16
        finally:
            await asyncio.gather(*(plugin.kill() for plugin in plugins))
    for keep in keeps:
        lines = [vars(record) for record in keep.records.items if record.getMessage() == "line"]
        assert [line["fields"]["n"] for line in lines] == list(range(count))


# Crashes


@TLS
@NETWORK
@pytest.mark.parametrize(
    ("key", "code", "last"),
    [
        ("exit", 7, []),
        ("panic", 2, [b"panic: asked to panic"]),
        ("stderr-exit", 9, [b"last words 1", b"last words 2", b"last words 3"]),
    ],
)
async def test_a_crash_during_a_call(
    peers: Peers,
    network: str,
    settings: dict[str, str],
    auto_mtls: bool,
    key: str,
    code: int,
    last: list[bytes],
) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls, **settings) as plugin:
        with pytest.raises(PluginCrashed) as raised:
            await get(plugin, key)
        error = raised.value
        assert (error.exit_code, error.plugin) == (code, "kvplugin")
        assert error.status is Status.UNAVAILABLE
        assert f"exited with status {code}" in str(error)
        for line in last:
            assert line in error.stderr_tail
            assert line.decode() in str(error)
        with pytest.raises(PluginCrashed) as raised:
            await get(plugin, "k")
        assert raised.value.exit_code == code


@TLS
async def test_sigkill_from_outside_leaves_no_socket(peers: Peers, auto_mtls: bool) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls) as plugin:
        path = socket_of(plugin)
        assert path.is_socket()
        calls = [asyncio.ensure_future(get(plugin, "sleep:60000")) for _ in range(5)]
        await get(plugin, "bytes:1")
        assert plugin.pid is not None
        os.kill(plugin.pid, signal.SIGKILL)
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(error) for error in errors} == {PluginCrashed}
        assert {getattr(error, "exit_code", None) for error in errors} == {-signal.SIGKILL}
    assert not path.exists()
    assert not path.parent.exists()


@TLS
async def test_the_folder_of_the_socket_goes_with_the_plugin(peers: Peers, auto_mtls: bool) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls) as plugin:
        path = socket_of(plugin)
        assert path.is_socket()
        assert path.parent.name.startswith("pyplugin-")
    assert not path.parent.exists()


# Reattaching, broker


@TLS
@NETWORK
async def test_a_second_host_attaches_and_ends_it(
    peers: Peers, network: str, settings: dict[str, str], auto_mtls: bool
) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls, **settings) as first:
        await put(first, "k", b"v")
        second = Client(
            ClientConfig(
                handshake_config=HANDSHAKE,
                plugins={"kv": KVPlugin()},
                reattach=first.reattach_config(),
            )
        )
        async with second:
            assert second.pid == first.pid
            assert await get(second, "k") == b"v"
            await put(second, "k", b"w")
            assert await get(first, "k") == b"w"
        assert first.pid is not None
        await process_end(first.pid)
        with pytest.raises(PluginCrashed) as raised:
            await get(first, "k")
        assert raised.value.exit_code == 0


@TLS
async def test_the_brokers_stream_to_go_is_open(peers: Peers, auto_mtls: bool) -> None:
    async with started(peers.kvplugin, auto_mtls=auto_mtls) as plugin:
        assert [plugin.broker.next_id() for _ in range(3)] == [1, 2, 3]
        with pytest.raises(BrokerTimeout):
            await plugin.broker.dial(1, timeout=0.1)
        # Announces to a Go plugin that takes the announcement, and dials nothing.
        server = await plugin.broker.accept_and_serve(2, [])
        server.close()
        await asyncio.wait_for(server.wait_closed(), PEER_TIMEOUT)
        assert await get(plugin, "bytes:1") == b"\0"
