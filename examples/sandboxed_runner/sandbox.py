"""A runner whose plugin has a network, processes and mounts of its own: namespaces of Linux.

All it needs is util-linux, and a machine that lets this user have namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import logging

    from pyplugin import PluginCommand

# Where the plugin finds the host's folder of sockets.
INSIDE = PurePosixPath("/run/plugin")

# Runs in the sandbox, as its root: `$0` is the host's folder, `$@` the plugin's command. At its own
# path the folder is covered, so that nothing works by chance; and the plugin gets no capability.
SCRIPT = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs {INSIDE.parent}
mkdir {INSIDE}
mount --bind "$0" {INSIDE}
mount -t tmpfs tmpfs "$0"
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$@"
"""

# The sandbox dies with the host, of whatever that dies, and everything in it with `unshare`.
ENTER = [
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--user", "--map-root-user", "--net", "--mount", "--mount-proc"),
    *("--pid", "--fork", "--kill-child"),
    *("sh", "-c", SCRIPT),
]


class Sandbox:
    """Runs one plugin. It is a ``runner_func`` as it stands.

    Args:
        logger: Where a runner may log.
        command: What to run.
        folder: Where the host has the sockets of both sides.
    """

    name = "a sandbox"
    stdout: BinaryIO
    stderr: BinaryIO

    def __init__(self, logger: logging.Logger, command: PluginCommand, folder: str) -> None:
        self._command = command
        self._folder = PurePosixPath(folder)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def id(self) -> str:
        assert self._process is not None
        return f"sandbox-{self._process.pid}"

    async def start(self) -> None:
        out, plugins_out = os.pipe()
        err, plugins_err = os.pipe()
        self.stdout, self.stderr = os.fdopen(out, "rb", 0), os.fdopen(err, "rb", 0)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *(*ENTER, str(self._folder), *self._command.args),
                env={**self._command.env, "PLUGIN_UNIX_SOCKET_DIR": str(INSIDE)},
                cwd=self._command.cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=plugins_out,
                stderr=plugins_err,
            )
        except BaseException:
            self.stdout.close()
            self.stderr.close()
            raise
        finally:
            os.close(plugins_out)
            os.close(plugins_err)

    async def wait(self) -> int | None:
        assert self._process is not None
        return await self._process.wait()

    async def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def diagnose(self) -> str:
        return "Where unshare, mount or setpriv complain, this machine does not allow the sandbox."

    def plugin_to_host(self, network: str, address: str) -> tuple[str, str]:
        return _moved(network, address, INSIDE, self._folder)

    def host_to_plugin(self, network: str, address: str) -> tuple[str, str]:
        return _moved(network, address, self._folder, INSIDE)


def _moved(network: str, address: str, old: PurePosixPath, new: PurePosixPath) -> tuple[str, str]:
    """The same socket in the other folder; nothing else that a plugin may say leads a host."""
    path = PurePosixPath(address)
    if network != "unix" or path.parent != old:
        raise ValueError(f"{network} {address} is no unix socket in {old}, and out of reach")
    return network, str(new / path.name)
