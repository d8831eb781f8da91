"""The plugin's process: spawning, its pipes, its end. Differences between systems end here."""

from __future__ import annotations

import abc
import asyncio
import contextlib
import errno
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from .._compat import timeout
from ..errors import HandshakeError, PluginNotExecutable, PluginNotFound, ProcessNotFound
from .diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import BinaryIO

_READ_BYTES = 64 * 1024
# The most that a dead process can have left in a pipe (Linux: /proc/sys/fs/pipe-max-size).
_MAX_LEFT_BEHIND_BYTES = 1024 * 1024
# Seconds for a reading thread to see the end of a dead process's pipe.
_FINISH_TIMEOUT = 1.0
# Seconds between looks at processes whose end nothing tells of.
_LOOK_SECONDS = 0.1
# The same for what a plugin left behind, and how long that may take to end by itself.
_REST_LOOK_SECONDS = 0.02
_REST_GRACE = 0.5
# Of Windows: what OpenProcess and WaitForSingleObject are asked for, and answer.
_SYNCHRONIZE, _ACCESS_DENIED, _STILL_RUNS = 0x100000, 5, 0x102


class PipeReader:
    """Feeds what arrives in a pipe to ``feed``, in the event loop, until the pipe ends.

    Attributes:
        ended: Done when there is nothing more to come.
    """

    def __init__(self, pipe: BinaryIO, feed: Callable[[bytes], None]) -> None:
        self._pipe = pipe
        self._feed = feed
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._has_thread = False
        try:
            os.set_blocking(pipe.fileno(), False)
            self._loop.add_reader(pipe.fileno(), self._on_readable)
        except (AttributeError, NotImplementedError, OSError):
            # Windows: neither the pipe nor the loop can do it.
            self._has_thread = True
            threading.Thread(target=self._read_in_thread, daemon=True).start()

    async def finish(self) -> None:
        """Delivers what a dead process left in the pipe, and closes it. May be called again."""
        if self._has_thread:
            await asyncio.wait([self.ended], timeout=_FINISH_TIMEOUT)
            return
        for _ in range(_MAX_LEFT_BEHIND_BYTES // _READ_BYTES):
            if self.ended.done() or not self._on_readable():
                break
        self._end()

    def _on_readable(self) -> bool:
        try:
            data = os.read(self._pipe.fileno(), _READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._feed(data)
        else:
            self._end()
        return bool(data)

    def _end(self) -> None:
        if self.ended.done():
            return
        if not self._has_thread:
            self._loop.remove_reader(self._pipe.fileno())
            self._pipe.close()
        self.ended.set_result(None)

    def _read_in_thread(self) -> None:
        # The loop may be closed before the pipe ends.
        with contextlib.suppress(RuntimeError), self._pipe:
            os.set_blocking(self._pipe.fileno(), True)
            while data := os.read(self._pipe.fileno(), _READ_BYTES):
                self._loop.call_soon_threadsafe(self._feed, data)
            self._loop.call_soon_threadsafe(self._end)


class PluginProcess(abc.ABC):
    """The process of a plugin, however it came to be.

    Attributes:
        pid: Process id, None where it has none here.
        name: What names it in logs and errors.
        exited: Resolves to the exit status, negative for a signal, when the process has ended; to
            None where only its parent gets to know.
        is_ours: This host started it, and ends it when its start fails.
        has_signals: It can be asked to end before it is ended by force.
    """

    pid: int | None
    name: str
    exited: asyncio.Future[int | None]
    is_ours = True
    has_signals = True

    @property
    def exit_code(self) -> int | None:
        """The exit status, None while the process runs, or where it is not to be had."""
        return self.exited.result() if self.exited.done() else None

    async def wait(self, seconds: float) -> bool:
        """Waits for the end of the process. Returns whether it came within ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with timeout(seconds):
                await asyncio.shield(self.exited)
        return self.exited.done()

    @abc.abstractmethod
    def terminate(self) -> None:
        """Asks the process, and those it started, to end."""

    @abc.abstractmethod
    def kill(self) -> None:
        """Ends the process, and those it started, at once."""

    @abc.abstractmethod
    async def aclose(self) -> None:
        """Gives back what watches it. A process that was attached to is left alone."""


class _Rest:
    """What a process that has ended left in its group, of which it was the leader.

    As long as there is any, nothing else can get the number of the group.

    Attributes:
        gone: Done when nothing is left.
    """

    def __init__(self, group: int) -> None:
        self._group = group
        self._loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self._loop.create_future()
        self._deadline = 0.0

    def end(self) -> None:
        """Asks it to end, and ends it by force a little later. For when the leader has ended."""
        self._deadline = self._loop.time() + _REST_GRACE
        self._send(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Sends a signal; notes whether there is nobody to take it."""
        if self.gone.done():
            return
        try:
            if sys.platform != "win32":
                os.killpg(self._group, number)
                return
        except (ProcessLookupError, PermissionError):
            pass
        self.gone.set_result(None)

    def _send(self, number: int) -> None:
        self.signal(number)
        if not self.gone.done():
            self._loop.call_later(_REST_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        late = self._loop.time() - self._deadline
        if late > _REST_GRACE and not self.gone.done():
            # Nothing takes notice of what was killed: it is for others to bury.
            self.gone.set_result(None)
        else:
            self._send(signal.SIGKILL if late > 0 and sys.platform != "win32" else 0)


class ProcessRunner(PluginProcess):
    """One process, started at construction.

    Whatever it started and left in its group ends with it.

    Attributes:
        gone: Done when that has ended too.

    Args:
        command: Program and arguments.
        env: Its whole environment.
        cwd: Its working directory, None for this process's.

    Raises:
        PluginNotFound: There is no such program.
        PluginNotExecutable: This user may not run it.
        HandshakeError: The system cannot run it, because of its architecture for example.
    """

    pid: int

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._process = subprocess.Popen(
                list(command),
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # A group of its own: Ctrl-C in a terminal is the host's to handle, and a plugin
                # behind a wrapper can be ended together with it.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise _spawn_error(error, command, env, cwd) from error
        self.pid = self._process.pid
        self.name: str = str(self.pid)
        self.exited: asyncio.Future[int | None] = loop.create_future()
        self._rest = _Rest(self.pid)
        self.gone: asyncio.Future[None] = self._rest.gone
        self.stdout: BinaryIO = cast("BinaryIO", self._process.stdout)
        self.stderr: BinaryIO = cast("BinaryIO", self._process.stderr)
        self._pidfd = -1
        try:
            self._pidfd = os.pidfd_open(self.pid)
            loop.add_reader(self._pidfd, self._on_exit)
        except (AttributeError, NotImplementedError, OSError):
            if self._pidfd >= 0:
                os.close(self._pidfd)
            threading.Thread(target=self._wait_in_thread, args=(loop,), daemon=True).start()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    async def aclose(self) -> None:
        await asyncio.shield(self.exited)
        await asyncio.shield(self.gone)

    def _signal(self, number: int) -> None:
        if self.exited.done():
            self._rest.signal(number)
        elif self._process.returncode is not None:
            # A thread reaped it, and is about to say so.
            return
        elif sys.platform == "win32":
            self._process.terminate()
        else:
            # The id stays this process's until it is reaped.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def _on_exit(self) -> None:
        self.exited.get_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._on_reaped(self._process.wait())

    def _wait_in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        status = self._process.wait()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._on_reaped, status)

    def _on_reaped(self, status: int) -> None:
        self.exited.set_result(status)
        self._rest.end()


class AttachedProcess(PluginProcess):
    """A process that another host started.

    Args:
        pid: Its id.
        start: When it started, as ``process_start`` gives it; None where that is not known.

    Raises:
        ProcessNotFound: No process has this id, or another one has it now.
    """

    is_ours = False
    pid: int

    def __init__(self, pid: int, start: int | None) -> None:
        self._loop = asyncio.get_running_loop()
        self.pid = pid
        self.name: str = str(pid)
        self.exited: asyncio.Future[int | None] = self._loop.create_future()
        self._start = start
        self._pidfd = -1
        self._timer: asyncio.TimerHandle | None = None
        self._rest: _Rest | None = None
        # No such descriptors here, or no more of them: its end is looked for then.
        with contextlib.suppress(AttributeError, OSError, OverflowError):
            # From here on it is this process, whatever becomes of the number.
            self._pidfd = os.pidfd_open(pid)
        if not _is_running(pid) or self._has_ended:
            self._close()
            raise ProcessNotFound(f"no process has the id {pid}: it has ended; start it anew")
        if not self._is_the_one:
            self._close()
            raise ProcessNotFound(
                f"another process has the id {pid} by now: it has ended; start it anew"
            )
        if self._pidfd >= 0:
            self._loop.add_reader(self._pidfd, self._on_exit)
        else:
            self._look()

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))

    async def aclose(self) -> None:
        self._close()
        if self._rest is not None and self.exited.done():
            await asyncio.shield(self._rest.gone)

    @property
    def _has_ended(self) -> bool:
        """Whether it has ended, be it that its host has not taken notice."""
        if self._pidfd < 0:
            return not _is_running(self.pid)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        return bool(poll.poll(0))

    @property
    def _is_the_one(self) -> bool:
        return self._start is None or process_start(self.pid) == self._start

    def _signal(self, number: int) -> None:
        if self.exited.done():
            if self._rest is not None:
                self._rest.signal(number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._pidfd < 0:
                if self._is_the_one:
                    os.kill(self.pid, number)
                return
            is_leader = os.getpgid(self.pid) == self.pid
            signal.pidfd_send_signal(self._pidfd, number)
            if is_leader:
                # That was no other process, so this is its group.
                self._rest = self._rest or _Rest(self.pid)
                os.killpg(self.pid, number)

    def _look(self) -> None:
        self._timer = None
        if _is_running(self.pid) and self._is_the_one:
            self._timer = self._loop.call_later(_LOOK_SECONDS, self._look)
        else:
            self._on_exit()

    def _on_exit(self) -> None:
        self._close()
        self.exited.set_result(None)
        if self._rest is not None:
            self._rest.end()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        handle = kernel.OpenProcess(_SYNCHRONIZE, False, pid)
        if not handle:
            return bool(ctypes.get_last_error() == _ACCESS_DENIED)
        try:
            return bool(kernel.WaitForSingleObject(handle, 0) == _STILL_RUNS)
        finally:
            kernel.CloseHandle(handle)
    try:
        os.kill(pid, 0)
    except PermissionError:
        # It is another user's.
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def process_start(pid: int) -> int | None:
    """When a process started, in a unit of the system's; None where it does not say.

    Together with the id it names a process for good.
    """
    try:
        # Linux: field 22 of proc(5). The second one is a name in parentheses, which may hold any.
        text = Path(f"/proc/{pid}/stat").read_bytes()
        return int(text[text.rindex(b")") :].split()[20])
    except (OSError, ValueError, IndexError):
        return None


def describe_exit(status: int | None) -> str:
    """An exit status in words; None is one that is not known."""
    if status is None:
        return "has ended"
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _spawn_error(
    error: OSError, command: Sequence[str], env: Mapping[str, str], cwd: str | None
) -> HandshakeError:
    if cwd is not None and error.filename == cwd:
        return PluginNotFound(
            f"its working directory {cwd!r} cannot be used: {error.strerror}; see `cwd`"
        )
    kind: type[HandshakeError] = {
        errno.ENOENT: PluginNotFound,
        errno.EACCES: PluginNotExecutable,
    }.get(error.errno or 0, HandshakeError)
    notes = diagnose(command, env, cwd)
    if error.errno == errno.ENOEXEC and not notes:
        notes = f"{command[0]!r} is no program: a script begins with #! and its interpreter."
    return kind(f"it could not be started: {error.strerror}" + (f"\n{notes}" if notes else ""))
