from __future__ import annotations

import os
import platform
import re
import struct
import sys
from pathlib import Path

import pytest

from pyplugin.host.diagnose import diagnose, plugin_name


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["/opt/plugins/kv"], "kv"),
        (["kv", "--verbose", "file"], "kv"),
        (["python3", "/opt/kv.py"], "kv.py"),
        (["/usr/bin/python3.11", "-u", "-B", "kv.py", "argument"], "kv.py"),
        (["python3", "-m", "package.plugin"], "package.plugin"),
        (["python3", "-X", "dev", "-W", "error", "kv.py"], "kv.py"),
        (["python3", "-c", "print('a/b')"], "python3"),
        (["python3"], "python3"),
        ([], ""),
    ],
)
def test_a_plugin_is_named_by_its_file_or_script(command: list[str], name: str) -> None:
    assert plugin_name(command) == name


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An executable file; what is in it is the test's."""
    path = tmp_path / "kv"
    path.touch(mode=0o755)
    return path


def about(path: Path, content: bytes | None = None) -> str:
    if content is not None:
        path.write_bytes(content)
    return diagnose([str(path)], {})


def elf(machine: int, byte_order: str = "<") -> bytes:
    """The start of a 64-bit ELF program."""
    identification = b"\x7fELF" + bytes([2, 1 if byte_order == "<" else 2, 1]) + bytes(9)
    return identification + struct.pack(f"{byte_order}HHI", 2, machine, 1) + bytes(40)


def own_elf() -> bytes:
    machines = {"x86_64": 62, "amd64": 62, "aarch64": 183, "arm64": 183}
    return elf(machines[platform.machine().lower()])


# The file


def test_a_file_that_does_not_exist(tmp_path: Path) -> None:
    assert f"'{tmp_path}/none': No such file" in about(tmp_path / "none")


def test_a_program_that_no_folder_of_path_has(program: Path, tmp_path: Path) -> None:
    assert diagnose(["none"], {"PATH": str(tmp_path)}) == (
        f"There is no 'none' in the folders of PATH ('{tmp_path}'): give its whole path."
    )


def test_a_program_is_looked_for_in_the_plugins_path(program: Path, tmp_path: Path) -> None:
    assert "is empty" in diagnose(["kv"], {"PATH": str(tmp_path)})


def test_the_hosts_path_is_not_the_plugins(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "There is no 'kv'" in diagnose(["kv"], {})


def test_a_folder(tmp_path: Path) -> None:
    assert about(tmp_path) == f"'{tmp_path}' is a folder, not a program: name the one in it."


def test_a_file_that_nobody_may_execute(program: Path) -> None:
    program.chmod(0o644)
    assert "is not executable: chmod +x it" in about(program, b"#!/bin/sh\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may execute what anybody may")
def test_a_file_that_others_may_execute(program: Path) -> None:
    program.chmod(0o601)
    assert "may not be executed by this user" in about(program)


def test_a_program_in_the_plugins_working_directory(program: Path) -> None:
    program.write_bytes(b"#!/bin/sh\n")
    assert diagnose([f"./{program.name}"], {}, str(program.parent)) == ""


def test_an_empty_file(program: Path) -> None:
    assert about(program, b"") == f"'{program}' is empty: install it anew."


def test_a_command_without_a_program() -> None:
    assert "There is no ''" in diagnose([], {"PATH": "/bin"})


# What is in it


@pytest.mark.parametrize(
    "line", [b"#!/no/such/python -u\n", b"#! /no/such/python", b"#!/no/such/python\nx"]
)
def test_a_script_whose_interpreter_is_missing(program: Path, line: bytes) -> None:
    assert "wants the interpreter '/no/such/python', which does not exist" in about(program, line)


def test_an_interpreter_whose_name_is_too_long_for_a_file(program: Path) -> None:
    text = about(program, b"#!/" + b"a" * 3000)
    assert text.startswith(f"'{program}' wants the interpreter '/aaa")
    assert "aaa', which does not exist" in text
    assert len(text) < 600


@pytest.mark.skipif(os.geteuid() == 0, reason="root reaches everything")
def test_an_interpreter_in_a_folder_of_somebody_else(program: Path, tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0)
    text = about(program, f"#!{folder}/python".encode())
    assert f"wants the interpreter '{folder}/python', which this user may not reach" in text


def test_a_program_of_another_machine(program: Path) -> None:
    machine, name = (183, "aarch64") if platform.machine() == "x86_64" else (62, "x86_64")
    assert f"was built for {name}, this machine is " in about(program, elf(machine))


def test_a_program_of_a_big_endian_machine(program: Path) -> None:
    assert "was built for s390x, this machine is " in about(program, elf(22, ">"))


def test_a_program_of_a_machine_without_a_name(program: Path) -> None:
    assert "was built for machine 60000" in about(program, elf(60000))


@pytest.mark.skipif(sys.platform == "win32", reason="it is one of this system")
def test_a_windows_program(program: Path) -> None:
    text = f"'{program}' was built for Windows: install the one for this machine."
    assert about(program, b"MZ\x90\0") == text


@pytest.mark.skipif(sys.platform == "darwin", reason="it is one of this system")
@pytest.mark.parametrize("magic", [b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe"], ids=["thin", "fat"])
def test_a_macos_program(program: Path, magic: bytes) -> None:
    text = f"'{program}' was built for macOS: install the one for this machine."
    assert about(program, magic + bytes(28)) == text


@pytest.mark.skipif(sys.platform != "linux", reason="its own programs are of another form")
def test_a_program_of_this_machine_is_in_order(program: Path) -> None:
    assert about(program, own_elf()) == ""


@pytest.mark.parametrize(
    "content",
    [b"#!/bin/sh\necho", b"#!\n", b"\x7fELF", b"text", b"\0"],
    ids=["script", "no interpreter", "cut short", "text", "nul"],
)
def test_what_cannot_be_told_is_not_said(program: Path, content: bytes) -> None:
    assert about(program, content) == ""


def test_the_running_interpreter_is_in_order() -> None:
    assert diagnose([sys.executable], dict(os.environ)) == ""


@pytest.mark.skipif(sys.platform != "linux", reason="its programs name their loader")
def test_a_program_whose_loader_is_missing(program: Path) -> None:
    content = Path(sys.executable).read_bytes()
    loader = re.search(rb"/lib[\w/.-]+\.so\.\d\0", content)
    assert loader is not None
    missing = b"/no" + loader[0][3:-1]
    about_it = about(program, content.replace(loader[0][:-1], missing, 1))
    assert f"wants the loader {missing.decode()!r}, which does not exist" in about_it


@pytest.mark.skipif(sys.platform != "linux", reason="its own programs are of another form")
@pytest.mark.parametrize("start", [64, 2**32, 2**64 - 1])
def test_a_program_with_headers_that_are_not_there(program: Path, start: int) -> None:
    content = bytearray(own_elf())
    struct.pack_into("<Q", content, 32, start)
    content[54:58] = b"\xff" * 4
    assert about(program, bytes(content)) == ""
