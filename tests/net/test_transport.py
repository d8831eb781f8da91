from __future__ import annotations

import contextlib
import grp
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin.environment import PluginEnvironment
from pyplugin.net.transport import (
    MAX_UNIX_PATH_BYTES,
    Address,
    Listener,
    make_socket_folder,
    open_listener,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME_BYTES = len("/plugin0123456789")


@contextlib.contextmanager
def listening(
    *,
    force_tcp: bool = False,
    socket_dir: str | Path | None = None,
    socket_group: str | None = None,
    ports: tuple[int, int] = (0, 0),
) -> Iterator[Listener]:
    environment = PluginEnvironment(
        socket_dir=None if socket_dir is None else str(socket_dir),
        socket_group=socket_group,
        min_port=ports[0],
        max_port=ports[1],
    )
    listener = open_listener(environment, force_tcp=force_tcp)
    try:
        yield listener
    finally:
        listener.close()


def connect(address: Address) -> None:
    if address.network == "unix":
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(address.address)
    else:
        socket.create_connection(address.host_and_port()).close()


def mode(path: str | Path) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def folder_of_length(parent: Path, length: int) -> Path:
    while len(str(parent)) < length:
        missing = length - len(str(parent)) - 1
        # One character less than missing needs a separator of its own next time.
        parent /= "x" * (missing if missing <= 200 else 100)
    parent.mkdir(parents=True)
    return parent


# Addresses


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1234", ("127.0.0.1", 1234)),
        ("localhost:65535", ("localhost", 65535)),
        ("[::1]:80", ("::1", 80)),
        ("::1:80", ("::1", 80)),
        ("[fe80::1%eth0]:1", ("fe80::1%eth0", 1)),
    ],
)
def test_host_and_port_of_a_tcp_address(text: str, expected: tuple[str, int]) -> None:
    address = Address("tcp", text)
    assert address.host_and_port() == expected
    address.check()


BAD_HOSTS = ["", ":", ":80", "[]:80", "host", "/tmp/socket"]
BAD_PORTS = ["host:", "host:x", "host:0", "host:65536", "host:-1", "host: 80", "host:٣"]


@pytest.mark.parametrize("text", [*BAD_HOSTS, *BAD_PORTS])
def test_a_bad_tcp_address_is_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="no TCP address") as raised:
        Address("tcp", text).check()
    assert repr(text) in str(raised.value)


@pytest.mark.parametrize("network", ["", "udp", "Unix"])
def test_an_unknown_network_is_quoted(network: str) -> None:
    with pytest.raises(ValueError, match=f"unknown network '{network}'"):
        Address(network, "/tmp/socket").check()


@pytest.mark.parametrize("path", ["", "\0abstract", "/tmp/a\0b"])
def test_a_path_that_no_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path of a unix socket"):
        Address("unix", path).check()


@pytest.mark.parametrize("letter", ["x", "é", "\udcff"])
def test_the_limit_of_a_unix_path_counts_bytes(letter: str) -> None:
    count, rest = divmod(MAX_UNIX_PATH_BYTES - 1, len(os.fsencode(letter)))
    longest = "/" + letter * count + "x" * rest
    Address("unix", longest).check()
    with pytest.raises(ValueError, match=f"{MAX_UNIX_PATH_BYTES + 1} bytes.*TMPDIR"):
        Address("unix", longest + "x").check()


def test_the_limit_is_the_systems(tmp_path: Path) -> None:
    folder = folder_of_length(tmp_path, MAX_UNIX_PATH_BYTES - 2)
    with socket.socket(socket.AF_UNIX) as fits:
        fits.bind(f"{folder}/x")
    with socket.socket(socket.AF_UNIX) as too_long, pytest.raises(OSError, match="too long"):
        too_long.bind(f"{folder}/xx")


# Unix sockets


def test_a_unix_socket_lies_in_the_temporary_folder(temporary_folder: Path) -> None:
    with listening() as listener:
        assert listener.address.network == "unix"
        assert Path(listener.address.address).parent == temporary_folder
        connect(listener.address)


def test_a_unix_socket_lies_in_the_folder_of_the_environment(tmp_path: Path) -> None:
    with listening(socket_dir=tmp_path) as listener:
        assert [str(path) for path in tmp_path.iterdir()] == [listener.address.address]
        listener.address.check()
        connect(listener.address)


def test_a_socket_does_not_block_the_event_loop() -> None:
    with listening() as unix, listening(force_tcp=True) as tcp:
        assert (unix.sock.getblocking(), tcp.sock.getblocking()) == (False, False)


@pytest.mark.parametrize("umask", [0, 0o777])
def test_only_the_owner_may_connect_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        with listening(socket_dir=tmp_path) as listener:
            assert mode(listener.address.address) == 0o600
    finally:
        os.umask(before)


def test_closing_removes_the_socket_and_may_be_repeated(tmp_path: Path) -> None:
    with listening(socket_dir=tmp_path) as listener:
        listener.close()
        assert list(tmp_path.iterdir()) == []
        with pytest.raises(OSError, match="No such file"):
            connect(listener.address)


def test_closing_does_not_mind_that_the_socket_is_gone(tmp_path: Path) -> None:
    with listening(socket_dir=tmp_path) as listener:
        Path(listener.address.address).unlink()


def test_many_sockets_share_a_folder(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(listening(socket_dir=tmp_path)) for _ in range(20)]
        assert len({listener.address for listener in opened}) == 20


def test_a_folder_that_just_fits_is_used(tmp_path: Path) -> None:
    folder = folder_of_length(tmp_path, MAX_UNIX_PATH_BYTES - NAME_BYTES)
    with listening(socket_dir=folder) as listener:
        assert Path(listener.address.address).parent == folder


@pytest.mark.parametrize("length", [MAX_UNIX_PATH_BYTES - NAME_BYTES + 1, 300])
def test_a_folder_that_is_too_long_is_replaced_by_a_short_private_one(
    length: int, tmp_path: Path
) -> None:
    folder = folder_of_length(tmp_path, length)
    with listening(socket_dir=folder) as listener:
        own = Path(listener.address.address).parent
        assert mode(own) == 0o700
        listener.address.check()
        connect(listener.address)
        assert list(folder.iterdir()) == []
    assert not own.exists()


def test_a_temporary_folder_that_is_too_long_is_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(folder_of_length(tmp_path, 150)))
    with listening() as listener:
        connect(listener.address)


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(FileNotFoundError, match=f"{tmp_path}/none"),
        listening(socket_dir=tmp_path / "none"),
    ):
        pass


# Groups


def groups() -> list[str]:
    """Groups this user can give a file to, by number and by name."""
    group = os.getgid() if os.geteuid() else grp.getgrall()[-1].gr_gid
    return [str(group), grp.getgrgid(group).gr_name]


@pytest.mark.parametrize("group", groups())
def test_a_group_may_connect(group: str, tmp_path: Path) -> None:
    with listening(socket_dir=tmp_path, socket_group=group) as listener:
        assert mode(listener.address.address) == 0o660
        assert os.stat(listener.address.address).st_gid == int(groups()[0])


def test_a_group_may_enter_the_short_folder(tmp_path: Path) -> None:
    folder = folder_of_length(tmp_path, 150)
    with listening(socket_dir=folder, socket_group=groups()[0]) as listener:
        own = Path(listener.address.address).parent
        assert mode(own) == 0o770
        assert os.stat(own).st_gid == int(groups()[0])
    assert not own.exists()


def test_an_unknown_group_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(LookupError, match="'no such group'"),
        listening(socket_dir=tmp_path, socket_group="no such group"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def made_folders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every temporary folder that is made; the short ones lie where others make theirs too."""
    made: list[str] = []
    mkdtemp = tempfile.mkdtemp

    def spy(*args: Any, **kwargs: Any) -> str:
        made.append(mkdtemp(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", spy)
    return made


@pytest.mark.parametrize("length", [0, 150], ids=["short", "long"])
def test_a_number_that_no_group_can_have_is_an_error_that_leaves_nothing(
    length: int, tmp_path: Path, made_folders: list[str]
) -> None:
    folder = folder_of_length(tmp_path, length) if length else tmp_path
    with (
        pytest.raises(Exception) as raised,
        listening(socket_dir=folder, socket_group=str(2**64)),
    ):
        pass
    left = [made for made in made_folders if Path(made).exists()]
    for made in left:
        Path(made).rmdir()
    assert left == []
    assert list(folder.iterdir()) == []
    assert isinstance(raised.value, LookupError | OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may give a file to any group")
def test_a_group_of_others_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), listening(socket_dir=tmp_path, socket_group="0"):
        pass
    assert list(tmp_path.iterdir()) == []


# TCP


@contextlib.contextmanager
def busy_port() -> Iterator[int]:
    """A port that is in use, with the next one free."""
    with contextlib.ExitStack() as stack:
        while True:
            sock = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            port: int = sock.getsockname()[1]
            with contextlib.suppress(OSError, OverflowError), socket.socket() as following:
                following.bind(("127.0.0.1", port + 1))
                break
        yield port


def test_tcp_listens_on_the_loopback_interface_only() -> None:
    with listening(force_tcp=True) as listener:
        assert listener.address.network == "tcp"
        host, port = listener.address.host_and_port()
        assert listener.sock.getsockname() == (host, port) == ("127.0.0.1", port)
        connect(listener.address)


def test_a_busy_port_is_skipped_and_the_range_kept_to() -> None:
    with busy_port() as port, listening(force_tcp=True, ports=(port, port + 1)) as listener:
        assert listener.address == Address("tcp", f"127.0.0.1:{port + 1}")


def test_a_range_without_a_free_port_is_named() -> None:
    with (
        busy_port() as port,
        listening(force_tcp=True, ports=(port + 1, port + 1)),
        pytest.raises(OSError, match=f"from {port} to {port + 1}"),
        listening(force_tcp=True, ports=(port, port + 1)),
    ):
        pass


def test_closing_frees_the_port() -> None:
    with listening(force_tcp=True) as listener:
        _, port = listener.address.host_and_port()
    with listening(force_tcp=True, ports=(port, port)) as again:
        assert again.address == listener.address


# The host's folder for a plugin's sockets


def test_a_socket_folder_is_the_owners_only(temporary_folder: Path) -> None:
    folder = Path(make_socket_folder())
    try:
        assert folder.parent == temporary_folder
        assert mode(folder) == 0o700
    finally:
        folder.rmdir()


def test_a_socket_folder_is_short_enough_for_its_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = folder_of_length(tmp_path, 150)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = Path(make_socket_folder())
    try:
        assert list(long.iterdir()) == []
        assert mode(folder) == 0o700
        with listening(socket_dir=folder) as listener:
            assert Path(listener.address.address).parent == folder
    finally:
        folder.rmdir()
