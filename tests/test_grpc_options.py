"""``grpc_options`` of both sides: what they change, and what they leave as it is."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from grpclib.config import Configuration
from grpclib.const import Status
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged
from h2.settings import SettingCodes

from pyplugin import ConnectionLost, ServeConfig, ServeTestConfig, serve_async
from pyplugin._compat import timeout
from pyplugin.net.grpc.connection import configured
from tests.fixtures import HANDSHAKE, client
from tests.fixtures.lives import LIMIT, get

MUX = pytest.mark.parametrize("mux", [False, True], ids=["unix", "mux"])
OURS = configured(None)


@MUX
async def test_a_plugin_that_hangs_is_found_out_by_a_keepalive(mux: bool) -> None:
    keepalive = Configuration(
        _keepalive_time=0.1,
        _keepalive_timeout=1.0,
        _http2_max_pings_without_data=0,
        _http2_min_sent_ping_interval_without_data=0.05,
    )
    async with (
        timeout(LIMIT),
        client(grpc_options=keepalive, grpc_broker_multiplex=mux) as plugin,
    ):
        assert plugin.pid is not None
        call = asyncio.ensure_future(get(plugin, "sleep:60000"))
        assert await get(plugin, "bytes:1") == b"\0"
        os.kill(plugin.pid, signal.SIGSTOP)
        try:
            with pytest.raises(ConnectionLost, match="did not answer a keepalive ping") as raised:
                await call
        finally:
            os.kill(plugin.pid, signal.SIGCONT)
        assert raised.value.status is Status.UNAVAILABLE
        # On a new connection.
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_plugin_serves_with_the_window_that_it_was_told() -> None:
    test = ServeTestConfig()
    options = Configuration(http2_stream_window_size=2**16)
    config = ServeConfig(HANDSHAKE, {}, test=test, grpc_options=options)
    serving = asyncio.ensure_future(serve_async(config))
    async with timeout(LIMIT):
        settings = await first_settings((await test.reattach_config()).addr)
        test.stop.set()
        await serving
    assert settings[SettingCodes.INITIAL_WINDOW_SIZE].new_value == 2**16


async def first_settings(path: str) -> dict[Any, Any]:
    """What a server says of itself, by HTTP/2, to whoever connects."""
    connection = H2Connection()
    connection.initiate_connection()
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(connection.data_to_send())
        while True:
            for event in connection.receive_data(await reader.read(65536)):
                if isinstance(event, RemoteSettingsChanged):
                    return event.changed_settings
    finally:
        writer.close()
        await writer.wait_closed()


def test_what_was_not_set_stays_ours() -> None:
    options = configured(Configuration(_keepalive_time=1.0, http2_connection_window_size=2**20))
    assert (options._keepalive_time, options.http2_connection_window_size) == (1.0, 2**20)
    assert options.http2_stream_window_size == OURS.http2_stream_window_size
    assert options.ssl_target_name_override == OURS.ssl_target_name_override


def test_the_list_of_the_port_changes_nothing() -> None:
    assert configured(["anything"]) == OURS
