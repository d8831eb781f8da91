"""Why a plugin could not be started, or said nothing: what its file and command tell."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import stat
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Holds the headers of an ELF program, and the name of its loader.
_HEAD_BYTES = 4096
_PT_INTERP = 3
# How much of the name of an interpreter or loader is repeated, in characters.
_LONGEST_QUOTE = 256
# e_machine of an ELF header, and what platform.machine() calls it
_ELF_MACHINES = {
    3: "i386",
    8: "mips",
    20: "ppc",
    21: "ppc64",
    22: "s390x",
    40: "arm",
    62: "x86_64",
    183: "aarch64",
    243: "riscv64",
    258: "loongarch64",
}
_SAME_MACHINE = {"amd64": "x86_64", "arm64": "aarch64", "i686": "i386", "i586": "i386"}
_INSTALL = "install the one for this machine."
# What plugins that end at once often say, and what to do about it.
_ADVICE = {
    # Go's plugins and ours.
    b"This binary is a plugin": "Host and plugin must have the same magic cookie.",
    b"error while loading shared libraries": (
        "Install that library, or name its folder in LD_LIBRARY_PATH in `env`."
    ),
    b"ModuleNotFoundError": "Install that module for the Python in `cmd`, or start another Python.",
}


def plugin_name(command: Sequence[str]) -> str:
    """What errors and loggers call a plugin: its file's name, or its script's under Python."""
    name = Path(command[0]).name if command else ""
    if not name.startswith("python"):
        return name
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, name)
        if argument in ("-W", "-X"):
            next(arguments, None)
        elif argument == "-c" or not argument.startswith("-"):
            return name if argument == "-c" else Path(argument).name
    return name


def shebang(head: bytes) -> str | None:
    """What a script's first line says after ``#!``; None for a file that is no script.

    Args:
        head: The first bytes of the file.
    """
    return os.fsdecode(head[2:].split(b"\n")[0]) if head.startswith(b"#!") else None


def elf_machine(head: bytes) -> str | None:
    """For which processor an ELF program is, as ``platform.machine()`` names it; else None.

    Args:
        head: The first bytes of the file.
    """
    if not head.startswith(b"\x7fELF") or len(head) < 20:
        return None
    (machine,) = struct.unpack_from(f"{_byte_order(head)}H", head, 18)
    return _ELF_MACHINES.get(machine, f"machine {machine}")


def _elf_loader(head: bytes) -> str | None:
    """The dynamic loader that an ELF program names (PT_INTERP), where it names one."""
    order, is_64_bit = _byte_order(head), head[4:5] == b"\x02"
    with contextlib.suppress(struct.error, OverflowError):
        word, at = ("Q", 32) if is_64_bit else ("I", 28)
        (start,) = struct.unpack_from(order + word, head, at)
        size, count = struct.unpack_from(f"{order}HH", head, 54 if is_64_bit else 42)
        for at in range(start, start + size * count, size or 1):
            (kind,) = struct.unpack_from(f"{order}I", head, at)
            if kind == _PT_INTERP:
                fields = f"{order}8xQ16xQ" if is_64_bit else f"{order}4xI8xI"
                offset, length = struct.unpack_from(fields, head, at)
                return os.fsdecode(head[offset : offset + length].rstrip(b"\0")) or None
    return None


def _byte_order(head: bytes) -> str:
    return ">" if head[5:6] == b"\x02" else "<"


def diagnose(command: Sequence[str], env: Mapping[str, str], cwd: str | None = None) -> str:
    """What is wrong with the plugin's file, as far as can be told from here; else nothing.

    Args:
        command: Program and arguments.
        env: The environment the plugin gets.
        cwd: The working directory it gets; None for this process's.
    """
    program = command[0] if command else ""
    # Without PATH the system searches its default folders, not those of this process.
    folders = env.get("PATH", os.defpath)
    found = program if os.sep in program else shutil.which(program, path=folders)
    if found is None:
        return f"There is no {program!r} in the folders of PATH ({folders!r}): give its whole path."
    path = Path(cwd or "", found)
    try:
        status = path.stat()
    except OSError as error:
        return f"{found!r}: {error.strerror}. Is the plugin installed, and the path right?"
    if path.is_dir():
        return f"{found!r} is a folder, not a program: name the one in it."
    if not status.st_mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        return f"{found!r} is not executable: chmod +x it, or run it by its interpreter."
    if not os.access(path, os.X_OK):
        mode = stat.filemode(status.st_mode)
        return f"{found!r} ({mode}) may not be executed by this user: its owner can change that."
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return ""
    return _diagnose_content(found, head) or _diagnose_loader(found, head)


def _diagnose_loader(path: str, head: bytes) -> str:
    loader = _elf_loader(head) if elf_machine(head) else None
    if loader is None or not (lack := _lack(loader)):
        return ""
    return (
        f"{path!r} wants the loader {loader[:_LONGEST_QUOTE]!r}, which {lack}: it was built for "
        "another C library (musl or glibc); install the one for this system."
    )


def _lack(path: str) -> str:
    """Why there is no file of that name for this user; empty where there is one."""
    try:
        Path(path).stat()
    except PermissionError:
        return "this user may not reach"
    except (OSError, ValueError):
        # A name that is too long or holds a NUL, too.
        return "does not exist"
    return ""


def advise(stderr_tail: Sequence[bytes]) -> str:
    """What to do about the last words of a plugin that did not start, where they are known."""
    tail = b"\n".join(stderr_tail)
    return next((advice for words, advice in _ADVICE.items() if words in tail), "")


def _diagnose_content(path: str, head: bytes) -> str:
    if not head:
        return f"{path!r} is empty: install it anew."
    if (line := shebang(head)) is not None:
        interpreter = line.strip(" \t").split(" ")[0]
        if interpreter.endswith("\r"):
            return f"{path!r} has Windows line ends: with Unix ones its interpreter is found."
        if interpreter and (lack := _lack(interpreter)):
            quoted = repr(interpreter[:_LONGEST_QUOTE])
            return (
                f"{path!r} wants the interpreter {quoted}, which {lack}: install it, or change the "
                "first line."
            )
        return ""
    if (wanted := elf_machine(head)) is not None:
        here = _SAME_MACHINE.get(platform.machine().lower(), platform.machine().lower())
        if wanted != here:
            return f"{path!r} was built for {wanted}, this machine is {here}: {_INSTALL}"
        if sys.platform == "darwin":
            return f"{path!r} was built for Linux, not for macOS: {_INSTALL}"
        return ""
    if head.startswith(b"MZ") and sys.platform != "win32":
        return f"{path!r} was built for Windows: {_INSTALL}"
    if head[:4] in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe") and sys.platform != "darwin":
        return f"{path!r} was built for macOS: {_INSTALL}"
    return ""
