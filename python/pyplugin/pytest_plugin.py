"""The pytest plugin: fixtures for tests of plugins and their hosts.

Every run of pytest loads it where this package is installed: it imports next to nothing, and does
nothing to tests that use none of its fixtures. ``-p no:pyplugin`` leaves it out. Async tests may be
run by pytest-asyncio, in both of its modes, or by anyio.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from . import Client, ClientConfig

#: The type of ``pyplugin_process``.
PluginStarter: TypeAlias = "Callable[[ClientConfig], Awaitable[Client]]"


def pytest_configure(config: pytest.Config) -> None:
    """Makes the async fixture known to pytest-asyncio, which may be loaded after this module."""
    if config.pluginmanager.hasplugin("asyncio"):
        import pytest_asyncio

        globals()["_pyplugin_tasks_asyncio"] = pytest_asyncio.fixture(_tasks)


@pytest.fixture
def pyplugin_process(request: pytest.FixtureRequest) -> Iterator[PluginStarter]:
    """Starts plugins, each of which is killed when the test has ended, however it did.

    ``client = await pyplugin_process(ClientConfig(...))``, in async tests and in their async
    fixtures, which find it killed when they end.
    """
    from . import Client

    item = request.node
    test = item.obj
    if not inspect.iscoroutinefunction(test):
        pytest.fail("the fixture 'pyplugin_process' is for async tests", pytrace=False)
    clients = contextlib.AsyncExitStack()

    async def start(config: ClientConfig) -> Client:
        client = Client(config)
        clients.push_async_callback(client.kill)
        await client.start()
        return client

    # In the test's own task: there is no other one that any runner of async tests would run.
    @functools.wraps(test)
    async def run(*arguments: Any, **options: Any) -> None:
        async with clients:
            await test(*arguments, **options)

    item.obj = run
    yield start
    item.obj = test


@pytest.fixture
def pyplugin_no_leaks(_pyplugin_no_leaks: None, request: pytest.FixtureRequest) -> None:
    """Fails a test that leaves a task, a process, a descriptor or a temporary file behind.

    The test has a TMPDIR of its own, which is where sockets lie. Ask for it by
    ``pytest.mark.usefixtures``: then it looks when all other fixtures have ended.
    """
    if inspect.iscoroutinefunction(request.function):
        runner = "anyio" if "anyio_backend" in request.fixturenames else "asyncio"
        request.getfixturevalue(f"_pyplugin_tasks_{runner}")


# Not in the one above: that ends before the event loop, which it has begun, does.
@pytest.fixture
def _pyplugin_no_leaks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    from .testing import no_leaks, temporary_folder

    # pytest's own folder outlives this one.
    tmp_path_factory.getbasetemp()
    with temporary_folder() as folder, no_leaks(folder):
        yield


async def _tasks() -> AsyncIterator[None]:
    from .testing import no_leaked_tasks

    async with no_leaked_tasks():
        yield


_pyplugin_tasks_anyio = pytest.fixture(_tasks)


@pytest.fixture
def pyplugin_logs(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """``caplog`` with what plugins log, at any level.

    A record is a ``PluginLogRecord``: ``hclog_level``, ``plugin`` and ``fields`` are the plugin's.
    After ``await client.kill()`` the last one is there.
    """
    caplog.set_level("DEBUG", logger="pyplugin.host.plugin")
    return caplog
