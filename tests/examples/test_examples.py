"""Every example is run as its README says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


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


@pytest.mark.parametrize(("variables", "words"), [({}, "insecure"), ({"AUTO_MTLS": "1"}, "TLS")])
def test_greeter(variables: dict[str, str], words: str) -> None:
    out = run("greeter/host.py", "ada", variables=variables)
    assert words in out
    assert "Greet: hello, ada!" in out
    assert "Count: 35 letters in 9 words" in out


@pytest.mark.parametrize("variables", [{}, {"AUTO_MTLS": "1"}], ids=["plain", "mtls"])
def test_kv(variables: dict[str, str], tmp_path: Path) -> None:
    run("kv/host.py", "put", "hello", "world", cwd=tmp_path, variables=variables)
    out = run("kv/host.py", "get", "hello", cwd=tmp_path, variables=variables)
    assert out == "world\n\nWritten from the Python plugin\n"
    assert (tmp_path / "kv_hello").exists()


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
