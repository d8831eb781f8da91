"""The plugins that are compared, all of the KV service; those of others are made on demand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / ".build"
KV = ROOT / "examples" / "kv"

PORT_VERSION = "0.1.0"
PYVIDER_VERSION = "0.5.5"
# The port runs on the very versions that this package runs on.
SHARED = ("cryptography", "grpclib", "protobuf", "h2", "hpack", "hyperframe", "multidict")
GO_PACKAGE = "github.com/hashicorp/go-plugin/examples/grpc/plugin-go-grpc"

# Writes a handshake as the first thing it does, and waits to be ended.
FLOOR = "print('1|1|unix|/none|grpc|', flush=True); import time; time.sleep(60)"


class Absent(Exception):
    """This peer cannot be had here; the message says why, and names no path."""


@dataclass(frozen=True, eq=False)
class Peer:
    """A plugin to measure.

    Attributes:
        name: What the tables call it.
        command: Program and arguments.
        env: Variables it needs to run.
        is_plugin: It serves; the floor does not.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    is_plugin: bool = True


def floor() -> Peer:
    """The bare interpreter."""
    return Peer("python -c print", [sys.executable, "-c", FLOOR], is_plugin=False)


def ours() -> Peer:
    """This package."""
    return Peer("ours", [sys.executable, str(KV / "plugin.py")])


def port() -> Peer:
    """The pure-Python port, in an environment of its own because it has the same import name.

    Raises:
        Absent: The environment cannot be made.
    """
    folder = BUILD / "port-venv"
    python = folder / "bin" / "python"
    wanted = [f"python-plugin=={PORT_VERSION}", *(f"{name}=={version(name)}" for name in SHARED)]
    made = folder / "made-with.txt"
    recipe = "\n".join([sys.version, *wanted])
    if not made.exists() or made.read_text() != recipe:
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _make([sys.executable, "-m", "venv", "--clear", str(folder)], "venv failed")
        _make([*pip, *wanted], "pip could not install it: no network?")
        made.write_text(recipe)
    script = Path(__file__).with_name("port_plugin.py")
    return Peer("port", [str(python), str(script)], {"PYTHONPATH": str(KV)})


def pyvider() -> Mapping[str, str]:
    """The environment of a Python that imports pyvider-rpcplugin, which is installed apart.

    Raises:
        Absent: It cannot be installed.
    """
    folder = BUILD / "pyvider"
    wanted = [f"pyvider-rpcplugin=={PYVIDER_VERSION}", f"protobuf=={version('protobuf')}"]
    made = folder / "made-with.txt"
    recipe = "\n".join([sys.version, *wanted])
    if not made.exists() or made.read_text() != recipe:
        shutil.rmtree(folder, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _make([*pip, "--target", str(folder), *wanted], "pip could not install it: no network?")
        made.write_text(recipe)
    return {
        "PYTHONPATH": str(folder),
        "PLUGIN_MAGIC_COOKIE_KEY": "BASIC_PLUGIN",
        "PLUGIN_MAGIC_COOKIE_VALUE": "hello",
    }


def go() -> Peer:
    """go-plugin's own example.

    Raises:
        Absent: There is no Go, or it cannot build.
    """
    module = ROOT / "tests" / "interop" / "go"
    return Peer("Go", [go_program("plugin-go-grpc", GO_PACKAGE, module)])


def go_program(name: str, package: str, module: Path) -> str:
    """Builds a Go program of a module; the path of it.

    Raises:
        Absent: There is no Go, or it cannot build.
    """
    compiler = shutil.which("go")
    if compiler is None:
        raise Absent("there is no Go")
    binary = str(BUILD / "go" / name)
    _make(
        [compiler, "build", "-o", binary, package],
        "go could not build it: no network?",
        cwd=module,
        env={"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false"},
    )
    return binary


def go_version() -> str | None:
    """What ``go version`` says, None without Go."""
    if shutil.which("go") is None:
        return None
    said = subprocess.run(["go", "version"], capture_output=True, text=True, check=False).stdout
    return said.removeprefix("go version").strip()


def _make(
    command: Sequence[str],
    reason: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr, sep="")
        raise Absent(reason)
