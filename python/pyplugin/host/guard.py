"""Sees to the plugins of a host that died without ending them, by SIGKILL for example.

One shell for all plugins of a process reads what runs and what has ended; when it reads the end,
the host is gone, and it ends what is left, with all that wrappers started and the folders of its
sockets.

A plugin that is to outlive its host has a shell of its own, which reads on in the host's place.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, ClassVar

from ..errors import HandshakeError
from .process import process_start

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHELL = "/bin/sh"
# Plugins are leaders of process groups of their own. They get a moment to clean up. A leader that
# started at another time is none of them.
_SCRIPT = """
trap '' HUP INT TERM
cd /
groups=' '
while read -r what group start folder; do
  case $what in
    +)
      groups="$groups$group "
      eval "start_$group=\\$start folder_$group=\\$folder" ;;
    -) case $groups in *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;; esac ;;
  esac
done
ours=
for group in $groups; do
  eval "start=\\$start_$group"
  if { read -r fields < "/proc/$group/stat"; } 2>/dev/null; then
    set -- ${fields##*) }
    case "$start ${20}" in "0 "* | *" " | "${20} ${20}") ;; *) continue ;; esac
  fi
  ours="$ours $group"
done
for signal in TERM KILL; do
  for group in $ours; do kill -s $signal -- "-$group" 2>/dev/null; done
  test "$ours" && test $signal = TERM && sleep 0.5
done
for group in $groups; do
  eval "folder=\\$folder_$group"
  test "$folder" && rm -rf -- "$folder"
done
"""

# It has the pipes that are its arguments all along, so that they never break. Those that the host
# made non-blocking are so for all who share them: where the system has it so, opening one by its
# name gives a pipe that is not, and else it is looked into ten times a second. Where pipes have no
# names it ends.
_DRAIN_SCRIPT = """
trap '' HUP INT TERM
cd /
read -r _
for pipe; do
  until cat "/dev/fd/$pipe"; do
    [ -e "/dev/fd/$pipe" ] || exit
    sleep 0.1 || sleep 1 || exit
  done &
done
wait
"""


class _Guard:
    """It runs while there is a plugin."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # What the shell is told of each group.
        self._groups: dict[int, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, group: int, folder: str | None) -> None:
        """Has it end the process group ``group``, and remove ``folder``, when this process dies.

        Raises:
            HandshakeError: The shell could not be started.
        """
        path = "" if folder is None or "\n" in folder else Path(folder).absolute()
        line = f"+ {group} {process_start(group) or 0} {path}\n"
        with self._lock:
            self._groups[group] = line
            # Somebody may have killed it.
            if self._process is None or not self._tell(line):
                self._stop()
                try:
                    self._start()
                except OSError as error:
                    self._groups.pop(group)
                    raise HandshakeError(
                        f"{_SHELL}, which ends it if this host dies, could not be started: "
                        f"{error.strerror}; orphan_guard=False does without"
                    ) from error

    def remove(self, group: int) -> None:
        """The group has ended: its number may be another's by now."""
        with self._lock:
            if self._groups.pop(group, None) is None:
                return
            if self._groups:
                self._tell(f"- {group}\n")
            else:
                self._stop()

    def forget(self) -> None:
        """In a child made by fork: its parent's guard is not to wait for it too."""
        self._lock = threading.Lock()
        self._groups = {}
        process, self._process = self._process, None
        if process is not None:
            _forget_shell(process)

    def _start(self) -> None:
        self._process = _start_shell(_SCRIPT)
        for line in self._groups.values():
            self._tell(line)

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _stop_shell(process)

    def _tell(self, line: str) -> bool:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.write(os.fsencode(line))
            return True
        return False


class Drain:
    """Reads what a plugin writes once this process is gone, for as long as the plugin lives.

    Nobody would otherwise, and by its next line on stderr a Go plugin would end by SIGPIPE.

    Args:
        pipes: The plugin's stdout and stderr, which this process reads as long as it lives.

    Raises:
        OSError: The shell could not be started.
    """

    # Those that run.
    all: ClassVar[set[Drain]] = set()

    def __init__(self, *pipes: BinaryIO) -> None:
        descriptors = [pipe.fileno() for pipe in pipes]
        self._process = _start_shell(_DRAIN_SCRIPT, *map(str, descriptors), pass_fds=descriptors)
        self.all.add(self)

    def stop(self) -> None:
        """The plugin has ended."""
        if self in self.all:
            self.all.remove(self)
            _stop_shell(self._process)

    @classmethod
    def forget(cls) -> None:
        """In a child made by fork: the death that they wait for is its parent's."""
        for drain in cls.all:
            _forget_shell(drain._process)
        cls.all.clear()


def _start_shell(
    script: str, *arguments: str, pass_fds: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [_SHELL, "-c", script, _SHELL, *arguments],
        env={"PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        bufsize=0,
        pass_fds=pass_fds,
        # What ends the host's group must not end this.
        start_new_session=True,
    )


def _stop_shell(process: subprocess.Popen[bytes]) -> None:
    # It has nothing to do any more, and ends at once by this.
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _forget_shell(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    # It is no child of this process, which cannot wait for it.
    process.returncode = 0


GUARD = _Guard() if sys.platform != "win32" else None

if hasattr(os, "register_at_fork") and GUARD is not None:
    os.register_at_fork(after_in_child=GUARD.forget)
    os.register_at_fork(after_in_child=Drain.forget)
