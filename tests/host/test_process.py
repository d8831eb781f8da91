"""The parts of a process that a client shows on other systems than this one only."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from pyplugin.host.process import PipeReader, ProcessRunner, describe_exit
from tests.fixtures import client, script

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.asyncio(loop_factories=["asyncio"])
async def test_what_a_loop_cannot_watch_is_read_by_a_thread(tmp_path: Path) -> None:
    """A file here, every pipe on Windows."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)
    received = bytearray()
    reader = PipeReader(path.open("rb", buffering=0), received.extend)
    await reader.finish()
    assert reader.ended.done()
    assert received == b"x" * 200_000


async def test_a_process_is_watched_without_pidfd_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    async with client() as plugin:
        assert plugin.dispense("kv")
        runner = plugin._runner
    assert runner is not None
    assert runner.exit_code == 0


async def test_a_process_is_not_signalled_once_it_has_ended() -> None:
    runner = ProcessRunner(script("pass"), env=dict(os.environ), cwd=None)
    assert await asyncio.wait_for(asyncio.shield(runner.exited), 30) == 0
    runner.terminate()
    runner.kill()
    assert runner.exit_code == 0
    runner.stdout.close()
    runner.stderr.close()


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-signal.SIGSEGV, "was killed by SIGSEGV"),
        (-99, "was killed by signal 99"),
    ],
)
def test_exit_statuses_in_words(status: int, words: str) -> None:
    assert describe_exit(status) == words
