"""Ends the plugins of a host that died without ending them, by SIGKILL for example.

One shell for all plugins of a process reads what runs and what has ended; when it reads the end,
the host is gone, and it ends what is left, with all that wrappers started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

_SHELL = "/bin/sh"
# Plugins are leaders of process groups of their own. They get a moment to clean up.
_SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r what group; do
  case $what in
    +) groups="$groups$group " ;;
    -) case $groups in *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;; esac ;;
  esac
done
test "$groups" = ' ' && exit
for signal in TERM KILL; do
  for group in $groups; do kill -$signal -- "-$group" 2>/dev/null; done
  test $signal = TERM && sleep 0.5
done
"""


class _Guard:
    """It runs while there is a plugin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._groups: set[int] = set()
        self._pid = 0
        self._pipe = -1

    def add(self, group: int) -> None:
        """Has it end the process group ``group`` when this process dies."""
        with self._lock:
            if not self._groups:
                self._start()
            self._groups.add(group)
            self._tell("+", group)

    def remove(self, group: int) -> None:
        """The group has ended: its number may be another's by now."""
        with self._lock:
            self._groups.discard(group)
            if self._groups:
                self._tell("-", group)
            elif self._pid:
                self._stop()

    def forget(self) -> None:
        """In a child made by fork: its parent's guard is not to wait for it too."""
        self._lock = threading.Lock()
        if self._pid:
            os.close(self._pipe)
        self._groups, self._pid, self._pipe = set(), 0, -1

    def _start(self) -> None:
        read_end, self._pipe = os.pipe()
        try:
            self._pid = os.posix_spawn(
                _SHELL,
                [_SHELL, "-c", _SCRIPT],
                {"PATH": os.defpath},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, read_end, 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
                # What ends the host's group must not end this.
                setpgroup=0,
            )
        finally:
            os.close(read_end)

    def _stop(self) -> None:
        # It has nothing to do any more, and ends at once by this.
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._pipe)
        self._pid, self._pipe = 0, -1

    def _tell(self, what: str, group: int) -> None:
        # Somebody may have killed it.
        with contextlib.suppress(OSError):
            os.write(self._pipe, f"{what} {group}\n".encode())


GUARD = _Guard() if sys.platform != "win32" else None

if hasattr(os, "register_at_fork") and GUARD is not None:
    os.register_at_fork(after_in_child=GUARD.forget)
