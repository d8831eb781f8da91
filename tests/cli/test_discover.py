"""``pyplugin discover``: files that may be plugins."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from . import pyplugin

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the files are Linux's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A program, a script, one for another system, and a file that is none of them."""
    contents = {
        "terraform-provider-elf": Path(sys.executable).read_bytes()[:4096],
        "terraform-provider-script": b"#!/bin/sh -e\nexit\n",
        "terraform-provider-windows": b"MZ\x90\0",
        "other-script": b"#!/no/such/python\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "terraform-provider-text").write_text("text")
    (tmp_path / "terraform-provider-folder").mkdir()
    return tmp_path


def test_what_each_file_is(folder: Path) -> None:
    done = pyplugin("discover", "terraform-*", "--json", str(folder))
    assert (done.status, done.err) == (0, "")
    elf, script, text, windows = done.json
    assert elf["path"] == str(folder / "terraform-provider-elf")
    assert (elf["kind"], elf["executable"], elf["problem"]) == ("elf", True, None)
    assert elf["machine"] in ("x86_64", "aarch64")
    assert (script["kind"], script["interpreter"]) == ("script", "/bin/sh -e")
    assert script["problem"] is None
    assert (text["kind"], text["executable"]) == ("other", False)
    assert "chmod +x" in text["problem"]
    assert windows["kind"] == "pe"
    assert "was built for Windows" in windows["problem"]


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    path = tmp_path / "kv\x1b[2J"
    path.write_bytes(b"#!/bin/sh \x1b[2J\n")
    path.chmod(0o755)
    done = pyplugin("discover", cwd=tmp_path)
    assert done.out.endswith("kv\\x1b[2J  script /bin/sh \\x1b[2J  ready\n")


def test_a_known_hosts_plugins(folder: Path) -> None:
    names = [Path(facts["path"]).name for facts in find(folder, "--host", "opentofu")]
    assert names == [f"terraform-provider-{kind}" for kind in ("elf", "script", "text", "windows")]
    assert find(folder, "--host", "grafana", status=1) == []


def test_without_a_pattern_it_lists_what_is_executable(folder: Path) -> None:
    names = [Path(facts["path"]).name for facts in find(folder)]
    assert names[0] == "other-script"
    assert "terraform-provider-text" not in names
    assert len(names) == 4


def find(folder: Path, *words: str, status: int = 0) -> list[dict[str, str]]:
    """What it finds in this process's folder."""
    done = pyplugin("discover", "--json", *words, cwd=folder)
    assert done.status == status
    found: list[dict[str, str]] = done.json
    return found


def test_what_people_see(folder: Path) -> None:
    done = pyplugin("discover", "*script", str(folder))
    assert (done.status, done.err) == (0, "")
    broken, problem, ready = done.out.splitlines()
    assert broken == f"{folder}/other-script  script /no/such/python  not ready"
    assert problem.startswith(f"  '{folder}/other-script' wants the interpreter '/no/such/python'")
    assert ready == f"{folder}/terraform-provider-script  script /bin/sh -e  ready"
