"""What a client is told about its plugin's log, and what it refuses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import LogForward, ProcessExitedError
from tests.fixtures import client, config, is_alive, script
from tests.fixtures.logs import KeepLines, last_words

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("level", ["", "INFO", "warning", "critical", "all", 20])
def test_an_unknown_level_is_refused(level: Any) -> None:
    with pytest.raises(ValueError, match=r"`log_level` is .*'trace', 'debug', .*'off'"):
        config(log_level=level)


@pytest.mark.parametrize("level", ["trace", "debug", "info", "warn", "error", "off", None])
def test_the_levels_of_hclog_are_taken(level: str | None) -> None:
    assert config(log_level=level).log_level == level


@pytest.mark.parametrize("size", [15, 0, -1])
def test_a_buffer_smaller_than_gos_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=f"`plugin_log_buffer_size` is {size}; .* at least 16"):
        config(plugin_log_buffer_size=size)


async def test_the_least_buffer_works() -> None:
    sink = KeepLines()
    text = "0123456789" * 4
    code = f"import os; os.write(2, b'{text}\\nshort\\n')"
    await last_words(code, plugin_log_buffer_size=16, log_sink=sink)
    assert [line.decode() for line in sink.items] == [text[:16], text[16:32], text[32:], "short"]


def test_a_log_goes_one_way() -> None:
    with pytest.raises(ValueError, match="only one of `log_sink` and `log_forward`"):
        config(log_sink=KeepLines(), log_forward=LogForward(2))


@pytest.mark.parametrize("form", ["", "json", "HCLOG"])
def test_an_unknown_format_is_refused(form: Any) -> None:
    with pytest.raises(ValueError, match=r"`format` is .*'hclog', 'logfmt', 'verbatim'"):
        LogForward(2, form)


def test_a_negative_descriptor_is_refused() -> None:
    with pytest.raises(ValueError, match="`fd` is -1"):
        LogForward(-1)


def test_log_settings_are_named() -> None:
    """More may come before them."""
    settings = config()
    names = ("stderr", "plugin_log_buffer_size", "log_level", "log_sink", "log_forward")
    assert not set(names) & set(settings.__match_args__)


async def test_a_closed_descriptor_fails_the_start(tmp_path: Path) -> None:
    """Though its number is the next that the system gives; and nothing is left of the plugin."""
    path = tmp_path / "file"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.close(descriptor)
    forward = LogForward(descriptor, "verbatim")
    plugin = client(script("import os; os.write(2, b'line\\n')"), log_forward=forward)
    with pytest.raises(ValueError, match=f"`log_forward` names descriptor {descriptor}"):
        await plugin.start()
    assert plugin.pid is None or not is_alive(plugin.pid)
    # It may be tried again, once the descriptor is one.
    with path.open("wb") as file:
        assert file.fileno() == descriptor
        with pytest.raises(ProcessExitedError):
            await plugin.start()
    assert path.read_bytes() == b"line\n"


async def test_a_high_closed_descriptor_fails_the_start() -> None:
    """Which no other file has."""
    plugin = client(script("import time; time.sleep(60)"), log_forward=LogForward(987))
    with pytest.raises(ValueError, match="`log_forward` names descriptor 987: Bad file descriptor"):
        await plugin.start()
    assert plugin.pid is None or not is_alive(plugin.pid)


async def test_a_descriptor_that_cannot_be_written_to_loses_lines(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "file"
    path.touch()
    with path.open("rb") as file:
        forward = LogForward(file.fileno())
        await last_words("import os; os.write(2, b'line\\n')", log_forward=forward)
    (record,) = caplog.records
    assert "are lost, since they cannot be forwarded: Bad file descriptor" in record.getMessage()
