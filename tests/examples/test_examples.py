"""Every example is run as its README says."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
TLS = pytest.mark.parametrize("variables", [{}, {"AUTO_MTLS": "1"}], ids=["plain", "mtls"])


def run(example: str, *arguments: str, variables: dict[str, str], cwd: Path | None = None) -> str:
    """What ``example`` prints to its stdout."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def failure(example: str, *arguments: str, cwd: Path) -> str:
    """What ``example``, which must fail, prints to its stderr."""
    result = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1, result.stdout
    return result.stderr


@pytest.mark.parametrize(("variables", "words"), [({}, "insecure"), ({"AUTO_MTLS": "1"}, "TLS")])
def test_greeter(variables: dict[str, str], words: str) -> None:
    out = run("greeter/host.py", "ada", variables=variables)
    assert words in out
    assert "Greet: hello, ada!" in out
    assert "Count: 35 letters in 9 words" in out


@TLS
def test_kv(variables: dict[str, str], tmp_path: Path) -> None:
    run("kv/host.py", "put", "hello", "world", cwd=tmp_path, variables=variables)
    out = run("kv/host.py", "get", "hello", cwd=tmp_path, variables=variables)
    assert out == "world\n\nWritten from the Python plugin\n"
    assert (tmp_path / "kv_hello").exists()


@TLS
def test_bidirectional(variables: dict[str, str], tmp_path: Path) -> None:
    for number in "5", "-2":
        run("bidirectional/host.py", "put", "k", number, cwd=tmp_path, variables=variables)
    assert run("bidirectional/host.py", "get", "k", cwd=tmp_path, variables=variables) == "3\n"
    assert (tmp_path / "kv_k").read_text() == '{"Value":3}'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "none"], "no counter under 'none'"),
        (["get", "../k"], "a key may not hold '/' or NUL"),
        (["put", "damaged", "1"], "kv_damaged holds no counter"),
        # The host refuses, and the plugin hands its refusal on.
        (["put", "most", "1"], f"{2**63} does not fit into 64 bits"),
    ],
)
def test_bidirectional_fails(arguments: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "kv_damaged").write_text("[]")
    (tmp_path / "kv_most").write_text(most := f'{{"Value":{2**63 - 1}}}')
    assert failure("bidirectional/host.py", *arguments, cwd=tmp_path) == f"Error: {message}\n"
    assert (tmp_path / "kv_most").read_text() == most


STREAMED = """\
  Write: 41 bytes in chunks of 10
  Read: b'to be, or '
  Read: b'not to be,'
  Read: b' that is t'
  Read: b'he questio'
  Read: b'n'
"""


@TLS
def test_streaming(variables: dict[str, str], tmp_path: Path) -> None:
    out = run("streaming/host.py", "file", cwd=tmp_path, variables=variables)
    assert out == STREAMED + "  Search: 'be' at 3, 17\n  Search: 'question' at 33\n"
    assert (tmp_path / "file").read_text() == "to be, or not to be, that is the question"
    out = run("streaming/host.py", "file", "not", "knot", cwd=tmp_path, variables=variables)
    assert out == STREAMED + "  Search: 'not' at 10\n  Search: 'knot' at no place\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none/file"], "[Errno 2] No such file or directory: 'none/file'"),
        (["."], "[Errno 21] Is a directory: '.'"),
        (["file", ""], "an empty word is everywhere"),
    ],
)
def test_streaming_fails(arguments: list[str], message: str, tmp_path: Path) -> None:
    assert failure("streaming/host.py", *arguments, cwd=tmp_path) == f"Error: {message}\n"


MULTIPLEXED = """\
  10 calls back at the same time, and {} sockets for them
  The counters add up to 45
"""


@TLS
@pytest.mark.parametrize(("multiplex", "sockets"), [("1", 0), ("0", 10)])
def test_multiplexed(multiplex: str, sockets: int, variables: dict[str, str]) -> None:
    out = run("multiplexed/host.py", variables={"MULTIPLEX": multiplex, **variables})
    assert out == MULTIPLEXED.format(sockets)


def test_log_forwarder(tmp_path: Path) -> None:
    file = tmp_path / "plugins.log"
    file.write_text("what was there\n")
    out = run("log_forwarder/host.py", str(file), "--lines", "8", "--level", "warn", variables={})
    names = [f"chatter-{number:02}" for number in range(16)]
    counts = [f"  {name}: 2 error, 2 warn" for name in names]
    assert out.splitlines() == ["  64 lines", *counts]
    before, *lines = file.read_text().splitlines()
    assert before == "what was there"
    entries = [json.loads(line) for line in lines]
    assert [
        [(entry["@level"], entry["number"]) for entry in entries if entry["plugin"] == name]
        for name in names
    ] == [[("warn", 2), ("error", 3), ("warn", 6), ("error", 7)]] * 16


def test_log_forwarder_at_a_rate(tmp_path: Path) -> None:
    file = tmp_path / "plugins.log"
    options = ["--plugins", "2", "--lines", "5", "--rate", "40", "--level", "debug"]
    run("log_forwarder/host.py", str(file), *options, variables={})
    for name in "chatter-00", "chatter-01":
        entries = [json.loads(line) for line in file.read_text().splitlines()]
        times = [
            datetime.fromisoformat(entry["@timestamp"].replace("Z", "+00:00"))
            for entry in entries
            if entry["plugin"] == name and "number" in entry
        ]
        assert len(times) == 5
        assert times[-1] - times[0] >= timedelta(seconds=0.09)


SUPERVISED = """\
  Crash: the plugin exited with status 3
  Work: HELLO by version 1, after restart 1
  Crash: the plugin exited with status 3
  Work: HELLO by version 1, after restart 2
  Swap: calls went to version 1 and then 2, and none failed
"""


@TLS
def test_supervisor(variables: dict[str, str]) -> None:
    assert run("supervisor/host.py", variables=variables) == SUPERVISED


def test_supervisor_gives_up(tmp_path: Path) -> None:
    last = failure("supervisor/host.py", "4", cwd=tmp_path).splitlines()[-1]
    assert last.startswith("Error: plugin 'plugin.py' was given up after 3 restarts in a row")
    assert last.endswith("exited with status 3")


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """A folder with the README's modules, which belong together."""
    text = (EXAMPLES.parent / "README.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    names = [block.splitlines()[0].removeprefix("# ") for block in blocks]
    assert names == ["greeter.py", "plugin.py", "host.py", "forward.py"]
    for name, block in zip(names, blocks, strict=True):
        (tmp_path / name).write_text(block)
    for module in ("greeter_pb2.py", "greeter_grpc.py"):
        (tmp_path / module).write_text((EXAMPLES / "greeter" / module).read_text())
    return tmp_path


def test_the_readmes_host_greets(readme: Path) -> None:
    result = subprocess.run(
        [sys.executable, "host.py"], cwd=readme, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout) == (0, "hello, ada!\n"), result.stderr


def test_the_readmes_forwarder_writes_the_plugins_log(readme: Path) -> None:
    result = subprocess.run(
        [sys.executable, "forward.py"], cwd=readme, capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (entry,) = map(json.loads, (readme / "plugins.log").read_text().splitlines())
    del entry["@timestamp"]
    assert entry == {
        "@level": "info",
        "@message": "somebody is greeted",
        "@module": "greeter",
        "who": "ada",
        "plugin": "plugin.py",
    }


def test_the_readmes_commands(readme: Path) -> None:
    text = (EXAMPLES.parent / "README.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("pyplugin ")]
    assert len(lines) == 2
    outputs = []
    for line in lines:
        words = [{"python": sys.executable}.get(word, word) for word in shlex.split(line)[1:]]
        result = subprocess.run(
            [sys.executable, "-m", "pyplugin", *words],
            cwd=readme,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == 0, result.stderr
        outputs.append(result.stdout)
    assert "Greeter" in outputs[0]
    assert json.loads(outputs[1]) == {"message": "hello, ada!"}
