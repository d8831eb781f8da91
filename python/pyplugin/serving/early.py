"""What a program printed to stdout before the handshake, which is to be the first line there."""

from __future__ import annotations

import contextlib
import os
import stat
import sys


def take_buffered() -> bytes:
    """Takes what Python holds back of what was printed; nothing where the system cannot.

    As long as it is held back it does no harm. In a terminal, or unbuffered, it would.
    """
    if not hasattr(os, "memfd_create"):
        return b""
    with contextlib.ExitStack() as undo:
        try:
            file = os.memfd_create("stdout")
            undo.callback(os.close, file)
            real = os.dup(1)
            undo.callback(os.close, real)
            os.dup2(file, 1)
        except OSError:
            return b""
        undo.callback(os.dup2, real, 1)
        # A program may have closed it, or put anything in its place.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
        return os.pread(file, os.fstat(file).st_size, 0)


def count_unread() -> int:
    """How many bytes of what was printed the host has still to read; 0 where that is not seen."""
    if sys.platform == "win32":
        return 0
    import fcntl
    import termios

    with contextlib.suppress(OSError):
        if stat.S_ISFIFO(os.fstat(1).st_mode):
            return int.from_bytes(fcntl.ioctl(1, termios.FIONREAD, bytes(4)), sys.byteorder)
    return 0
