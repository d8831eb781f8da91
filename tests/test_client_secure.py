"""Running only the executable that has the right checksum."""

from __future__ import annotations

import asyncio
import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pyplugin import (
    ChecksumMismatch,
    PluginNotFound,
    ProcessExitedError,
    ReattachConfig,
    SecureConfig,
)
from tests.fixtures import PLUGIN, client, config
from tests.fixtures.lives import get


def digest(path: str | Path, name: str = "sha256") -> bytes:
    return hashlib.new(name, Path(path).read_bytes()).digest()


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A plugin whose start leaves a file."""
    path = tmp_path / "bin" / "my-plugin"
    path.parent.mkdir()
    started = tmp_path / "started"
    path.write_text(f"#!/bin/sh\n: > {started}\nexec {sys.executable} {PLUGIN[1]}\n")
    path.chmod(0o700)
    return path


@pytest.mark.parametrize("name", ["sha256", "sha512", "sha3_256", "blake2b", "sha1"])
async def test_the_right_checksum(program: Path, name: str) -> None:
    secure = SecureConfig(checksum=digest(program, name), hash=name)
    async with client([str(program)], secure_config=secure) as plugin:
        assert await get(plugin, "bytes:1") == b"\0"


@pytest.mark.parametrize("name", ["sha256", "sha512"])
async def test_the_wrong_checksum_names_all_and_starts_nothing(program: Path, name: str) -> None:
    wrong = bytes(hashlib.new(name).digest_size)
    statuses: list[int | None] = []
    plugin = client(
        [str(program)],
        secure_config=SecureConfig(checksum=wrong, hash=name),
        on_exit=statuses.append,
    )
    with pytest.raises(ChecksumMismatch) as raised:
        await plugin.start()
    message = str(raised.value)
    assert raised.value.plugin == "my-plugin"
    for part in (
        "plugin 'my-plugin'",
        str(program),
        name,
        wrong.hex(),
        digest(program, name).hex(),
    ):
        assert part in message
    assert plugin.pid is None
    assert statuses == []
    assert not (program.parents[1] / "started").exists()
    await plugin.kill()


async def test_a_file_that_was_changed_since(program: Path) -> None:
    secure = SecureConfig(checksum=digest(program))
    program.write_text(program.read_text() + "# changed\n")
    with pytest.raises(ChecksumMismatch):
        await client([str(program)], secure_config=secure).start()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"checksum": b""}, "`checksum` is empty"),
        ({"checksum": bytes(31)}, "31 bytes, a digest of sha256 has 32"),
        ({"checksum": bytes(32), "hash": "sha512"}, "32 bytes, a digest of sha512 has 64"),
        ({"checksum": bytes(32), "hash": "crc"}, "unsupported hash type crc"),
        ({"checksum": bytes(32), "hash": "shake_128"}, "shake_128"),
    ],
)
def test_a_checksum_that_cannot_be_is_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SecureConfig(**settings)


def test_what_runs_already_cannot_be_checked() -> None:
    with pytest.raises(ValueError, match="`secure_config` cannot be used with `reattach`"):
        config(
            None,  # type: ignore[arg-type]
            secure_config=SecureConfig(checksum=bytes(32)),
            reattach=ReattachConfig(1, "/s"),
        )


async def test_a_relative_path_begins_in_the_plugins_folder(program: Path) -> None:
    secure = SecureConfig(checksum=digest(program))
    settings: dict[str, Any] = {"cwd": str(program.parents[1]), "secure_config": secure}
    async with client(["bin/my-plugin"], **settings) as plugin:
        assert await get(plugin, "cwd") == str(program.parents[1]).encode()


async def test_a_name_is_found_in_the_path_of_the_plugin(program: Path) -> None:
    secure = SecureConfig(checksum=digest(program))
    async with client(
        ["my-plugin"], env={"PATH": f"{program.parent}:/usr/bin:/bin"}, secure_config=secure
    ) as plugin:
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_link_is_checked_by_what_it_leads_to(program: Path) -> None:
    link = program.parent / "link"
    link.symlink_to(program)
    async with client([str(link)], secure_config=SecureConfig(checksum=digest(program))) as plugin:
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_virtual_environments_python_stays_one() -> None:
    secure = SecureConfig(checksum=digest(sys.executable))
    async with client(PLUGIN, secure_config=secure) as plugin:
        assert await get(plugin, "bytes:1") == b"\0"


@pytest.mark.parametrize("missing", ["/no/such/plugin", "no-such-plugin-anywhere"])
async def test_a_file_that_is_missing(missing: str) -> None:
    secure = SecureConfig(checksum=bytes(32))
    with pytest.raises(PluginNotFound, match=f"'{re.escape(missing)}' cannot be read") as raised:
        await client([missing], secure_config=secure).start()
    assert str(raised.value).startswith(f"plugin '{Path(missing).name}': ")


async def test_kill_during_the_check_starts_nothing(program: Path) -> None:
    plugin = client([str(program)], secure_config=SecureConfig(checksum=digest(program)))
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    await plugin.kill()
    with pytest.raises(ProcessExitedError, match=r"kill\(\) ended it"):
        await start
    assert plugin.pid is None
    assert not (program.parents[1] / "started").exists()


async def test_a_start_that_is_cancelled_during_the_check_leaves_nothing(program: Path) -> None:
    plugin = client([str(program)], secure_config=SecureConfig(checksum=digest(program)))
    start = asyncio.ensure_future(plugin.start())
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert plugin.pid is None
    # And it can be tried again.
    async with plugin:
        assert await get(plugin, "bytes:1") == b"\0"


async def test_a_folder_is_no_executable(tmp_path: Path) -> None:
    with pytest.raises(PluginNotFound, match="cannot be read for its checksum: Is a directory"):
        await client([str(tmp_path)], secure_config=SecureConfig(checksum=bytes(32))).start()
