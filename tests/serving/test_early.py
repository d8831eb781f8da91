"""What is on stdout before the handshake, seen from the process itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fixtures import script

# Reports to stderr, since stdout is what it is about.
REPORT = """
import os, sys
from pyplugin.serving.early import count_unread, take_buffered
{before}
print([take_buffered(), count_unread(), take_buffered()], file=sys.stderr)
"""


def report(before: str, unbuffered: bool = False, **streams: int) -> str:
    command = script(REPORT.format(before=before))
    if not unbuffered:
        command.remove("-u")
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run(command, env=environment, check=True, **streams).stderr.decode()  # type: ignore[call-overload, no-any-return]


@pytest.mark.skipif(sys.platform != "linux", reason="the others cannot")
@pytest.mark.parametrize(
    ("before", "taken"),
    [
        ("", b""),
        ("print('hello')", b"hello\n"),
        ("sys.stdout.write('no line end')", b"no line end"),
        ("print('x' * 5000)", b"x" * 5000 + b"\n"),
        ("sys.stdout.buffer.write(b'\\xff')", b"\xff"),
        ("sys.stdout = None", b""),
        ("sys.stdout.close()", b""),
        ("os.close(1)", b""),
        ("sys.stdout = sys.stderr", b""),
        ("import io; sys.stdout = io.StringIO(); print('hello')", b""),
    ],
)
def test_what_python_holds_back_is_taken(before: str, taken: bytes) -> None:
    assert report(before) == f"[{taken!r}, 0, b'']\n"


@pytest.mark.skipif(sys.platform == "win32", reason="it cannot")
def test_what_is_in_the_pipe_is_counted() -> None:
    # Nobody reads it meanwhile.
    for before, unbuffered, count in (("print('hi')", True, 3), ("os.write(1, b'hi')", False, 2)):
        read_end, write_end = os.pipe()
        try:
            assert report(before, unbuffered, stdout=write_end) == f"[b'', {count}, b'']\n"
        finally:
            os.close(read_end)
            os.close(write_end)


def test_what_is_no_pipe_has_no_reader() -> None:
    assert report("os.write(1, b'hello')", stdout=subprocess.DEVNULL) == "[b'', 0, b'']\n"
