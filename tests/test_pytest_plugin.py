"""The fixtures, in runs of pytest of their own, whatever runs async tests there."""

from __future__ import annotations

import os

import pytest

from tests.conftest import ROOT
from tests.fixtures import PLUGIN, is_alive

pytest_plugins = "pytester"

# What runs async tests: the line that marks a module's, what makes an async fixture, options.
SCOPE = "-oasyncio_default_fixture_loop_scope=function"
ASYNC = {
    "asyncio-auto": ("", "pytest.fixture", [SCOPE, "-oasyncio_mode=auto", "-p", "no:anyio"]),
    "asyncio-strict": ("pytestmark = pytest.mark.asyncio", "pytest_asyncio.fixture", [SCOPE]),
    "anyio": ("pytestmark = pytest.mark.anyio", "pytest.fixture", ["-p", "no:asyncio"]),
}
TESTS = """
import asyncio, logging, os, tempfile
from pathlib import Path

import kv_pb2
import pytest
import {imports}
from pyplugin import ClientConfig
from pyplugin.testing import plugin_pair
from tests.fixtures import HANDSHAKE, KVPlugin, script
from tests.fixtures.plugin import KVPlugin as ServedPlugin

{mark}
CONFIG = ClientConfig(HANDSHAKE, {{"kv": KVPlugin()}}, {plugin!r}, auto_mtls=False)
CWD = kv_pb2.GetRequest(key="cwd")
TASKS = []

@pytest.fixture
def anyio_backend():
    return "asyncio"

@{fixture}
async def kv(pyplugin_process):
    client = await pyplugin_process(CONFIG)
    yield client.dispense(KVPlugin)
    assert not client.exited

@{fixture}
async def pair():
    async with plugin_pair({{"kv": ServedPlugin()}}) as client:
        yield client.dispense(ServedPlugin)

async def test_passes_with_a_fixture(kv):
    assert (await kv.Get(CWD)).value

@pytest.mark.usefixtures("pyplugin_no_leaks")
async def test_passes_with_a_pair(pair):
    assert (await pair.Get(CWD)).value

@pytest.mark.usefixtures("pyplugin_no_leaks")
async def test_passes_without_leaks(kv, pyplugin_process, pyplugin_logs):
    other = await pyplugin_process(CONFIG)
    await other.ping()
    await other.kill()
    assert not [record for record in pyplugin_logs.records if record.levelname == "ERROR"]

async def test_passes_with_logs(pyplugin_process, pyplugin_logs):
    code = '''
import logging, sys
from kv import HANDSHAKE
from pyplugin import ServeConfig, configure_logging, serve
configure_logging("debug")
logging.getLogger("of.plugin").debug("it is %s", "served", extra={{"port": 7}})
serve(ServeConfig(HANDSHAKE, {{}}))
'''
    client = await pyplugin_process(
        ClientConfig(HANDSHAKE, {{}}, script(code), auto_mtls=False)
    )
    await client.kill()
    record, = (r for r in pyplugin_logs.records if getattr(r, "plugin", "") == "of.plugin")
    assert (record.levelno, record.getMessage()) == (logging.DEBUG, "it is served")
    assert (record.hclog_level, record.fields) == ("debug", {{"port": 7}})

async def test_fails_of_itself(pyplugin_process):
    client = await pyplugin_process(CONFIG)
    Path("of_test").write_text(str(client.pid))
    raise LookupError("of the test")

@{fixture}
async def broken(pyplugin_process):
    client = await pyplugin_process(CONFIG)
    Path("of_fixture").write_text(str(client.pid))
    raise LookupError("of the fixture")

async def test_errs_by_a_fixture(broken):
    pass

async def test_errs_by_a_task(pyplugin_process, pyplugin_no_leaks):
    await pyplugin_process(CONFIG)
    TASKS.append(asyncio.create_task(asyncio.Event().wait()))

async def test_fails_by_a_start(pyplugin_process, pyplugin_no_leaks):
    await pyplugin_process(ClientConfig(HANDSHAKE, {{}}, ["/no/such/plugin"]))

async def test_errs_by_a_file(pyplugin_no_leaks, tmp_path):
    assert Path(tempfile.mkdtemp()).parent not in tmp_path.parents
    assert (await asyncio.to_thread(tmp_path.exists))
"""
SYNC = """
import os

def test_errs_by_a_descriptor(pyplugin_no_leaks):
    os.open(os.devnull, os.O_RDONLY)
"""


@pytest.fixture(autouse=True)
def environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    path = [ROOT, ROOT / "examples" / "kv", os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, path)))
    pytester.makeini("[pytest]\nfilterwarnings = error\n")


@pytest.mark.parametrize("name", ASYNC)
def test_the_fixtures_do_what_they_say(pytester: pytest.Pytester, name: str) -> None:
    mark, fixture, options = ASYNC[name]
    imports = "pytest_asyncio" if "asyncio" in fixture else "pytest"
    text = TESTS.format(mark=mark, fixture=fixture, imports=imports, plugin=PLUGIN)
    pytester.makepyfile(test_async=text, test_sync=SYNC)
    result = pytester.runpytest_subprocess("-rA", *options, timeout=50)
    result.assert_outcomes(passed=7, failed=2, errors=4)
    result.stdout.re_match_lines_random(
        [
            r".*LookupError: of the test",
            r".*AssertionError: tasks left pending: .*Event.wait",
            r".*PluginNotFound: .*it could not be started",
            r".*AssertionError: files left behind: tmp\w+",
            r".*AssertionError: descriptors left open: \d+: /dev/null",
        ]
    )
    for name in "of_test", "of_fixture":
        assert not is_alive(int((pytester.path / name).read_text()))


def test_what_they_need_is_told(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(pyplugin_process): pass")
    result = pytester.runpytest_subprocess("-p", "no:asyncio", "-p", "no:anyio", timeout=50)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines("*pyplugin_process is for tests that pytest-asyncio or anyio run*")


def test_it_loads_nothing_until_it_is_used(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_modules():
            ours = {name for name in sys.modules if name.startswith("pyplugin.")}
            assert ours == {"pyplugin.pytest_plugin"}
            assert not {"asyncio", "grpclib", "google.protobuf"} & {*sys.modules}
        """
    )
    others = [f"-pno:{name}" for name in ("asyncio", "anyio", "timeout", "hypothesispytest")]
    pytester.runpytest_subprocess(*others, timeout=50).assert_outcomes(passed=1)
