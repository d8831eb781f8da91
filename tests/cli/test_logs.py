"""``pyplugin logs``: a plugin's log, as it comes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import is_alive, script

from . import COOKIE, LIMIT, command, environment, pyplugin
from .logger import TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.peers import Peers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals and terminals are POSIX's")

LOGGER = [sys.executable, str(Path(__file__).with_name("logger.py"))]
LAST = ("error", "web")
LINES = [
    ("trace", "kv"),
    ("debug", "kv.store"),
    ("info", "web"),
    ("info", ""),
    ("warn", "kv.store"),
    LAST,
]


@contextlib.contextmanager
def logs(
    *words: str, plugin: list[str] = LOGGER, stdout: int = subprocess.PIPE, **variables: Any
) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; ended at the end, where it has not."""
    process = subprocess.Popen(
        command("logs", *COOKIE, "--no-tls", *words, plugin=plugin),
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(variables),
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def read_until(process: subprocess.Popen[str], last: tuple[str, str] = LAST) -> list[Any]:
    """The JSON lines up to one with this level and module."""
    assert process.stdout is not None
    found: list[Any] = []
    while not found or (found[-1]["level"], found[-1]["module"]) != last:
        found.append(json.loads(process.stdout.readline()))
    return found


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ([], LINES),
        (["--level", "info"], LINES[2:]),
        (["--level", "warn"], LINES[4:]),
        (["--module", "web"], [LINES[2], LAST]),
        (["--module", "kv*", "--module", "web", "--level", "debug"], [*LINES[1:3], *LINES[4:]]),
    ],
)
def test_lines_by_level_and_module(options: list[str], wanted: list[tuple[str, str]]) -> None:
    with logs("--json", *options) as process:
        found = read_until(process)
    assert [(line["level"], line["module"]) for line in found] == wanted


def test_what_a_line_has_for_programs() -> None:
    with logs("--json", "--module", "kv.store") as process:
        found = read_until(process, ("warn", "kv.store"))
    assert found[0] == {
        "timestamp": TIMESTAMP,
        "level": "debug",
        "module": "kv.store",
        "message": "opened",
        "fields": {"path": "a b", "empty": ""},
    }


def test_what_a_line_has_for_people() -> None:
    with logs("--level", "debug") as process:
        assert process.stdout is not None
        found = [process.stdout.readline() for _ in LINES[1:]]
    assert found == [
        f'{TIMESTAMP} DEBUG kv.store: opened path="a b" empty=""\n',
        f"{TIMESTAMP} INFO  web: ready\\x1b[2J port=80\n",
        "INFO  plain\n",
        f"{TIMESTAMP} WARN  kv.store: slow seconds=1.5\n",
        f"{TIMESTAMP} ERROR web: lost who=ü\n",
    ]


@pytest.mark.parametrize(("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals(variables: dict[str, str], is_coloured: bool) -> None:
    ours, theirs = os.openpty()
    try:
        settings: dict[str, Any] = {"TERM": "xterm", **variables}
        with logs("--level", "error", stdout=theirs, **settings), os.fdopen(ours, "rb") as file:
            line = file.readline()
    finally:
        os.close(theirs)
    assert (b"\x1b[31mERROR\x1b[0m" in line) is is_coloured
    assert (b"\x1b" in line) is is_coloured


def test_go_plugins_have_a_log_too(peers: Peers) -> None:
    with logs("--json", "--level", "info", plugin=[peers.kvplugin], KV_LOG="2") as process:
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
    assert (first["module"], first["message"], first["fields"]["n"]) == ("kv", "line", 0)
    assert second["fields"] | {"n": 0, "flag": True} == first["fields"]


# Its end


@pytest.mark.parametrize("status", [0, 3])
def test_it_ends_when_the_plugin_does(tmp_path: Path, status: int) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with logs("--json", "--verbose", LOGGER_FIFO=str(fifo)) as process:
        read_until(process)
        assert process.stderr is not None
        while not process.stderr.readline().endswith(" started\n"):
            pass
        fifo.write_text(str(status))
        out, err = process.communicate(timeout=LIMIT)
    assert json.loads(out)["message"] == "last words"
    assert process.returncode == min(status, 1)
    assert err.endswith("pyplugin: the plugin exited with status 3\n") is (status != 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_the_plugin(number: signal.Signals) -> None:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN and number is signal.SIGHUP:
        pytest.skip("these tests run under nohup")
    with logs("--json") as process:
        pid = read_until(process)[0]["fields"]["pid"]
        process.send_signal(number)
        assert process.wait(LIMIT) == 128 + number
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert not is_alive(pid)


def test_a_signal_before_the_handshake(tmp_path: Path) -> None:
    silent = script("import os, time; os.write(2, b'%d\\n' % os.getpid()); time.sleep(600)")
    with logs("--json", plugin=silent) as process:
        assert process.stdout is not None
        pid = int(json.loads(process.stdout.readline())["message"])
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
    assert not is_alive(pid)


def test_a_reader_that_goes_away_ends_it() -> None:
    chatty = script(
        "import os, time\nfor n in range(10**6): os.write(2, b'x' * 100 + b'\\n')\ntime.sleep(600)"
    )
    with logs(plugin=chatty) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(LIMIT) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_plugin_that_does_not_start() -> None:
    plugin = script("import os; os.write(2, b'[ERROR] no\\n'); os._exit(4)")
    done = pyplugin("logs", "--json", *COOKIE, plugin=plugin)
    assert done.status == 1
    assert done.json["level"] == "error"
    assert "exited with status 4" in done.err
