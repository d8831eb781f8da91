"""Tries distributions as a user gets them: no compiler, and no network but the package registry.

    python scripts/check_dist.py dist/*.whl dist/*.tar.gz

A wheel is installed into an empty environment, whose PATH has nothing else, and put through the
demo. A source distribution is first built to a wheel, from the crates it carries alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, **variables: str) -> str:
    """What ``command`` prints; ends the program where it fails."""
    result = subprocess.run(
        command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
    )
    if result.returncode:
        sys.exit(f"exit status {result.returncode}: {' '.join(map(str, command))}\n{result.stdout}")
    return result.stdout


def build(sdist: Path, folder: Path) -> Path:
    """The wheel of ``sdist``, built with an empty cargo home and cargo's network off."""
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
        *("--no-build-isolation", "--wheel-dir", folder, sdist),
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        CARGO_HOME=str(folder / "cargo"),
        CARGO_NET_OFFLINE="true",
        CARGO_TARGET_DIR=str(folder / "target"),
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def check(wheel: Path, folder: Path) -> None:
    """Installs ``wheel`` where no compiler is to be found, and runs the demo with it."""
    venv.create(folder / "venv", with_pip=True, symlinks=os.name != "nt")
    binaries = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    python = binaries / "python"
    alone = {"PATH": str(binaries), "PYTHONPATH": ""}
    run(python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", wheel, **alone)
    greeter = shutil.copytree(ROOT / "examples" / "greeter", folder / "greeter")
    for variables in {}, {"AUTO_MTLS": "1"}:
        out = run(python, greeter / "host.py", "ada", **alone, **variables)
        if "hello, ada!" not in out:
            sys.exit(f"the demo did not greet:\n{out}")


def main() -> None:
    """Checks each distribution that is named."""
    if not sys.argv[1:]:
        sys.exit("usage: check_dist.py DISTRIBUTION…")
    for path in map(Path, sys.argv[1:]):
        with tempfile.TemporaryDirectory() as name:
            wheel = path if path.suffix == ".whl" else build(path.resolve(), Path(name))
            check(wheel.resolve(), Path(name))
        print(f"{path.name}: installed without a compiler, the demo runs")


if __name__ == "__main__":
    main()
