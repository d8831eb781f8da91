"""Each variable that a plugin reads, with values that no host sets."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest

from pyplugin import mtls
from tests.fixtures import HANDSHAKE
from tests.fixtures.variables import outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.fixtures.variables import Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="forks, and any bytes in variables")

COOKIE = {HANDSHAKE.magic_cookie_key: HANDSHAKE.magic_cookie_value}
JUNK = "\udcff\udcfe\udc80\x01"
HUGE = "x" * 100_000
DIGITS = "9" * 5000
# What a process says about all that is wrong, in bytes.
MOST_BYTES = 4096


def with_each(name: str, values: Sequence[str], **others: str) -> dict[str, Outcome]:
    """What a plugin does with each of these values of a variable."""
    found = outcomes([{**COOKIE, **others, name: value} for value in values])
    return dict(zip(values, found, strict=True))


def entries(found: Outcome) -> list[dict[str, str]]:
    """What it logged. All of its stderr is that, and not much."""
    assert len(found.stderr) < MOST_BYTES
    assert b"Traceback" not in found.stderr
    return [json.loads(line) for line in found.stderr.splitlines()]


def check(
    name: str, serves: Sequence[str], refuses: Mapping[str, str], **others: str
) -> dict[str, Outcome]:
    """Some values are served with, the others are refused in these words, by name or by value."""
    found = with_each(name, [*serves, *refuses], **others)
    for value in serves:
        one = found[value]
        assert one.serves, (value[:40], one)
        assert one.status == 0, (value[:40], one)
        assert {entry["@level"] for entry in entries(one)} <= {"warn"}, (value[:40], one)
    for value, words in refuses.items():
        one = found[value]
        assert (one.status, one.line) == (1, b""), (value[:40], one)
        (entry,) = entries(one)
        assert entry["@level"] == "error"
        assert words in entry["@message"], (value[:40], entry)
    return found


def test_protocol_versions() -> None:
    """As in Go, what is no integer counts for nothing, and is warned of; here in one line."""
    odd = ["9" * 100, "٣", "1.0", " 1", "0x1", "1;2", "\n", JUNK, "x," * 50_000, "--1", HUGE]
    even = ["", ",,", "+1", "-1", "1,1", "001", "9" * 19, "1," * 50_000]
    found = check("PLUGIN_PROTOCOL_VERSIONS", [*odd, *even], {})
    for value, one in found.items():
        assert one.line.startswith(b"1|1|unix|")
        assert len(entries(one)) == (value in odd), value[:40]


def test_ports() -> None:
    words = "PLUGIN_MIN_PORT must be a port number from 0 to 65535, not "
    bad = ["-1", "+1", "65536", "1.5", " 1", "٣", "1_0", "1e3", "\n", DIGITS, JUNK, HUGE]
    good = ["", "0", "00", "0" * 5000]
    check("PLUGIN_MIN_PORT", good, dict.fromkeys(bad, words))
    check(
        "PLUGIN_MAX_PORT",
        ["65535", "0065535"],
        {"": "PLUGIN_MIN_PORT=20000 is above", "19999": "above", DIGITS: "PLUGIN_MAX_PORT must"},
        PLUGIN_MIN_PORT="20000",
        KV_TCP="1",
    )


def test_a_folder_for_sockets(tmp_path: Path) -> None:
    file, link, loop, names = (tmp_path / name for name in ("file", "link", "loop", "a\nb"))
    file.touch()
    link.symlink_to(tmp_path, target_is_directory=True)
    loop.symlink_to(loop)
    names.mkdir()
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")
    os.mkdir(odd)
    found = check(
        "PLUGIN_UNIX_SOCKET_DIR",
        # What is too long for a socket is not used, whether or not it exists.
        ["", str(link), odd, f"{tmp_path}/../{tmp_path.name}", f"/{HUGE}"],
        {
            "/no/such": "'/no/such': No such file",
            str(file): "Not a directory",
            f"{file}/": "Not a directory",
            str(loop): "Too many levels of symbolic links",
            str(names): "part 4 of the handshake (address) holds",
            "/dev/null": "Not a directory",
            "/proc": "'/proc'",
            JUNK: "No such file",
        },
    )
    assert os.fsencode(odd) in found[odd].line
    assert os.listdir(tmp_path) == [name for name in os.listdir(tmp_path) if "plugin" not in name]
    assert os.listdir(odd) == os.listdir(names) == []


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_not_writable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    check("PLUGIN_UNIX_SOCKET_DIR", [], {str(tmp_path): "Permission denied"})


def test_a_temporary_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    check(
        "TMPDIR",
        [f"/{HUGE}"],
        {"/no/such": "'/no/such'", str(file): "Not a directory", JUNK: "No such file"},
    )


def test_a_group() -> None:
    missing = ["-1", "+0", "no-such-group", " 0", "٣", "\n", JUNK, HUGE]
    check(
        "PLUGIN_UNIX_SOCKET_GROUP",
        ["", str(os.getgid()), f"000{os.getgid()}", "0" * 5000 + str(os.getgid())],
        {
            **dict.fromkeys(missing, "that may connect to the plugin does not exist"),
            **dict.fromkeys(["4294967295", DIGITS], "is no group number"),
        },
    )


def test_multiplexing() -> None:
    """What is no boolean of Go's means no; that it was said means that the host reads 7 parts."""
    values = ["true", "1", "tRUE", "yes", "2", " true", "٣", "\n", JUNK, HUGE, "False"]
    found = check("PLUGIN_MULTIPLEX_GRPC", ["", *values], {})
    assert not found[""].line.endswith(b"true\n")
    assert all(found[value].line.endswith(b"|grpc||true\n") for value in values)


def test_the_orphan_guard() -> None:
    check("PYPLUGIN_ORPHAN_GUARD", ["", "0", "1", "no", JUNK, HUGE], {})


def test_a_cookie() -> None:
    values = ["", "Hello", "hello\n", " hello", "hello" * 10_000, JUNK]
    for one in with_each(HANDSHAKE.magic_cookie_key, values).values():
        assert (one.status, one.line) == (1, b"")
        assert one.stderr.startswith(b"This binary is a plugin")
        assert len(one.stderr) < MOST_BYTES


def test_a_certificate() -> None:
    """Go's plugin goes on without one that it cannot read, and logs it, be it a private key."""
    host, other = mtls.generate(), mtls.generate()
    cert, key = host.cert_pem.decode(), host.key_pem.decode()
    empty = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
    bad = [
        "x",
        "\n",
        JUNK,
        HUGE,
        key,
        cert[:200],
        f"é{cert}",
        cert.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
        mtls.encode_handshake_cert(host.cert_der),
        *map(empty.format, ["", "!!!!", "AAAA", "A" * 1000]),
    ]
    found = check(
        "PLUGIN_CLIENT_CERT",
        [
            cert,
            cert.replace("\n", "\r\n"),
            f"{cert}junk",
            cert + key,
            cert + other.cert_pem.decode(),
        ],
        dict.fromkeys(bad, "the peer's certificate cannot be read"),
    )
    for one in found.values():
        assert key.splitlines()[1].encode() not in one.stderr
