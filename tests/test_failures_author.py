"""What a plugin's author meets, as docs/troubleshooting.md lists it: cause and remedy are told.

The plugin is the process that says it; in a host it is named by the logger and the error.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import HandshakeConfig, Plugin, ServeConfig, ServeTestConfig, serve, serve_async
from tests.conftest import ROOT
from tests.fixtures import PLUGIN, client, script
from tests.fixtures.lives import LIMIT, get

if TYPE_CHECKING:
    from collections.abc import Sequence

COOKIE = {"BASIC_PLUGIN": "hello"}
AUTHOR = [sys.executable, str(ROOT / "tests" / "fixtures" / "authors.py")]


async def last_words(command: Sequence[str], **variables: str) -> tuple[int | None, str]:
    """Exit status and stderr of a plugin that ends by itself, and says nothing else."""
    child = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **COOKIE, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(child.communicate(), LIMIT)
    assert out == b""
    return child.returncode, err.decode()


def serving(code: str) -> list[str]:
    """A plugin program."""
    return script(
        "import asyncio\n"
        "from pyplugin import HandshakeConfig, Plugin, ServeConfig, serve\n"
        f"CONFIG = ServeConfig(HandshakeConfig(1, 'BASIC_PLUGIN', 'hello'), {{}})\n{code}"
    )


# Starting


async def test_a_plugin_that_is_run_by_hand() -> None:
    status, text = await last_words(PLUGIN, BASIC_PLUGIN="")
    assert status == 1
    assert text.startswith("This binary is a plugin, to be started by the program that uses it")
    assert "Run that program: it finds and starts its plugins by itself." in text
    assert "sets the environment variable BASIC_PLUGIN" in text


async def test_an_empty_magic_cookie() -> None:
    code = "serve(ServeConfig(HandshakeConfig(1, 'KEY', ''), {}))"
    status, text = await last_words(serving(code))
    assert status == 1
    assert "its ServeConfig has an empty magic cookie key or value" in text
    assert "both must be set in HandshakeConfig" in text


async def test_serve_inside_an_event_loop() -> None:
    with pytest.raises(
        RuntimeError, match=r"serve\(\) cannot run in an event loop: `await serve_a"
    ):
        serve(ServeConfig(HandshakeConfig(1, "KEY", "value"), {}))


@pytest.mark.parametrize(
    "code",
    [
        "serve(CONFIG)\nserve(CONFIG)",
        "from pyplugin import serve_async\n"
        "async def main():\n"
        "    first = asyncio.create_task(serve_async(CONFIG))\n"
        "    try: await serve_async(CONFIG)\n"
        "    finally: await first\n"
        "asyncio.run(main())",
    ],
    ids=["afterwards", "at the same time"],
)
async def test_serve_for_the_second_time(code: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *serving(code),
        env={**os.environ, **COOKIE},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    assert (await asyncio.wait_for(child.stdout.readline(), LIMIT)).startswith(b"1|1|")
    child.terminate()
    out, err = await asyncio.wait_for(child.communicate(), LIMIT)
    assert (child.returncode, out) == (1, b"")
    assert b"RuntimeError: a process serves its plugin once, and this one has" in err
    assert b"name all plugins in one ServeConfig" in err


@pytest.mark.parametrize(
    ("variables", "cause", "remedy"),
    [
        (
            {"PLUGIN_UNIX_SOCKET_DIR": "/no/such/folder"},
            "cannot make a unix socket in '/no/such/folder': No such file or directory",
            "PLUGIN_UNIX_SOCKET_DIR, or TMPDIR, names the folder",
        ),
        (
            {"PLUGIN_UNIX_SOCKET_GROUP": "no-such-group"},
            "the group 'no-such-group' that may connect to the plugin does not exist",
            "make it, or name another",
        ),
        (
            {"PLUGIN_MAX_PORT": "70000"},
            "PLUGIN_MAX_PORT must be a port number from 0 to 65535, not '70000'",
            "the host's min_port and max_port say so",
        ),
        (
            {"PLUGIN_CLIENT_CERT": "no certificate"},
            "the peer's certificate cannot be read",
            "update go-plugin or pyplugin on the side that made it",
        ),
    ],
)
async def test_what_it_cannot_serve_with(
    variables: dict[str, str], cause: str, remedy: str
) -> None:
    status, text = await last_words(PLUGIN, **variables)
    assert status == 1
    message = json.loads(text)["@message"]
    assert message.startswith("cannot serve this plugin: ")
    assert cause in message
    assert remedy in message


class Wrong(Plugin):
    def __init__(self, servicers: Any) -> None:
        self.made = servicers

    def servicers(self, broker: Any) -> Any:
        return self.made

    def stub(self, broker: Any, channel: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        (object(), "plugin 'kv' must be an instance of pyplugin.Plugin, not <object"),
        (Wrong(None), "servicers() of plugin 'kv' must return a list of grpclib servicers, not No"),
        (Wrong([object()]), "servicers() of plugin 'kv' must return a list of grpclib servicers"),
    ],
)
async def test_a_plugin_that_is_none(plugin: Any, message: str) -> None:
    config = ServeConfig(HandshakeConfig(1, "K", "V"), {"kv": plugin}, test=ServeTestConfig())
    with pytest.raises(TypeError, match=re.escape(message)):
        await serve_async(config)


async def test_a_test_that_waits_for_a_plugin_that_is_not_served() -> None:
    test = ServeTestConfig()
    with pytest.raises(TypeError):
        await serve_async(ServeConfig(HandshakeConfig(1, "K", "V"), {"kv": Wrong(None)}, test=test))
    with pytest.raises(RuntimeError, match=r"the plugin is not served: TypeError.*must return a"):
        await test.reattach_config()


def test_an_unknown_level() -> None:
    with pytest.raises(
        ValueError, match=r"log_level must be None or one of .*trace.*not 'verbose'"
    ):
        ServeConfig(HandshakeConfig(1, "K", "V"), {}, log_level="verbose")


# Output


@pytest.mark.parametrize(("flag", "fails"), [("", False), ("1", True)])
async def test_print_before_serve(flag: str, fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    plugin = client(AUTHOR, KV_PRINT="hello\n", PYTHONUNBUFFERED=flag)
    try:
        await plugin.start()
    except Exception as error:
        assert fails
        assert "plugin 'authors.py': not a go-plugin handshake" in str(error)
        assert "a plugin must print nothing before its handshake" in str(error)
    else:
        assert not fails
        await plugin.kill()
        (warning,) = (r for r in caplog.records if "printed to stdout" in r.getMessage())
        assert warning.name == "pyplugin.host.plugin.authors.py"
        assert warning.getMessage().endswith("Print nothing before serve(), or to stderr")


# Handlers


async def test_an_exception_of_a_handler(caplog: pytest.LogCaptureFixture) -> None:
    async with client() as plugin:
        with pytest.raises(GRPCError) as raised:
            await get(plugin, "raise:the disk is full")
    assert raised.value.status is Status.UNKNOWN
    assert raised.value.message == "RuntimeError: the disk is full"
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.name == "pyplugin.host.plugin.plugin.py"
    assert record.getMessage() == "/proto.KV/Get raised"
    assert "raise RuntimeError(argument" in vars(record)["fields"]["stacktrace"]


async def test_a_handler_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    message = "/proto.KV/Get returned without sending a message: it must `await stream.send_message"
    async with client() as plugin:
        with pytest.raises(GRPCError, match=re.escape(message)):
            await get(plugin, "no-answer")
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.name == "pyplugin.host.plugin.plugin.py"
    assert record.getMessage().startswith(message)


async def test_a_blocking_handler_that_returns_a_coroutine() -> None:
    from tests.fixtures.authors import AuthorPlugin, Request

    async with client(AUTHOR, plugins={"kv": AuthorPlugin()}) as plugin:
        with pytest.raises(GRPCError) as raised:
            await plugin.dispense("kv").Unary(Request(key="coroutine"))
    message = str(raised.value.message)
    assert "BlockingServicer.Unary" in message
    assert "is no coroutine function, and returned a coroutine" in message
    assert "define it with `async def`, or have its decorator use functools.wraps" in message


async def test_a_dial_of_what_the_host_does_not_accept() -> None:
    async with client(grpc_broker_multiplex=True) as plugin:
        with pytest.raises(GRPCError) as raised:
            await get(plugin, "dial:9")
    message = str(raised.value.message)
    assert "the host refused broker id 9: nobody accepts broker id 9" in message
    assert "it must accept the id first" in message


async def test_an_on_shutdown_that_takes_too_long(caplog: pytest.LogCaptureFixture) -> None:
    async with client(AUTHOR, KV_ON_SHUTDOWN="long", KV_GRACE=0.1):
        pass
    (record,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert record.name == "pyplugin.host.plugin.authors.py"
    assert record.getMessage() == "on_shutdown did not end within 0.1 s: see shutdown_grace"
