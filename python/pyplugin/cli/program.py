"""What kind of program a file is."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..host.diagnose import elf_machine, shebang

_HEAD_BYTES = 4096
# cputype of a Mach-O header
_MACH_O_MACHINES = {0x01000007: "x86_64", 0x0100000C: "arm64"}


@dataclass(frozen=True)
class Program:
    """A file, as its first bytes and its permissions have it.

    Attributes:
        path: Its path.
        kind: ``elf``, ``mach-o``, ``pe``, ``script``, or ``other``.
        machine: For which processor it is, where that is told.
        interpreter: What runs a script.
        is_executable: This user may run it.
    """

    path: str
    kind: str
    machine: str | None
    interpreter: str | None
    is_executable: bool

    def __str__(self) -> str:
        about = {"elf": "ELF", "mach-o": "Mach-O", "pe": "Windows program"}.get(
            self.kind, self.kind
        )
        return " ".join(filter(None, (about, self.machine, self.interpreter)))


def look_at(path: str) -> Program:
    """What the file is.

    Raises:
        OSError: It cannot be read.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD_BYTES)
    kind, machine, interpreter = "other", None, None
    if (line := shebang(head)) is not None:
        kind, interpreter = "script", line.strip()
    elif (machine := elf_machine(head)) is not None:
        kind = "elf"
    elif head.startswith(b"\xcf\xfa\xed\xfe"):
        kind = "mach-o"
        machine = _MACH_O_MACHINES.get(int.from_bytes(head[4:8], "little"))
    elif head.startswith(b"\xca\xfe\xba\xbe"):
        kind, machine = "mach-o", "universal"
    elif head.startswith(b"MZ"):
        kind = "pe"
    return Program(path, kind, machine, interpreter, os.access(path, os.X_OK))
