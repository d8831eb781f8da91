"""Go's own library as the host, and Python plugins."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import stat
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import ROOT
from tests.fixtures import PLUGIN, is_alive

from .peers import MARKS, GoError, GoHost, process_end, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from .peers import Peers

# The loop of these tests only carries lines to and from the Go host.
pytestmark = [*MARKS, pytest.mark.asyncio(loop_factories=["asyncio"])]

EXAMPLE = [sys.executable, str(ROOT / "examples" / "kv" / "plugin.py")]

TLS = pytest.mark.parametrize("options", [(), ("-mtls",)], ids=["plain", "mtls"])
NETWORK = pytest.mark.parametrize("variables", [{}, {"KV_TCP": "1"}], ids=["unix", "tcp"])

# What every entry of a plugin has in the Go host's log.
ENTRY = {"@level", "@message", "@module", "@timestamp", "timestamp"}

SERVICES = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "plugin.GRPCBroker",
    "plugin.GRPCController",
    "plugin.GRPCStdio",
    "proto.KV",
]


@contextlib.asynccontextmanager
async def started(
    peers: Peers, *options: str, command: Sequence[str] = PLUGIN, **settings: Any
) -> AsyncIterator[tuple[GoHost, dict[str, Any]]]:
    """The Go host with a running plugin, and what it says of it. KV_… settings are variables."""
    variables = {name: settings.pop(name) for name in list(settings) if name.isupper()}
    async with GoHost(peers, command, *options, env=variables, **settings) as host:
        yield host, await host.start()


async def failure(host: GoHost, op: str, **fields: Any) -> tuple[str | None, str]:
    """The status and the message of an operation that must fail."""
    with pytest.raises(GoError) as raised:
        await host.do(op, **fields)
    return raised.value.code, raised.value.message


def log_of(path: Path) -> list[dict[str, Any]]:
    """What the Go host logged, the plugin's records among it."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def one(entries: list[dict[str, Any]], message: str) -> dict[str, Any]:
    """The one entry with this message."""
    found = [entry for entry in entries if entry["@message"] == message]
    assert len(found) == 1, entries
    return found[0]


# Calls


@TLS
@NETWORK
async def test_a_life(peers: Peers, options: Sequence[str], variables: dict[str, str]) -> None:
    """Start, calls, and an end that needs no signal."""
    async with started(peers, *options, **variables) as (host, plugin):
        assert plugin["version"] == 1
        assert plugin["network"] == ("tcp" if variables else "unix")
        await host.put("k", b"\0v\xff")
        assert await host.get("k") == b"\0v\xff"
        await host.put("empty", b"")
        assert await host.get("empty") == b""
        assert await host.do("ping") == {}
        if not variables:
            path = Path(plugin["address"])
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        ended = await host.do("kill")
        # Go gives a plugin 2 s before it kills it.
        assert ended["exited"] is True
        assert ended["millis"] < 1500
        assert not is_alive(plugin["pid"])
        if not variables:
            assert not path.exists()


@TLS
@NETWORK
async def test_large_values(
    peers: Peers, options: Sequence[str], variables: dict[str, str]
) -> None:
    async with started(peers, *options, **variables) as (host, _):
        assert await host.get(f"bytes:{5 * 2**20}") == bytes(5 * 2**20)
        await host.put("k", value := os.urandom(5 * 2**20))
        assert await host.get("k") == value


@TLS
@NETWORK
async def test_errors(peers: Peers, options: Sequence[str], variables: dict[str, str]) -> None:
    async with started(peers, *options, **variables) as (host, _):
        assert await failure(host, "get", key="none") == ("NotFound", "no value under 'none'")
        assert await failure(host, "get", key="raise:kein Platz für %41\n") == (
            "Unknown",
            "RuntimeError: kein Platz für %41\n",
        )
        code, message = await failure(host, "get", key="no-answer")
        assert code == "Unknown"
        assert "/proto.KV/Get returned without" in message
        assert await failure(host, "get", key="fat-error:4000") == ("Unknown", "x" * 4000)
        for method in ("/proto.KV/NoSuchMethod", "/no.Such/Method"):
            code, message = await failure(host, "unknown_method", method=method)
            assert code == "Unimplemented"
            assert method in message
        # After an error as before it.
        await host.put("k", b"v")
        assert await host.get("k") == b"v"


async def test_a_fat_error_does_not_freeze_the_plugin(peers: Peers) -> None:
    async with started(peers) as (host, _):
        before = time.monotonic()
        code, message = await failure(host, "get", key="fat-error:300000")
        assert time.monotonic() - before < 2
        # Cut or whole.
        assert (code, set(message)) == ("Unknown", {"x"})


@TLS
@NETWORK
async def test_health(peers: Peers, options: Sequence[str], variables: dict[str, str]) -> None:
    async with started(peers, *options, **variables) as (host, _):
        for service in ("plugin", ""):
            assert await host.do("health", service=service) == {"status": "SERVING"}
        assert await failure(host, "health", service="other") == ("NotFound", "unknown service")
        for service, status in (("plugin", "SERVING"), ("other", "SERVICE_UNKNOWN")):
            watched = await host.do("watch", service=service, millis=100)
            assert watched == {"statuses": [status], "open": True}


@TLS
@NETWORK
async def test_a_storm_of_calls_holds_up_no_ping(
    peers: Peers, options: Sequence[str], variables: dict[str, str]
) -> None:
    async with started(peers, *options, **variables) as (host, _):
        storm = await host.do("storm", calls=150, key="sleep:300")
        assert storm.pop("millis") < 5000
        assert storm == {"good": 150, "error": "", "ping_ok": True, "ping_before_last": True}


@TLS
@NETWORK
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_every_service(
    peers: Peers, version: str, options: Sequence[str], variables: dict[str, str]
) -> None:
    async with started(peers, *options, **variables) as (host, _):
        found = await host.do("reflect", version=version)
        assert found["services"] == SERVICES
        assert found["files"].keys() == {name for name in SERVICES if name.startswith("plugin.")}


async def test_reflection_of_an_unknown_version(peers: Peers) -> None:
    async with started(peers) as (host, _):
        code, _ = await failure(host, "reflect", version="v2")
        assert code == "Unimplemented"


@TLS
async def test_a_crash_is_the_hosts_to_see(
    peers: Peers, tmp_path: Path, options: Sequence[str]
) -> None:
    log = tmp_path / "log"
    # Nobody removes the socket of a process that exits at once.
    with tempfile.TemporaryDirectory() as folder:
        async with started(peers, *options, "-log", str(log), TMPDIR=folder) as (host, plugin):
            code, _ = await failure(host, "get", key="stderr-exit")
            assert code == "Unavailable"
            await process_end(plugin["pid"])
            assert (await host.do("kill"))["exited"] is True
    entries = log_of(log)
    assert one(entries, "plugin process exited")["error"] == "exit status 9"
    assert [one(entries, line)["@level"] for line in ("one", "two", "three")] == ["debug"] * 3


@TLS
async def test_a_host_starts_one_plugin_after_another(peers: Peers, options: Sequence[str]) -> None:
    async with GoHost(peers, PLUGIN, *options) as host:
        for number in range(3):
            await host.start()
            await host.put("k", b"%d" % number)
            assert await host.get("k") == b"%d" % number
            assert (await host.do("kill"))["exited"] is True


async def test_the_end_of_a_host_is_the_end_of_its_plugin(peers: Peers) -> None:
    async with started(peers) as (_, plugin):
        assert is_alive(plugin["pid"])
    assert not is_alive(plugin["pid"])
    assert not Path(plugin["address"]).exists()


# What the host asks for


@pytest.mark.parametrize(("offered", "chosen"), [("1,2", 2), ("3,2", 3), ("2,3,4", 3)])
async def test_the_highest_common_version_is_chosen(
    peers: Peers, offered: str, chosen: int
) -> None:
    async with started(peers, "-versions", offered, KV_VERSIONS="2,3") as (host, plugin):
        assert plugin["version"] == chosen
        await host.put("k", b"v")
        assert await host.get("k") == b"v"


@TLS
async def test_no_common_version_is_the_hosts_to_report(
    peers: Peers, options: Sequence[str]
) -> None:
    # Go kills the plugin at once, which cannot remove its socket then.
    with tempfile.TemporaryDirectory() as folder:
        variables = {"KV_VERSIONS": "2,3", "TMPDIR": folder}
        async with GoHost(peers, PLUGIN, *options, "-versions", "7,9", env=variables) as host:
            code, message = await failure(host, "start")
    assert code is None
    assert "Plugin version: 2, Client versions: [" in message


@TLS
async def test_the_socket_is_given_to_the_group(peers: Peers, options: Sequence[str]) -> None:
    group = os.getgid()
    async with started(peers, *options, "-socket-group", str(group)) as (host, plugin):
        path = Path(plugin["address"])
        status = path.stat()
        assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, group)
        assert await host.get("bytes:1") == b"\0"
        assert (await host.do("kill"))["exited"] is True
        assert not path.exists()


async def test_the_port_is_in_the_range_of_the_host(peers: Peers) -> None:
    options = ["-min-port", "21410", "-max-port", "21430"]
    async with contextlib.AsyncExitStack() as stack:
        ports = []
        for _ in range(2):
            host, plugin = await stack.enter_async_context(started(peers, *options, KV_TCP="1"))
            assert await host.get("bytes:1") == b"\0"
            ports.append(int(plugin["address"].removeprefix("127.0.0.1:")))
    assert len(set(ports)) == 2
    assert all(21410 <= port <= 21430 for port in ports)


async def test_the_default_range_of_ports_is_gos(peers: Peers) -> None:
    async with started(peers, KV_TCP="1") as (_, plugin):
        assert 10000 <= int(plugin["address"].removeprefix("127.0.0.1:")) <= 25000


async def test_a_plugin_that_cannot_serve_says_why(peers: Peers, tmp_path: Path) -> None:
    log = tmp_path / "log"
    options = ["-socket-group", "no-such-group", "-log", str(log)]
    async with GoHost(peers, PLUGIN, *options) as host:
        await failure(host, "start")
    entry = next(entry for entry in log_of(log) if "no-such-group" in entry["@message"])
    assert entry["@level"] == "error"


# Logs and signals


@TLS
async def test_the_plugins_records_are_in_the_hosts_log(
    peers: Peers, tmp_path: Path, options: Sequence[str]
) -> None:
    log = tmp_path / "log"
    async with started(peers, *options, "-log", str(log)) as (host, _):
        await failure(host, "get", key="raise:the disk is full")
    entry = one(log_of(log), "/proto.KV/Get raised")
    assert entry["@level"] == "error"
    assert entry["@module"] == "pyplugin.plugin"
    assert entry["stacktrace"].endswith("\nRuntimeError: the disk is full")


@TLS
async def test_an_orderly_life_leaves_nothing_above_info_in_the_log(
    peers: Peers, tmp_path: Path, options: Sequence[str]
) -> None:
    log = tmp_path / "log"
    async with started(peers, *options, "-log", str(log)) as (host, _):
        await host.get("bytes:1")
        await host.do("kill")
    entries = log_of(log)
    assert [e for e in entries if e["@level"] not in ("trace", "debug", "info")] == []
    assert "error" not in one(entries, "plugin process exited")


async def test_a_logger_of_the_plugins_own_arrives(peers: Peers, tmp_path: Path) -> None:
    code = (
        "import logging, runpy, sys\n"
        "from pyplugin.serving.hclog import configure_logging\n"
        "configure_logging()\n"
        "logging.getLogger('my.module').warning('%s %d', 'gr\\xfc\\xdfe', 7)\n"
        f"runpy.run_path({PLUGIN[1]!r}, run_name='__main__')\n"
    )
    log = tmp_path / "log"
    command = [sys.executable, "-c", code]
    async with started(peers, "-log", str(log), command=command) as (host, _):
        await host.get("bytes:1")
    entry = one(log_of(log), "grüße 7")
    assert (entry["@level"], entry["@module"]) == ("warn", "my.module")


def logging_plugin(code: str, **settings: Any) -> list[str]:
    """A plugin that runs ``code`` once ``serve`` has set logging up."""
    program = f"""
import logging, sys
sys.path.insert(0, {str(Path(PLUGIN[1]).parent)!r})
from pyplugin import ServeConfig, serve
from plugin import HANDSHAKE, KVPlugin

class Logging(KVPlugin):
    def servicers(self, broker):
        log = logging.getLogger("my.module")
{textwrap.indent(textwrap.dedent(code), " " * 8)}
        return super().servicers(broker)

serve(ServeConfig(HANDSHAKE, {{"kv": Logging()}}, **{settings!r}))
"""
    return [sys.executable, "-c", program]


async def logged(peers: Peers, log: Path, command: Sequence[str]) -> list[dict[str, Any]]:
    """What a plugin logged, as the Go host's log has it, after one call."""
    async with started(peers, "-log", str(log), command=command) as (host, _):
        await host.get("bytes:1")
    entries = log_of(log)
    assert one(entries, "plugin process exited")["@level"] == "info"
    return [entry for entry in entries if not entry["@module"].startswith("host")]


async def test_the_fields_of_a_record_arrive(peers: Peers, tmp_path: Path) -> None:
    code = """
    import datetime
    log.info("put %s", "k\\n", extra={
        "size": 512, "took": 0.25, "hit": True, "ttl": None, "who": "gr\\xfc\\xdfe",
        "tags": ["a", {"b": (1,)}], "raw": b"\\xff", "nan": float("nan"), "huge": 10**400,
        "lone": "\\ud800", "at": datetime.date(2026, 1, 2), 5: "five", "@level": "error",
        "@message": 5, "@timestamp": 6, "deep": {"nan": float("-inf")},
    })
    """
    (entry,) = await logged(peers, tmp_path / "log", logging_plugin(code))
    assert entry["@level"] == "info"
    assert entry["@module"] == "my.module"
    assert entry["@message"] == "put k\n"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:]{8}\.\d{3}Z", entry["timestamp"])
    assert {key: entry[key] for key in entry.keys() - ENTRY} == {
        "size": 512,
        "took": 0.25,
        "hit": True,
        "ttl": None,
        "who": "grüße",
        "tags": ["a", {"b": [1]}],
        "raw": "b'\\xff'",
        "nan": "nan",
        "huge": str(10**400),
        "lone": "\ufffd",
        "at": "2026-01-02",
        "5": "five",
        "_@level": "error",
        "_@message": 5,
        "_@timestamp": 6,
        "deep": {"nan": "-inf"},
    }


async def test_an_exception_arrives_as_one_entry(peers: Peers, tmp_path: Path) -> None:
    code = """
    try:
        {}["key"]
    except KeyError:
        log.exception("failed\\nbadly", stack_info=True, extra={"size": 5})
    """
    (entry,) = await logged(peers, tmp_path / "log", logging_plugin(code))
    assert (entry["@level"], entry["@message"]) == ("error", "failed\nbadly")
    assert entry["stacktrace"].startswith("Traceback (most recent call last):\n  File ")
    assert entry["stacktrace"].endswith("\nKeyError: 'key'")
    assert entry["stack"].startswith("Stack (most recent call last):\n")
    assert entry["size"] == 5


async def test_a_record_that_does_not_fit_its_format_arrives(peers: Peers, tmp_path: Path) -> None:
    code = 'log.warning("put %d", "a", extra={"size": 5})'
    (entry,) = await logged(peers, tmp_path / "log", logging_plugin(code))
    assert (entry["@level"], entry["@message"], entry["size"]) == ("warn", "put %d", 5)
    assert "TypeError" in entry["logging_error"]


async def test_structlogs_events_and_logurus_records_arrive(peers: Peers, tmp_path: Path) -> None:
    code = """
    import structlog, loguru
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    structlog.get_logger("of.structlog").bind(request="r1").warning("one", size=5)
    class Propagate(logging.Handler):
        def emit(self, record):
            logging.getLogger(record.name).handle(record)
    loguru.logger.remove()
    loguru.logger.add(Propagate(), format="{message}")
    loguru.logger.bind(request="r2").error("two", size=6)
    """
    first, second = await logged(peers, tmp_path / "log", logging_plugin(code))
    assert [first[name] for name in ("@level", "@module", "@message", "request", "size")] == [
        "warn",
        "of.structlog",
        "one",
        "r1",
        5,
    ]
    assert [second[name] for name in ("@level", "@module", "@message", "request", "size")] == [
        "error",
        "__main__",
        "two",
        "r2",
        6,
    ]


async def test_no_line_of_many_threads_is_torn(peers: Peers, tmp_path: Path) -> None:
    code = """
    import threading
    def write(name):
        for number in range(500):
            log.info("%s %d", name, number, extra={"filler": "x" * 1000})
    threads = [threading.Thread(target=write, args=[name]) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    """
    entries = await logged(peers, tmp_path / "log", logging_plugin(code))
    assert len(entries) == 8 * 500
    for name in range(8):
        mine = [entry for entry in entries if entry["@message"].startswith(f"{name} ")]
        assert [entry["@message"] for entry in mine] == [f"{name} {n}" for n in range(500)]
        assert {entry["filler"] for entry in mine} == {"x" * 1000}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("trace", ["trace", "debug", "info", "warn", "error"]),
        ("debug", ["debug", "info", "warn", "error"]),
        (None, ["info", "warn", "error"]),
        ("error", ["error"]),
        ("off", []),
    ],
)
async def test_the_plugins_level(
    peers: Peers, tmp_path: Path, level: str | None, expected: list[str]
) -> None:
    code = 'for level in 5, 10, 20, 30, 40: log.log(level, "m")'
    command = logging_plugin(code, log_level=level)
    entries = await logged(peers, tmp_path / "log", command)
    assert [e["@level"] for e in entries if e["@module"] == "my.module"] == expected
    # Nothing of the many words that HTTP/2 has for each call, at any level.
    assert {entry["@module"] for entry in entries} <= {"my.module", "asyncio"}


@TLS
@NETWORK
async def test_sigint_does_nothing_and_sigterm_ends_it(
    peers: Peers, tmp_path: Path, options: Sequence[str], variables: dict[str, str]
) -> None:
    log = tmp_path / "log"
    async with started(peers, *options, "-log", str(log), **variables) as (host, plugin):
        os.kill(plugin["pid"], signal.SIGINT)
        os.kill(plugin["pid"], signal.SIGINT)
        assert await host.do("ping") == {}
        assert await host.get("bytes:1") == b"\0"
        os.kill(plugin["pid"], signal.SIGTERM)
        await process_end(plugin["pid"])
        if not variables:
            assert not Path(plugin["address"]).exists()
        assert (await host.do("kill"))["exited"] is True
    entry = one(log_of(log), "plugin process exited")
    assert "error" not in entry


# go-plugin's own example hosts


async def one_call(*command: str, cwd: Path, env: Mapping[str, str]) -> bytes:
    """What an example host prints; its log, on stderr, has nothing to warn of."""
    status, out, err = await run(command, cwd=cwd, env=env)
    assert status == 0, (out, err)
    assert b" plugin: plugin exited\n" in err
    assert b"[WARN]" not in err
    assert b"[ERROR]" not in err
    return out


@pytest.mark.parametrize("command", [PLUGIN, EXAMPLE], ids=["fixture", "example"])
async def test_the_example_host(peers: Peers, tmp_path: Path, command: Sequence[str]) -> None:
    env = {"KV_PLUGIN": shlex.join(command), "KV_PROTO": "grpc"}
    assert await one_call(peers.grpc_host, "put", "k", "from Go", cwd=tmp_path, env=env) == b""
    if command is EXAMPLE:
        expected = b"from Go\n\nWritten from the Python plugin"
        assert (tmp_path / "kv_k").read_bytes() == expected
        out = await one_call(peers.grpc_host, "get", "k", cwd=tmp_path, env=env)
        assert out == expected + b"\n"
    status, out, _ = await run([peers.grpc_host, "get", "none"], cwd=tmp_path, env=env)
    assert status == 1
    assert b"code = NotFound desc = no value under 'none'" in out


@TLS
async def test_the_example_plugin(peers: Peers, tmp_path: Path, options: Sequence[str]) -> None:
    async with started(peers, *options, command=EXAMPLE, cwd=tmp_path) as (host, _):
        await host.put("k", b"v" * 5 * 2**20)
        value = (tmp_path / "kv_k").read_bytes()
        assert value == b"v" * 5 * 2**20 + b"\n\nWritten from the Python plugin"
        assert await host.get("k") == value
        assert await failure(host, "get", key="none") == ("NotFound", "no value under 'none'")
        code, _ = await failure(host, "get", key="a/b")
        assert code == "InvalidArgument"


def install(folder: Path, **variables: str) -> None:
    """Puts the plugin where go-plugin's negotiated host looks for it."""
    script = folder / "kv-plugin"
    settings = " ".join(f"{name}={value}" for name, value in variables.items())
    script.write_text(f"#!/bin/sh\n{settings} exec {shlex.join(PLUGIN)}\n")
    script.chmod(0o700)


@pytest.mark.parametrize("versions", ["3", "2,3,4"])
async def test_the_negotiated_host(peers: Peers, tmp_path: Path, versions: str) -> None:
    install(tmp_path, KV_VERSIONS=versions)
    env = {"KV_PROTO": "grpc"}
    offered = [peers.negotiated_host, "get", "env:PLUGIN_PROTOCOL_VERSIONS"]
    assert await one_call(*offered, cwd=tmp_path, env=env) == b"3\n"
    assert await one_call(peers.negotiated_host, "put", "k", "v", cwd=tmp_path, env=env) == b""


async def test_the_negotiated_host_without_its_version(peers: Peers, tmp_path: Path) -> None:
    install(tmp_path, KV_VERSIONS="3")
    # Go kills the plugin at once, which cannot remove its socket then.
    with tempfile.TemporaryDirectory() as folder:
        status, out, _ = await run(
            [peers.negotiated_host, "get", "k"],
            cwd=tmp_path,
            env={"KV_PROTO": "netrpc", "TMPDIR": folder},
        )
    assert status == 1
    assert b"Plugin version: 3, Client versions: [2]" in out
