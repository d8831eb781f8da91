"""The pytest plugin: fixtures for tests of plugins and their hosts.

Every run of pytest loads it where this package is installed: it imports next to nothing, and does
nothing to tests that use none of its fixtures. ``-p no:pyplugin`` leaves it out. Async tests may be
run by pytest-asyncio, in both of its modes, or by anyio.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from . import Client, ClientConfig

#: The type of ``pyplugin_process``.
PluginStarter: TypeAlias = "Callable[[ClientConfig], Awaitable[Client]]"


def pytest_configure(config: pytest.Config) -> None:
    """Makes the async fixtures known to pytest-asyncio, which may be loaded after this module."""
    if config.pluginmanager.hasplugin("asyncio"):
        import pytest_asyncio

        for fixture in (_clients, _tasks):
            globals()[f"_pyplugin{fixture.__name__}_asyncio"] = pytest_asyncio.fixture(fixture)


@pytest.fixture
def pyplugin_process(request: pytest.FixtureRequest) -> PluginStarter:
    """Starts plugins, each of which is killed when the test has ended, however it did.

    ``client = await pyplugin_process(ClientConfig(...))``, in async tests and in their async
    fixtures.
    """
    from . import Client

    clients: contextlib.AsyncExitStack = _async_fixture(request, "clients")

    async def start(config: ClientConfig) -> Client:
        client = Client(config)
        clients.push_async_callback(client.kill)
        await client.start()
        return client

    return start


@pytest.fixture
def pyplugin_no_leaks(_pyplugin_no_leaks: None, request: pytest.FixtureRequest) -> None:
    """Fails a test that leaves a task, a process, a descriptor or a temporary file behind.

    The test has a TMPDIR of its own, which is where sockets lie. Ask for it by
    ``pytest.mark.usefixtures``: then it looks when all other fixtures have ended.
    """
    if inspect.iscoroutinefunction(request.function):
        _async_fixture(request, "tasks")


# Not in the one above: that ends before the event loop, which it has begun, does.
@pytest.fixture
def _pyplugin_no_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from .testing import no_leaks, temporary_folder

    # pytest's own folder outlives this one.
    tmp_path_factory.getbasetemp()
    with temporary_folder() as folder, no_leaks(folder):
        yield


@pytest.fixture
def pyplugin_logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """``caplog`` with what plugins log, at any level.

    A record is a ``PluginLogRecord``: ``hclog_level``, ``plugin`` and ``fields`` are the plugin's.
    After ``await client.kill()`` the last one is there.
    """
    caplog.set_level("DEBUG", logger="pyplugin.host.plugin")
    return caplog


def _async_fixture(request: pytest.FixtureRequest, name: str) -> Any:
    """The value of one of those below, as the async tests' runner of this test has them."""
    is_anyio = "anyio_backend" in request.fixturenames
    if not is_anyio and not request.config.pluginmanager.hasplugin("asyncio"):
        pytest.fail(
            f"{request.fixturename} is for tests that pytest-asyncio or anyio run: install either",
            pytrace=False,
        )
    return request.getfixturevalue(f"_pyplugin_{name}_{'anyio' if is_anyio else 'asyncio'}")


async def _clients() -> AsyncIterator[contextlib.AsyncExitStack]:
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def _tasks() -> AsyncIterator[None]:
    from .testing import no_leaked_tasks

    async with no_leaked_tasks():
        yield


_pyplugin_clients_anyio = pytest.fixture(_clients)
_pyplugin_tasks_anyio = pytest.fixture(_tasks)
