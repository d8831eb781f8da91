"""What only host and plugin are to know is in no log, no error and no text of an object."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import Client, ClientConfig, HandshakeConfig, PyPluginError, mtls
from pyplugin._compat import timeout
from pyplugin.environment import PluginEnvironment
from pyplugin.host.runner import PluginCommand
from tests.fixtures import PLUGIN, KVPlugin, script
from tests.fixtures.lives import attach, get
from tests.fixtures.logs import LIMIT
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    from collections.abc import Sequence

COOKIE, TOKEN = "the-magic-cookie-of-this-test", "the-token-in-the-environment"
# It takes any cookie: this one is in no command.
OPEN = f"""
import os, runpy, sys
sys.path[:0] = {sys.path!r}
import kv
from pyplugin import HandshakeConfig
kv.HANDSHAKE = HandshakeConfig(1, "BASIC_PLUGIN", os.environ["BASIC_PLUGIN"])
runpy.run_path({PLUGIN[1]!r}, run_name="__main__")
"""
FAILURES: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    "missing": (["/no/such/plugin"], {}),
    "no folder": (script("pass"), {"cwd": "/no/such/folder"}),
    "no format": (["/dev/null"], {}),
    "another cookie": (PLUGIN, {}),
    "silent": (script("import time; time.sleep(60)"), {"start_timeout": 0.3}),
    "exits": (script("import sys; sys.exit('no license')"), {}),
    "garbage": (script("print('no handshake')"), {}),
    "no certificate": (script("print('1|1|unix|/s|grpc|'); input()"), {}),
    "nobody": (script("print('1|1|unix|/s|grpc|'); input()"), {"auto_mtls": False}),
    "no cookie key": (script("pass"), {"handshake_config": HandshakeConfig(1, "=", COOKIE)}),
    "an impossible name": (script("pass"), {"env": {"=": TOKEN}}),
    "an impossible value": (script("pass"), {"env": {"TOKEN": f"{TOKEN}\0"}}),
}


def config(command: Sequence[str], **settings: Any) -> ClientConfig:
    return ClientConfig(
        **{
            "handshake_config": HandshakeConfig(1, "BASIC_PLUGIN", COOKIE),
            "plugins": {"kv": KVPlugin()},
            "cmd": command,
            "env": {"TOKEN": TOKEN},
            "kill_timeout": 5,
            **settings,
        }
    )


class Secrets:
    """What must not be told, and all that was told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG)
        self._caplog = caplog
        self._certificates: list[mtls.Cert] = []
        self._told: list[str] = []
        generate = mtls.generate

        def remember() -> mtls.Cert:
            self._certificates.append(generate())
            return self._certificates[-1]

        monkeypatch.setattr(mtls, "generate", remember)

    def tell(self, *objects: object) -> None:
        for item in objects:
            self._told += [repr(item), str(item)]
            if isinstance(item, BaseException):
                self._told += traceback.format_exception(item)

    def check(self) -> None:
        records = [f"{record.getMessage()} {vars(record)}" for record in self._caplog.records]
        assert records
        pems = [pem for cert in self._certificates for pem in (cert.cert_pem, cert.key_pem)]
        secrets = [COOKIE, TOKEN, *(pem.decode().splitlines()[1] for pem in pems)]
        for text in [*records, *self._told, self._caplog.text]:
            for secret in secrets:
                assert secret not in text


async def test_a_life(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    secrets = Secrets(monkeypatch, caplog)
    async with timeout(LIMIT), Client(config(script(OPEN))) as plugin:
        assert await get(plugin, "env:TOKEN") == TOKEN.encode()
        server = await plugin.broker.accept_and_serve(7, [KVServicer()])
        reattach = plugin.reattach_config()
        assert reattach is not None
        assert reattach.client_key_pem
        secrets.tell(plugin, plugin._config, plugin._config.handshake_config, plugin.broker)
        secrets.tell(server, reattach, reattach.to_go(), plugin._handshake)
        async with attach(reattach) as second:
            secrets.tell(second, second._config)
            with pytest.raises(PyPluginError) as raised:
                await get(second, "exit")
        secrets.tell(raised.value)
    secrets.tell(plugin)
    secrets.check()


@pytest.mark.parametrize("what", FAILURES)
async def test_a_start_that_fails(
    what: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    command, settings = FAILURES[what]
    secrets = Secrets(monkeypatch, caplog)
    async with timeout(LIMIT):
        plugin = Client(config(command, **{"start_timeout": 3, **settings}))
        with pytest.raises((PyPluginError, ValueError)) as raised:
            await plugin.start()
        await plugin.kill()
    secrets.tell(plugin, plugin._config, raised.value)
    logging.getLogger("tests").debug("something")
    secrets.check()


def test_what_carries_an_environment() -> None:
    variables = {"PLUGIN_CLIENT_CERT": TOKEN}
    command = PluginCommand(args=["plugin"], env={"TOKEN": TOKEN, "BASIC_PLUGIN": COOKIE})
    for item in (PluginEnvironment.from_mapping(variables), command):
        assert TOKEN not in repr(item)
        assert COOKIE not in repr(item)
