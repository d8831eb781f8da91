"""Addresses and listening sockets: unix sockets, and TCP on the loopback interface."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..constants import ENV_UNIX_SOCKET_DIR, NETWORK_TCP, NETWORK_UNIX

if TYPE_CHECKING:
    from ..environment import PluginEnvironment

# sun_path of sockaddr_un, less the final NUL, in bytes
MAX_UNIX_PATH_BYTES = 107 if sys.platform == "linux" else 103
_BACKLOG = 128
_FOLDER_PREFIX = "pyplugin-"
_SHORT_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108 -- only a folder of our own inside is used
_BIND_ATTEMPTS = 100
# How much of what the peer or the environment says an error repeats, in characters.
_LONGEST_QUOTE = 512
_DECIMAL = re.compile(r"[0-9]+")
# gid_t, less the number that means "unchanged" to chown
_MAX_GROUP_ID = 2**32 - 2


@dataclass(frozen=True)
class Address:
    """Where a gRPC server listens, as the handshake and the broker write it.

    Attributes:
        network: ``unix`` or ``tcp``.
        address: Socket path or ``host:port``; an IPv6 host may be in brackets.
    """

    network: str
    address: str

    def host_and_port(self) -> tuple[str, int]:
        """The two parts of a TCP address.

        Raises:
            ValueError: There is no host, or no port from 1 to 65535.
        """
        host, separator, port = self.address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not separator or not host or not _DECIMAL.fullmatch(port) or not 0 < int(port) < 65536:
            raise ValueError(f"{_quote(self.address)} is no TCP address of the form host:port")
        return host, int(port)

    def check(self) -> None:
        """Refuses an address that cannot be connected to.

        Raises:
            ValueError: The network is unknown, the TCP address malformed, the path empty or longer
                than a unix socket's can be.
        """
        if self.network == NETWORK_TCP:
            self.host_and_port()
        elif self.network != NETWORK_UNIX:
            raise ValueError(f"unknown network {_quote(self.network)}: expected 'unix' or 'tcp'")
        elif not self.address or "\0" in self.address:
            raise ValueError(
                f"{_quote(self.address)} is no path of a unix socket: it must be where it listens"
            )
        elif (length := len(os.fsencode(self.address))) > MAX_UNIX_PATH_BYTES:
            raise ValueError(
                f"the path of the plugin's unix socket has {length} bytes, this system's limit is "
                f"{MAX_UNIX_PATH_BYTES}: set TMPDIR to a shorter folder ({_quote(self.address)})"
            )


class AddressTranslator(Protocol):
    """Says what a plugin's addresses are in its host, and the other way round.

    The path of a unix socket, for example, may be another one in a container.
    """

    def plugin_to_host(self, network: str, address: str) -> tuple[str, str]:
        """Network and address at which the host finds what the plugin wrote."""

    def host_to_plugin(self, network: str, address: str) -> tuple[str, str]:
        """Network and address at which the plugin finds where the host listens."""


@dataclass
class Listener:
    """A listening socket, and what to remove when it is closed."""

    sock: socket.socket
    address: Address
    folder: str | None = field(default=None, repr=False)

    def close(self) -> None:
        """Stops listening and removes the socket's file. May be called again."""
        self.sock.close()
        if self.address.network == NETWORK_UNIX:
            with contextlib.suppress(OSError):
                Path(self.address.address).unlink()
        if self.folder is not None:
            with contextlib.suppress(OSError):
                Path(self.folder).rmdir()


def open_listener(environment: PluginEnvironment, *, force_tcp: bool = False) -> Listener:
    """Listens where the host's environment says (go-plugin ``server.go`` ``serverListener``).

    Args:
        environment: Gives the folder and group of unix sockets and the range of TCP ports.
        force_tcp: Use TCP where unix sockets are to be had too.

    Raises:
        OSError: No socket could be bound; the message says where.
        LookupError: The socket group does not exist.
    """
    if force_tcp or sys.platform == "win32":
        return _open_tcp(environment.min_port, environment.max_port)
    return _open_unix(environment.socket_dir, environment.socket_group)


def make_socket_folder(temp_dir: str | None = None, group: str | None = None) -> str:
    """A new folder for one plugin's sockets, the owner's only; short enough for their paths.

    Args:
        temp_dir: The folder to make it in; None for the temporary one.
        group: Name or number of a group that may use it too.

    Raises:
        OSError: It cannot be made there, or would be too long for a unix socket.
        LookupError: The group does not exist.
    """
    import tempfile

    group_id = None if group is None else _group_id(group)
    folder = tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=temp_dir)
    try:
        if not _fits(folder):
            if temp_dir is not None:
                raise OSError(
                    errno.ENAMETOOLONG, f"the folder {temp_dir!r} is too long for a unix socket"
                )
            Path(folder).rmdir()
            folder = _short_folder()
        if group_id is not None:
            _give_to_group(folder, group_id, 0o770)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
        raise
    return folder


def remove_socket(address: Address) -> None:
    """Removes the unix socket of a plugin that has ended, and its folder where a host made that."""
    path = Path(address.address)
    if address.network == NETWORK_UNIX and path.parent.name.startswith(_FOLDER_PREFIX):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()


def _open_tcp(min_port: int, max_port: int) -> Listener:
    for port in range(min_port, max_port + 1):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
        else:
            sock.setblocking(False)
            bound = sock.getsockname()[1]
            return Listener(sock, Address(NETWORK_TCP, f"127.0.0.1:{bound}"))
    raise OSError(
        errno.EADDRINUSE,
        f"every TCP port from {min_port} to {max_port} of 127.0.0.1 is in use: the host allows "
        "more by min_port and max_port",
    )


def _open_unix(directory: str | None, group: str | None) -> Listener:
    group_id = None if group is None else _group_id(group)
    own_folder = None
    # Where Go looks. The tempfile module would say the same, after a slow import.
    directory = directory or os.environ.get("TMPDIR") or "/tmp"  # noqa: S108
    try:
        if not _fits(directory):
            directory = own_folder = _short_folder()
            if group_id is not None:
                _give_to_group(directory, group_id, 0o770)
        return Listener(*_bind_unix(directory, group_id), own_folder)
    except BaseException:
        if own_folder is not None:
            Path(own_folder).rmdir()
        raise


def _bind_unix(directory: str, group_id: int | None) -> tuple[socket.socket, Address]:
    for _ in range(_BIND_ATTEMPTS):
        path = str(Path(directory, f"plugin{os.urandom(5).hex()}"))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
        except OSError as error:
            sock.close()
            if error.errno == errno.EADDRINUSE:
                continue
            raise OSError(
                error.errno,
                f"cannot make a unix socket in {directory!r}: {os.strerror(error.errno or 0)}; "
                f"{ENV_UNIX_SOCKET_DIR}, or TMPDIR, names the folder",
            ) from error
        try:
            # Nobody can connect before listen(), so the mode is never open to others.
            if group_id is None:
                Path(path).chmod(0o600)
            else:
                _give_to_group(path, group_id, 0o660)
            sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            Path(path).unlink()
            raise
        sock.setblocking(False)
        return sock, Address(NETWORK_UNIX, path)
    raise OSError(errno.EADDRINUSE, f"no free name for a unix socket in {directory!r}")


def _fits(directory: str) -> bool:
    return len(os.fsencode(directory)) + len("/plugin0123456789") <= MAX_UNIX_PATH_BYTES


def _short_folder() -> str:
    import tempfile

    for parent in _SHORT_FOLDERS:
        with contextlib.suppress(OSError):
            return tempfile.mkdtemp(prefix=_FOLDER_PREFIX, dir=parent)
    raise OSError(
        errno.ENAMETOOLONG,
        f"the temporary folder {tempfile.gettempdir()!r} is too long for a unix socket, and neither"
        f" {' nor '.join(_SHORT_FOLDERS)} is writable: set TMPDIR to a shorter folder",
    )


def _quote(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST_QUOTE else f"{text[:_LONGEST_QUOTE]!r}…"


def _group_id(group: str) -> int:
    if _DECIMAL.fullmatch(group):
        number = group.lstrip("0") or "0"
        # Python reads no number of thousands of digits.
        if len(number) > len(str(_MAX_GROUP_ID)) or int(number) > _MAX_GROUP_ID:
            raise LookupError(f"{_quote(group)} is no group number: the highest is {_MAX_GROUP_ID}")
        return int(number)
    import grp

    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(
            f"the group {_quote(group)} that may connect to the plugin does not exist: make it, or "
            "name another"
        ) from None


def _give_to_group(path: str, group_id: int, mode: int) -> None:
    os.chown(path, -1, group_id)
    Path(path).chmod(mode)
