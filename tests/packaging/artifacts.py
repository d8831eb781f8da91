"""A plugin, the KV example, packed in each of the ways of docs/packaging.md."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build" / f"packaging-{sys.version_info.major}.{sys.version_info.minor}"
# Seconds for a tool; PyInstaller takes most of a minute on a busy machine.
TIMEOUT = 600
NAME = "kv-plugin"
NO_EXTRA = {"extra": ""}

PYPROJECT = """\
[build-system]
requires = ["setuptools>=70"]
build-backend = "setuptools.build_meta"

[project]
name = "kv-plugin"
version = "1.0"
dependencies = ["python-plugin"]

[project.scripts]
kv-plugin = "kv_plugin:main"

[tool.setuptools]
py-modules = ["kv", "kv_grpc", "kv_pb2", "kv_plugin"]
"""
PROGRAM = """\
import multiprocessing

from kv import HANDSHAKE, KVPlugin
from pyplugin import ServeConfig, serve


def main():
    multiprocessing.freeze_support()
    serve(ServeConfig(handshake_config=HANDSHAKE, plugins={"kv_grpc": KVPlugin()}))


if __name__ == "__main__":
    main()
"""
SCRIPT = """\
#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.10"
# dependencies = ["python-plugin"]
# [tool.uv]
# no-index = true
# find-links = ["{wheels}"]
# ///
"""


def run(
    *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Runs a tool.

    Raises:
        RuntimeError: It failed; the message has what it printed.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}")


def project(folder: Path) -> Path:
    """A project as the guide has it; its folder."""
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "kv_plugin.py").write_text(PROGRAM)
    for name in "kv.py", "kv_grpc.py", "kv_pb2.py":
        shutil.copy(ROOT / "examples" / "kv" / name, folder)
    return folder


class Environment:
    """A virtual environment that the plugin is installed in.

    Attributes:
        folder: Where it is.
        python: Its interpreter.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"

    @property
    def site(self) -> Path:
        """Where its packages are."""
        (site,) = self.folder.glob("lib/python*/site-packages")
        return site


def copied(folder: Path) -> Environment:
    """Made in seconds and without a network, of what this Python has installed."""
    venv.create(folder, symlinks=True)
    made = Environment(folder)
    for name in closure("python-plugin"):
        copy(name, made.site)
    # It may be an editable install, of which there are no files.
    package = made.site / "pyplugin"
    shutil.copytree(ROOT / "python" / "pyplugin", package, dirs_exist_ok=True)
    # Its backend is there for this alone.
    backend = distribution("setuptools").locate_file("")
    install(made, project(folder / "project"), "--no-deps", env={"PYTHONPATH": str(backend)})
    return made


def installed() -> Environment:
    """Made of the wheel as a user does; kept until that changes. The tools are in it too."""
    wheels = BUILD / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    for old in wheels.glob("python_plugin-*.whl"):
        old.unlink()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run(*pip, "--wheel-dir", wheels, ROOT, env={"PATH": path})
    (wheel,) = wheels.glob("python_plugin-*.whl")
    tools = ["pyinstaller>=6", "setuptools>=70", "shiv>=1", "uv"]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    recipe = "\n".join([sys.version, PYPROJECT, PROGRAM, digest, *tools])
    made = Environment(BUILD / "venv")
    done = BUILD / "made-with.txt"
    if not done.exists() or done.read_text() != recipe:
        shutil.rmtree(made.folder, ignore_errors=True)
        venv.create(made.folder, symlinks=True)
        run(*installer(made), wheel, *tools)
        # For uv, which is to ask no registry.
        run(*pip[:3], "download", "--quiet", "--dest", wheels, wheel)
        install(made, project(made.folder / "project"))
        done.write_text(recipe)
    return made


def installer(into: Environment) -> list[str | Path]:
    return [sys.executable, "-m", "pip", "--python", into.python, "install", "--quiet"]


def install(
    into: Environment, path: Path, *options: str, env: Mapping[str, str] | None = None
) -> None:
    run(*installer(into), "--no-index", "--no-build-isolation", *options, path, env=env)


def closure(name: str) -> set[str]:
    """A distribution that is installed here, and all that it needs."""
    found, todo = set(), [name]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            wanted = map(Requirement, distribution(name).requires or [])
            todo += [one.name for one in wanted if not one.marker or one.marker.evaluate(NO_EXTRA)]
    return found


def copy(name: str, site: Path) -> None:
    for file in distribution(name).files or []:
        if ".." not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file.locate(), target)


def console_script(made: Environment) -> Path:
    return made.folder / "bin" / NAME


def shiv(made: Environment, target: Path) -> Path:
    """One file, which unpacks itself at its first start."""
    run(
        *(sys.executable, "-m", "shiv", "--site-packages", made.site, "--console-script", NAME),
        *("--python", f"{sys.executable} -sE", "--output-file", target, "--compile-pyc"),
        env={"PYTHONPATH": str(shiv_folder())},
    )
    return target


def shiv_folder() -> Path:
    """Where shiv is, installed on demand."""
    folder = BUILD / "shiv"
    if not (folder / "shiv").exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1"]
        run(*pip, "--target", folder, "shiv>=1")
    return folder


def pyinstaller(made: Environment, target: Path, kind: str) -> Path:
    """The executable of PyInstaller's ``--onedir`` or ``--onefile``."""
    run(
        *(made.python, "-m", "PyInstaller", "--log-level", "ERROR", "--name", NAME, f"--{kind}"),
        made.folder / "project" / "kv_plugin.py",
        cwd=target,
    )
    return target / "dist" / NAME if kind == "onefile" else target / "dist" / NAME / NAME


def script(made: Environment, target: Path) -> tuple[Path, dict[str, str]]:
    """A file whose environment uv makes at its first start, and the variables for that."""
    target.write_text(SCRIPT.format(wheels=BUILD / "wheels") + PROGRAM)
    target.chmod(0o755)
    for name in "kv.py", "kv_grpc.py", "kv_pb2.py":
        shutil.copy(made.folder / "project" / name, target.parent)
    return target, {
        "PATH": f"{made.folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        # It leaves a file there.
        "TMPDIR": str(target.parent),
    }
