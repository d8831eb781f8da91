"""What a plugin does not load at its start, which every user of it would wait for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KV = Path(__file__).resolve().parents[1] / "examples" / "kv" / "plugin.py"
UNWANTED = ("cryptography", "grpclib.reflection", "pyplugin.client", "pyplugin.host")

# Runs a program as __main__, and writes the modules it has loaded when it ends.
RECORDER = """
import atexit, json, pathlib, runpy, sys
atexit.register(lambda: pathlib.Path(sys.argv[2]).write_text(json.dumps(list(sys.modules))))
sys.path.insert(0, str(pathlib.Path(sys.argv[1]).parent))
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def unwanted(modules: list[str]) -> list[str]:
    return [m for m in modules if m in UNWANTED or m.startswith(tuple(f"{u}." for u in UNWANTED))]


def test_importing_serve_loads_nothing_of_a_host_and_no_cryptography() -> None:
    code = "from pyplugin import serve; import json, sys; print(json.dumps(list(sys.modules)))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "pyplugin.server" in modules
    assert unwanted(modules) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to end the plugin by")
def test_a_plugin_without_tls_serves_without_them(tmp_path: Path) -> None:
    record = tmp_path / "modules.json"
    plugin = subprocess.Popen(
        [sys.executable, "-c", RECORDER, str(KV), str(record)],
        env={**os.environ, "BASIC_PLUGIN": "hello"},
        stdout=subprocess.PIPE,
        text=True,
    )
    with plugin:
        assert plugin.stdout is not None
        handshake = plugin.stdout.readline()
        plugin.send_signal(signal.SIGTERM)
    assert handshake.startswith("1|1|unix|")
    assert plugin.returncode == 0
    modules = json.loads(record.read_text())
    assert "pyplugin.server" in modules
    assert unwanted(modules) == []


def test_the_check_sees_what_it_looks_for() -> None:
    loaded = ["cryptography.x509", "grpclib.reflection.service", "pyplugin.client", "pyplugin.host"]
    assert unwanted([*loaded, "pyplugin.hosting", "grpclib.client"]) == loaded
