"""Which lines of a plugin's log are handed on."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures.logs import (
    LIMIT,
    PIPE_BYTES,
    Keep,
    KeepLines,
    entry,
    last_words,
    new_logger,
    pipe,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = ["trace", "debug", "info", "warn", "error"]
STREAM = b"".join(entry(level, level) for level in LEVELS)
CODE = f"import os; os.write(2, {STREAM!r})"


async def logged(logger: logging.Logger, level: str | None = None) -> list[str]:
    """What of ``STREAM`` comes to a handler of ``logger``."""
    keep = Keep()
    logger.addHandler(keep)
    async with pipe(logger, level=level) as stderr:
        stderr.put(STREAM)
    logger.removeHandler(keep)
    return keep.messages


@pytest.mark.parametrize(
    ("level", "count"),
    [
        (logging.NOTSET + 1, 5),
        (logging.DEBUG, 5),
        (logging.INFO, 3),
        (25, 2),
        (logging.WARNING, 2),
        (logging.ERROR, 1),
        (logging.CRITICAL, 0),
    ],
)
async def test_a_logger_gets_what_it_is_enabled_for(level: int, count: int) -> None:
    assert await logged(new_logger(level=level)) == LEVELS[5 - count :]


async def test_a_logger_without_a_level_has_that_of_its_parent() -> None:
    parent = new_logger(level=logging.WARNING)
    assert await logged(parent.getChild("child")) == ["warn", "error"]


@pytest.mark.parametrize("of_logger", [logging.DEBUG, logging.CRITICAL])
@pytest.mark.parametrize(
    ("level", "count"), [*zip([*LEVELS, "off"], range(5, -1, -1), strict=True)]
)
async def test_a_level_of_its_own_goes_before_the_loggers(
    level: str, count: int, of_logger: int
) -> None:
    keep = Keep()
    await last_words(CODE, log_level=level, stderr_logger=new_logger(keep, level=of_logger))
    assert keep.messages == LEVELS[5 - count :]


@pytest.mark.parametrize(
    ("settings", "count"),
    [
        ({}, 5),
        ({"log_level": "warn"}, 2),
        ({"stderr_logger": new_logger(level=logging.INFO)}, 3),
        ({"logger": new_logger(level=logging.INFO)}, 5),
        ({"stderr_logger": new_logger(level=logging.INFO), "log_level": "trace"}, 5),
        ({"log_level": "off"}, 0),
    ],
)
async def test_levels_of_a_sink(settings: dict[str, Any], count: int) -> None:
    sink = KeepLines()
    error = await last_words(CODE, log_sink=sink, **settings)
    assert [line + b"\n" for line in sink.items] == STREAM.splitlines(keepends=True)[5 - count :]
    # What is said of a plugin that failed is of all levels.
    assert len(error.stderr_tail) == 5


async def test_a_disabled_logger_gets_nothing() -> None:
    logger = new_logger()
    logger.disabled = True
    assert await logged(logger) == []
    assert await logged(logger, "trace") == []


@pytest.fixture
def enabled() -> Iterator[None]:
    """Undoes ``logging.disable``."""
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("enabled")
async def test_what_logging_disables_is_disabled() -> None:
    logger = new_logger(manager=logging.Logger.manager)
    logging.disable(logging.WARNING)
    assert await logged(logger) == ["error"]
    logging.disable()
    assert await logged(logger) == []


# Changes while a plugin logs


class Storm:
    """A plugin that logs numbers, and that waits when it is told to."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._is_ended = False
        self._extra: list[bytes] = []
        self._count = 0
        self._written = threading.Condition()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for start in itertools.count(0, 1000):
            extra, self._extra = self._extra, []
            lines = [b"%09d" % number for number in range(start, start + 1000)]
            os.write(self._descriptor, b"\n".join([*extra, *lines, b""]))
            with self._written:
                self._count += 1
                self._written.notify_all()
            if self._is_ended:
                return

    def say(self, line: bytes) -> None:
        """Has it log another line, soon."""
        self._extra.append(line)

    async def go_on(self) -> None:
        """Waits until it has logged more than can be on its way: two megabytes."""

        def wait() -> bool:
            with self._written:
                end = self._count + 200
                return self._written.wait_for(lambda: self._count >= end, LIMIT)

        assert await asyncio.to_thread(wait)

    async def end(self) -> None:
        self._is_ended = True
        await asyncio.to_thread(self._thread.join, LIMIT)


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("how", ["level", "disable", "disabled"])
async def test_a_change_takes_effect_amid_a_storm(how: str) -> None:
    """Lines are dropped and wanted, and dropped and wanted again."""
    stop_at = None
    counts = 0

    def switch(is_on: bool) -> None:
        if how == "level":
            logger.setLevel(logging.INFO if is_on else logging.ERROR)
        elif how == "disable":
            logging.disable(logging.NOTSET if is_on else logging.WARNING)
        else:
            logger.disabled = not is_on

    def on_record(record: logging.LogRecord) -> None:
        nonlocal counts
        counts += 1
        if counts == stop_at:
            switch(False)

    keep = Keep(on_record)
    logger = new_logger(keep, level=logging.INFO, manager=logging.Logger.manager)
    async with pipe(logger) as stderr:
        switch(False)
        storm = Storm(stderr.descriptor)
        try:
            await storm.go_on()
            assert counts == 0
            for _ in range(2):
                before = counts
                stop_at = before + 5_000
                switch(True)
                await keep.records.count(stop_at)
                # That from which on lines were wanted no more.
                await storm.go_on()
                assert 5_000 <= counts - before <= 5_000 + PIPE_BYTES // 10
                if how != "disabled":
                    storm.say(b"[ERROR] still here")
                    await keep.message("[ERROR] still here")
                numbers = [int(text) for text in keep.messages[before:] if text.isdigit()]
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        finally:
            await storm.end()
            logger.removeHandler(keep)
            logger.disabled = False


async def test_a_change_takes_effect_with_the_next_line() -> None:
    """While little comes."""
    keep = Keep()
    logger = new_logger(keep, level=logging.ERROR)
    async with pipe(logger) as stderr:
        for level, line, is_wanted in [
            (logging.ERROR, "info 1", False),
            (logging.INFO, "info 2", True),
            (logging.ERROR, "info 3", False),
            (logging.CRITICAL, "[ERROR] 4", False),
            (logging.DEBUG, "info 5", True),
        ]:
            logger.setLevel(level)
            stderr.put(line.encode() + b"\n")
            if is_wanted:
                await keep.message(line)
            else:
                await until_read(stderr.descriptor)
    assert keep.messages == ["info 2", "info 5"]


async def until_read(descriptor: int) -> None:
    from tests.golden.ours import is_unread

    while is_unread(descriptor):  # noqa: ASYNC110 -- nothing tells when it was read
        await asyncio.sleep(0)
