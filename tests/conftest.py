"""What every test gets: both event loops, a temporary folder of its own, and a check for leaks."""

from __future__ import annotations

import asyncio
import inspect
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyplugin.testing import no_leaked_tasks, no_leaks, temporary_folder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
# The messages of the KV service, which most tests talk.
sys.path.insert(0, str(ROOT / "examples" / "kv"))


_LONG = {"cli", "examples", "hostile", "interop", "soak"}
_LONG_MODULES = (
    "test_client",
    "test_failures_",
    "test_mux",
    "test_serve",
    "test_stdio",
    "test_supervisor",
)


def _debug_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--loop", choices=["asyncio", "uvloop"], help="this event loop only")
    parser.addoption("--one-loop", action="store_const", dest="loop", const="asyncio")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every async test runs under asyncio's loop in debug mode, and under uvloop.

    Those that take most of the time, with many processes, run under one of the two each.
    """
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": _debug_loop}
    if sys.platform != "win32" and config.getoption("loop") != "asyncio":
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    marker = item.get_closest_marker("asyncio")
    is_free = marker is None or "loop_factories" not in marker.kwargs
    if is_free and config.getoption("loop") == "uvloop":
        loops = {"uvloop": loops["uvloop"]}
    takes_long = bool(_LONG & {*item.path.parts}) or item.path.stem.startswith(_LONG_MODULES)
    if is_free and takes_long:
        name = sorted(loops)[zlib.crc32(item.name.encode()) % len(loops)]
        loops = {name: loops[name]}
    return loops


@pytest.fixture(scope="session", autouse=True, name="temporary_folder")
def _temporary_folder() -> Iterator[Path]:
    """A short TMPDIR for this session alone, so that what is left in it is seen."""
    with temporary_folder() as folder:
        yield folder


@pytest.fixture(autouse=True, name="no_leaks")
def _no_leaks(temporary_folder: Path) -> Iterator[None]:
    """Fails a test that leaves a process, a descriptor or a file behind."""
    with no_leaks(temporary_folder):
        yield


@pytest.fixture(autouse=True)
def check_tasks(no_leaks: None, request: pytest.FixtureRequest) -> None:
    """Fails an async test that leaves a task pending."""
    if inspect.iscoroutinefunction(request.function):
        request.getfixturevalue("no_pending_tasks")


@pytest.fixture
async def no_pending_tasks() -> AsyncIterator[None]:
    """Looks for tasks at the end of the test, while its loop still runs."""
    async with no_leaked_tasks():
        yield
