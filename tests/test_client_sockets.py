"""Where a plugin's unix sockets lie, and who may connect."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import kv_pb2
import pytest

from pyplugin import Client, HandshakeError, UnixSocketConfig
from pyplugin._compat import timeout
from tests.fixtures import client, script
from tests.fixtures.lives import LIMIT, get
from tests.fixtures.plugin import KVServicer

GROUP = str(os.getgid())


def socket_of(plugin: Client) -> Path:
    config = plugin.reattach_config()
    assert config is not None
    return Path(config.addr)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_sockets_lie_in_a_folder_of_the_plugins_own(temporary_folder: Path) -> None:
    async with client() as plugin:
        path = socket_of(plugin)
        assert path.parent.parent == temporary_folder
        assert (mode(path), mode(path.parent)) == (0o600, 0o700)
    assert not path.parent.exists()


@pytest.mark.parametrize("group", [None, GROUP], ids=["owner", "group"])
async def test_folder_and_group_are_the_users_choice(tmp_path: Path, group: str | None) -> None:
    sockets = UnixSocketConfig(temp_dir=str(tmp_path), group=group)
    async with timeout(LIMIT), client(unix_socket_config=sockets) as plugin:
        path = socket_of(plugin)
        assert path.parent.parent == tmp_path
        # The broker's sockets of both sides too.
        await get(plugin, "accept")
        server = await plugin.broker.accept_and_serve(plugin.broker.next_id(), [KVServicer()])
        every = list(path.parent.iterdir())
        assert len(every) == 3
        assert {mode(one) for one in every} == {0o600 if group is None else 0o660}
        assert mode(path.parent) == (0o700 if group is None else 0o770)
        assert {one.stat().st_gid for one in every} == {os.getgid()}
        server.close()
        await server.wait_closed()
    assert list(tmp_path.iterdir()) == []


async def test_a_group_by_its_name(tmp_path: Path) -> None:
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    sockets = UnixSocketConfig(temp_dir=str(tmp_path), group=name)
    async with client(unix_socket_config=sockets) as plugin:
        assert mode(socket_of(plugin)) == 0o660


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"group": "no-such-group"}, "the group 'no-such-group' .* does not exist"),
        ({"group": str(2**32)}, "is no group number"),
        ({"temp_dir": "/no/such/folder"}, "No such file or directory: '/no/such/folder"),
        ({"temp_dir": "x" * 100}, "x' is too long for a unix socket"),
    ],
)
async def test_what_cannot_be_fails_the_start_and_leaves_nothing(
    settings: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    if settings.get("temp_dir", "").startswith("x"):
        settings = {"temp_dir": str(tmp_path / settings["temp_dir"])}
        Path(settings["temp_dir"]).mkdir()
    plugin = client(unix_socket_config=UnixSocketConfig(**settings))
    with pytest.raises(HandshakeError, match=reason) as raised:
        await plugin.start()
    assert str(raised.value).startswith("plugin 'plugin.py': the folder of its sockets: ")
    assert plugin.pid is None
    if "temp_dir" in settings and (folder := Path(settings["temp_dir"])).exists():
        assert list(folder.iterdir()) == []


async def test_a_failed_start_leaves_no_folder(tmp_path: Path) -> None:
    sockets = UnixSocketConfig(temp_dir=str(tmp_path))
    plugin = client(script("raise SystemExit(3)"), unix_socket_config=sockets)
    with pytest.raises(Exception, match="exited with status 3"):
        await plugin.start()
    assert list(tmp_path.iterdir()) == []


async def test_a_crash_leaves_no_folder_before_kill(tmp_path: Path) -> None:
    sockets = UnixSocketConfig(temp_dir=str(tmp_path))
    async with timeout(LIMIT), client(unix_socket_config=sockets) as plugin:
        kv = plugin.dispense("kv")
        with pytest.raises(Exception, match="exited with status 7"):
            await kv.Get(kv_pb2.GetRequest(key="exit"))
    assert list(tmp_path.iterdir()) == []
