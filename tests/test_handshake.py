from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyplugin.errors import CoreProtocolMismatch, HandshakeError
from pyplugin.handshake import (
    HandshakeConfig,
    HandshakeLine,
    format_line,
    negotiate_version,
    parse_bool,
    parse_line,
)
from tests.reference import handshake as reference

CERT = base64.b64encode(bytes(range(61))).decode().rstrip("=")

# Reading


def test_six_parts() -> None:
    assert parse_line(f"1|3|unix|/tmp/plugin1|grpc|{CERT}\n") == HandshakeLine(
        core_protocol_version=1,
        app_protocol_version=3,
        network="unix",
        address="/tmp/plugin1",
        protocol="grpc",
        server_cert=CERT,
        multiplex_supported=False,
    )


def test_four_parts_are_a_net_rpc_plugin() -> None:
    line = parse_line("1|2|tcp|127.0.0.1:1234")
    assert (line.protocol, line.address) == ("netrpc", "127.0.0.1:1234")
    assert (line.server_cert, line.multiplex_supported) == ("", False)


def test_five_parts_name_the_protocol() -> None:
    assert parse_line("1|2|tcp|127.0.0.1:1234|grpc").protocol == "grpc"


@pytest.mark.parametrize(
    ("part", "expected"),
    [("true", True), ("1", True), ("false", False), ("", False), ("yes", False), ("true|x", True)],
)
def test_seven_parts_say_whether_the_plugin_multiplexes(part: str, expected: bool) -> None:
    assert parse_line(f"1|1|unix|/s|grpc||{part}").multiplex_supported is expected


@pytest.mark.parametrize("cert", ["A" * 50, "é" * 25])
def test_what_old_plugins_write_in_part_six_is_no_certificate(cert: str) -> None:
    assert parse_line(f"1|1|unix|/s|grpc|{cert}").server_cert == ""


@pytest.mark.parametrize("cert", ["A" * 51, "é" * 26])
def test_part_six_is_a_certificate_above_fifty_bytes(cert: str) -> None:
    assert parse_line(f"1|1|unix|/s|grpc|{cert}").server_cert == cert


@pytest.mark.parametrize("space", [" ", "\t", "\v", "\f", "\r\n", "\u0085", "\u00a0", "\u2003"])
@pytest.mark.parametrize("path", ["/s", os.fsdecode(b"/\xff")], ids=["utf8", "not-utf8"])
def test_unicode_white_space_around_the_line_is_ignored(space: str, path: str) -> None:
    assert parse_line(f"{space}1|2|unix|{path}{space}") == parse_line(f"1|2|unix|{path}")


def test_white_space_inside_a_path_is_kept() -> None:
    assert parse_line("1|1|unix| /a b |grpc|").address == " /a b "


def test_a_path_that_is_no_utf8_opens_the_file_it_names() -> None:
    line = parse_line(os.fsdecode(b"1|1|unix|/tmp/\xff\xfe|grpc|"))
    assert os.fsencode(line.address) == b"/tmp/\xff\xfe"


@pytest.mark.parametrize(("text", "version"), [("+7", 7), ("-7", -7), ("007", 7)])
def test_versions_are_read_as_go_reads_them(text: str, version: int) -> None:
    assert parse_line(f"1|{text}|unix|/s").app_protocol_version == version


BAD_INTEGERS = ["", " 1", "1_0", "0x1", "1.0", "+", "one", "٣", "9223372036854775808"]


@pytest.mark.parametrize("text", BAD_INTEGERS)
def test_an_app_version_that_is_no_integer_is_named(text: str) -> None:
    with pytest.raises(HandshakeError, match=r"part 2 .*app protocol version") as raised:
        parse_line(f"1|{text}|unix|/s")
    assert text in str(raised.value)
    assert type(raised.value) is HandshakeError


def test_a_core_version_that_is_no_integer_is_named() -> None:
    with pytest.raises(HandshakeError, match=r"part 1 .*core protocol version.*one") as raised:
        parse_line("one|1|unix|/s")
    assert type(raised.value) is HandshakeError


@pytest.mark.parametrize("core", ["0", "2", "-1"])
def test_another_core_version_is_named(core: str) -> None:
    with pytest.raises(CoreProtocolMismatch, match=f"part 1 .*version {core}\\b"):
        parse_line(f"{core}|not read any more|unix|/s")


@pytest.mark.parametrize(("line", "count"), [("", 1), ("hello\n", 1), ("a|b", 2), ("1|1|unix", 3)])
def test_too_few_parts_are_counted_and_quoted(line: str, count: int) -> None:
    with pytest.raises(HandshakeError, match=f"at least 4 parts.*got {count} ") as raised:
        parse_line(line)
    assert f'"{line.strip()}"' in str(raised.value)


def test_an_error_quotes_only_the_start_of_a_long_line() -> None:
    with pytest.raises(HandshakeError, match="xxx") as raised:
        parse_line("x" * 100_000)
    assert len(str(raised.value)) < 500


# Against the oracle


def outcome(line: str) -> HandshakeLine | type[Exception]:
    try:
        return parse_line(line)
    except HandshakeError as error:
        return type(error)


numbers = st.sampled_from(["1", "1", "1", "2", "+1", "-7", "007", "", "x", "1_0", "٣", "9" * 19])
texts = st.sampled_from(["", "unix", "grpc", "/s", "/a b", "é", "\udcff", "A" * 50, "é" * 26, "\0"])
flags = st.sampled_from([*reference.TRUE, *reference.FALSE, "", "yes", "tRUE", " true"])
spaces = st.text(st.sampled_from([*reference.WHITE_SPACE, "\x1c", "\ufeff"]), max_size=2)
likely_lines = st.builds(
    lambda before, parts, after: before + "|".join(parts) + after,
    spaces,
    st.one_of(
        st.lists(numbers | texts, max_size=8),
        st.tuples(numbers, numbers, texts, texts),
        st.tuples(numbers, numbers, texts, texts, texts),
        st.tuples(numbers, numbers, texts, texts, texts, texts),
        st.tuples(numbers, numbers, texts, texts, texts, texts, flags),
        st.tuples(numbers, numbers, texts, texts, texts, texts, flags, texts),
    ),
    spaces,
)
any_bytes = st.binary().map(lambda data: data.decode("utf-8", "surrogateescape"))


@settings(max_examples=1000, deadline=None)
@given(likely_lines)
def test_likely_lines_are_read_as_the_oracle_reads_them(line: str) -> None:
    assert outcome(line) == reference.read(line)


@settings(max_examples=300, deadline=None)
@given(st.text() | any_bytes)
def test_any_text_is_read_as_the_oracle_reads_it(text: str) -> None:
    assert outcome(text) == reference.read(text)
    assert outcome(f"1|1|{text}|{text}") == reference.read(f"1|1|{text}|{text}")


# Writing


def test_part_six_is_always_written_and_part_seven_only_when_asked_for() -> None:
    line = {"app_protocol_version": 4, "network": "unix", "address": "/s"}
    assert format_line(**line) == "1|4|unix|/s|grpc|"  # type: ignore[arg-type]
    assert format_line(**line, multiplex_supported=True) == "1|4|unix|/s|grpc||true"  # type: ignore[arg-type]
    assert format_line(**line, multiplex_supported=False) == "1|4|unix|/s|grpc||false"  # type: ignore[arg-type]


part = st.text(st.characters(codec="utf-8", exclude_characters="|\r\n"))
path = (part | any_bytes).filter(lambda text: not set(text) & set("|\r\n"))


@settings(deadline=None)
@given(
    version=st.integers(-(2**63), 2**63 - 1),
    network=part,
    address=path,
    protocol=part,
    cert=st.just("") | st.binary(min_size=40).map(lambda data: base64.b64encode(data).decode()),
    multiplex=st.none() | st.booleans(),
)
def test_what_is_written_is_read_back(
    version: int, network: str, address: str, protocol: str, cert: str, multiplex: bool | None
) -> None:
    line = format_line(
        app_protocol_version=version,
        network=network,
        address=address,
        protocol=protocol,
        server_cert=cert,
        multiplex_supported=multiplex,
    )
    assert parse_line(line + "\n") == HandshakeLine(
        1, version, network, address, protocol, cert, multiplex is True
    )


@pytest.mark.parametrize("character", ["|", "\n", "\r"])
@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("network", "part 3 .*network"),
        ("address", "part 4 .*address"),
        ("protocol", "part 5 .*protocol"),
        ("server_cert", "part 6 .*certificate"),
    ],
)
def test_a_part_that_would_break_the_line_is_refused_by_name(
    character: str, field: str, name: str
) -> None:
    line = {"app_protocol_version": 1, "network": "unix", "address": "/s", field: f"a{character}b"}
    with pytest.raises(ValueError, match=name):
        format_line(**line)  # type: ignore[arg-type]


# Choosing


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ([1], [1], 1),
        ([1, 3, 5], [2, 3, 1], 3),
        ([5, 1, 3], [3, 5], 5),
        ([3, 2], [7, 8], 2),
        ([3, 2], [], 2),
    ],
)
def test_the_highest_common_version_is_served_else_the_lowest(
    ours: list[int], theirs: list[int], chosen: int
) -> None:
    assert negotiate_version(ours, theirs) == chosen
    assert negotiate_version(dict.fromkeys(ours), iter(theirs)) == chosen


@given(st.sets(st.integers(0, 9), min_size=1), st.lists(st.integers(0, 9)))
def test_versions_are_walked_down_as_go_walks_them(ours: set[int], theirs: list[int]) -> None:
    chosen = -1
    for chosen in sorted(ours, reverse=True):
        if chosen in theirs:
            break
    assert negotiate_version(ours, theirs) == chosen


@pytest.mark.parametrize("text", reference.TRUE)
def test_go_reads_these_as_true(text: str) -> None:
    assert parse_bool(text) is True


@pytest.mark.parametrize("text", reference.FALSE)
def test_go_reads_these_as_false(text: str) -> None:
    assert parse_bool(text) is False


@pytest.mark.parametrize("text", ["", "yes", "no", "tRUE", " true", "2", "on"])
def test_go_reads_these_as_no_boolean(text: str) -> None:
    assert parse_bool(text) is None


def test_a_handshake_config_is_positional() -> None:
    config = HandshakeConfig(1, "KEY", "value")
    assert (config.protocol_version, config.magic_cookie_key, config.magic_cookie_value) == (
        1,
        "KEY",
        "value",
    )
