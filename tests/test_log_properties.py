"""Random log streams: what the oracle says of them is what ours does, however they are written."""

from __future__ import annotations

import json
import logging

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyplugin.logging_bridge import emit
from tests.golden import ours
from tests.reference import hclog as reference
from tests.reference.hclog import Record, comparable

# Lines of hclog's JSON, whole and broken

ESCAPES = [r"\n", r"\"", r"\\", r"\/", r"\u0041", r"\u00e9", r"\u0000", r"\u0130"]
SURROGATES = [r"\ud83d\ude00", r"\ud83d", r"\ude00", r"\uD83D\uDE00", r"\ud83d\ud83d\ude00"]
NO_ESCAPES = [r"\x41", r"\u12g4", r"\u12", "\\", r"\ud83d\u00zz"]
CONTROLS = ["\0", "\x01", "\t", "\x1f", "\r"]
NO_UTF8 = [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf", b"\xf4\x90\x80\x80"]
NUMBERS = "0 -0 -0.0 1e3 1E-7 1e+2 1e-400 5e-324 1.7976931348623158e308 9007199254740993"
NO_NUMBERS = "1e999 -1e999 2e308 01 +1 .5 1. - 1e 1e+ 0x10 NaN Infinity -Infinity"
NO_WORDS = ["True", "nul", "undefined", "'a'", ""]
SPACES = ["", "", " ", "\t", "\r", "  "]
NO_SPACES = ["\f", "\v", "\xa0", "\0", "\ufeff"]


def join(pieces: list[bytes]) -> bytes:
    return b"".join(pieces)


def texts(*choices: list[str]) -> st.SearchStrategy[bytes]:
    return st.sampled_from([text.encode() for choice in choices for text in choice])


def spaced(item: st.SearchStrategy[bytes], spaces: list[str]) -> st.SearchStrategy[bytes]:
    return st.tuples(texts(spaces), item, texts(spaces)).map(b"".join)


def quoted(pieces: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(pieces, max_size=4).map(lambda inner: b'"' + join(inner) + b'"')


def array(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(values, max_size=3).map(lambda items: b"[" + b",".join(items) + b"]")


def json_object(members: st.SearchStrategy[list[tuple[bytes, bytes]]]) -> st.SearchStrategy[bytes]:
    return members.map(lambda pairs: b"{" + b",".join(map(b":".join, pairs)) + b"}")


def nested(
    leaf: st.SearchStrategy[bytes], name: st.SearchStrategy[bytes], spaces: list[str]
) -> st.SearchStrategy[bytes]:
    def inside(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
        values = spaced(values, spaces)
        members = st.lists(st.tuples(spaced(name, spaces), values), max_size=3)
        return array(values) | json_object(members)

    return st.recursive(leaf, inside, max_leaves=6)


plain_text = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=["Cc"]), max_size=5
).map(str.encode)
string = quoted(
    st.one_of(plain_text, plain_text, texts(ESCAPES, SURROGATES), st.sampled_from(NO_UTF8))
)
no_string = quoted(plain_text | texts(ESCAPES, NO_ESCAPES, CONTROLS))
number = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from([*NUMBERS.split(), "1" + "0" * 308, "0." + "1" * 400]),
).map(str.encode)
no_number = texts([*NO_NUMBERS.split(), "1" + "0" * 309, "9" * 309])
scalar = st.one_of(string, number, texts(["true", "false", "null"]))
value = nested(scalar, string, SPACES)
no_value = nested(
    st.one_of(scalar, no_string, no_number, texts(NO_WORDS)), string | no_string, SPACES + NO_SPACES
)

LEVEL_NAMES = [*reference.LEVELS, "WARN", " Error\t", "\u00a0info", "\u0130nfo"]
NO_LEVELS = ["", "off", "all", "warning", "fatal", "tracer", "\x1cinfo", "\u212a"]
TIMES = [
    "2026-11-23T09:26:30.123456Z",
    "2026-11-23T9:26:30,123456+02:00",
    "2024-02-29T23:59:59.000000-24:60",
    "2026-11-23T09:26:30.+12345Z",
    "2026-11-23T09:26:30.-00000Z",
]
NO_TIMES = ["2026-11-23T09:26:30.123Z", "2026-02-29T00:00:00.000000Z", "now", "2026-11-23"]
# One text, with and without escapes.
encoders = st.sampled_from(
    [
        lambda text: json.dumps(text).encode(),
        lambda text: json.dumps(text, ensure_ascii=False).encode(),
        lambda text: ('"' + "".join(f"\\u{ord(unit):04x}" for unit in text) + '"').encode(),
    ]
)


def encoded(*choices: list[str]) -> st.SearchStrategy[bytes]:
    texts = st.sampled_from([text for choice in choices for text in choice])
    return st.builds(lambda encode, text: encode(text), encoders, texts)


level_member = st.tuples(encoded(["@level"]), encoded(LEVEL_NAMES))
member = st.one_of(
    level_member,
    st.tuples(encoded(["@message"]), string),
    st.tuples(encoded(["@timestamp"]), encoded(TIMES)),
    st.tuples(encoded(["@module"]), string | value),
    st.tuples(string | encoded(["timestamp", "@caller", "a", "a"]), value),
)
no_member = st.one_of(
    st.tuples(encoded(["@level"]), encoded(NO_LEVELS) | value),
    st.tuples(encoded(["@message"]), value),
    st.tuples(encoded(["@timestamp"]), encoded(NO_TIMES) | value),
    st.tuples(string | no_string, no_value),
)
entry = json_object(
    st.builds(
        lambda level, members: [level, *members],
        st.tuples(st.just(b'"@level"'), encoded(LEVEL_NAMES)) | level_member,
        st.lists(member, max_size=5),
    )
)
no_entry = json_object(st.lists(member | no_member, max_size=5))
cut = st.integers(0, 100)
damaged = st.builds(
    lambda line, start, end, new: line[:start] + new + line[end:],
    entry,
    cut,
    cut,
    texts(["", "{", "}", "]", ",", ":", '"', "\\", "x", " "]),
)
json_line = st.one_of(
    entry,
    entry,
    spaced(entry, SPACES),
    spaced(entry, SPACES + NO_SPACES),
    no_entry,
    damaged,
    spaced(value, SPACES),
)

# Other lines

LEVEL_TAGS = ["[TRACE]", "[DEBUG]", "[INFO]", "[WARN]", "[ERROR]"]
NO_TAGS = ["[info]", "[WARNING]", "[FATAL]", "[INFO ]", "[]", "[", "INFO"]
tag = texts(LEVEL_TAGS, LEVEL_TAGS, NO_TAGS)
time_token = texts(["2026-11-23T09:26:30.123Z", "2026/11/23", "1", "9:26", "T09", "", "1[INFO]"])
module_token = texts(["mod:", "kv.store:", "a/b-c_d.1:", "mod", ":", "a b:", "mod::", "é:", ""])
blank = st.sampled_from([b" ", b" ", b"  ", b"\t", b"", b"\f", b"\v", b" \r ", "\u00a0".encode()])
some_text = st.lists(
    plain_text | st.sampled_from([*NO_UTF8, b"\r", b"key=value", b": ", b"[INFO]"]),
    max_size=3,
).map(join)
pretty_line = st.tuples(time_token, blank, tag, blank, module_token, blank, some_text).map(b"".join)
tagged_line = st.tuples(tag, blank, module_token, blank, some_text).map(b"".join)
python_line = texts(
    [
        "Traceback (most recent call last):",
        "Traceback (most recent call last): more",
        " Traceback (most recent call last):",
        '  File "x.py", line 1, in <module>',
        "    raise ValueError",
        "\tindented by a tab",
        "ValueError: x",
        "  + Exception Group Traceback (most recent call last):",
        "  | ExceptionGroup: eg (1 sub-exception)",
        *map(bytes.decode, reference.CHAINS),
        reference.CHAINS[0].decode() + " ",
    ]
)
panic_line = texts(["panic: boom", "fatal error: x", "panic:boom", " panic: x", "goroutine 1 [r]:"])
# As long as the buffers below, or twice that, give or take a byte or two.
long_line = st.builds(
    lambda start, filler, buffers, difference: (start + filler * 1000)[: buffers + difference],
    st.sampled_from([b"", b"[ERROR] ", b"panic: ", b" ", b"\xc3", b'{"@level":"info"} ']),
    st.sampled_from([b"a", b"\r", "é".encode(), b" "]),
    st.sampled_from([16, 17, 32, 34, 64, 128]),
    st.integers(-2, 2),
)
line = st.one_of(
    json_line, json_line, pretty_line, tagged_line, python_line, python_line, panic_line, some_text
)
line_end = st.sampled_from([b"\n"] * 6 + [b"\r\n", b"\r\n", b"\n\n", b"\r\r\n", b"\r", b""])
stream = st.lists(
    st.tuples(st.one_of(line, line, line, long_line), line_end).map(b"".join), max_size=8
).map(join)
# A line of JSON fits the larger ones.
buffer_size = st.sampled_from([1, 16, 17, 64, 1000] + [reference.BUFFER_SIZE] * 5)


def at_level(records: list[Record], level: str) -> list[Record]:
    """Those that a logger of this level gets: Python has no trace, and shows it with debug."""
    return [record for record in records if ours.LEVEL_NUMBERS[record.level] >= ours.LEVELS[level]]


@st.composite
def chunks(draw: st.DrawFn) -> list[bytes]:
    """A stream in pieces."""
    data = draw(stream)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


# A whole stream

TRACEBACK = b"""Traceback (most recent call last):
  File "x.py", line 1, in <module>
[INFO] between
{"@level":"info","@message":"also between"}
2026-11-23T09:26:30.123Z [WARN]  mod: and this

\tindented
{"@level":"broken"
after

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "x.py", line 2, in <module>
KeyError: 2
  indented
after
"""
GROUP_TRACEBACK = b"""  + Exception Group Traceback (most recent call last):
  |   File "x.py", line 1, in <module>
  | ExceptionGroup: eg (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------
after
  indented
"""
# Lines that look like info by their start.
SHORT_CUTS = rb"""{"@level":"info","@message":"is"}
{"@level":"info","@level":"error"}
{"@level":"info","\u0040level":"error"}
{"@level":"info"
Traceback (most recent call last):
{"@level":"info"
panic: a
{"@level":"info"
{"@level":"info"}
"""

LEVELS = [*reference.LEVELS, "off"]


@settings(max_examples=200, deadline=None)
@given(chunks(), st.sampled_from(sorted(ours.LEVELS)), buffer_size)
@example([b"1 [ERROR]\n1 [ERROR] \n[ERROR] mod:\n[ERROR] mod: \n"], "trace", 64)
@example([b'{"@level":"info","@module":"a","@module":5,"b":1}\n'], "trace", 64)
@example([b'{"@level":"info","@module":5,"@module":"a"}\n'], "trace", 64)
@example([b"panic: a\n", b'null\n{"@level":"info"\n[INFO] b\nc\n'], "trace", 64)
@example([b"[ERROR] 1234567\n[ERROR] 12345678\n"], "trace", 16)
@example([TRACEBACK], "trace", 1000)
@example([TRACEBACK], "warn", 1000)
@example([GROUP_TRACEBACK], "trace", 1000)
@example([SHORT_CUTS], "error", 1000)
async def test_a_logger_gets_what_the_oracle_says(
    pieces: list[bytes], level: str, size: int
) -> None:
    data = join(pieces)
    logged = await ours.to_logger(pieces, level, size)
    said = at_level(reference.read(data, size), level)
    assert comparable(logged.records) == comparable(said)
    assert logged.stderr == reference.raw_copy(data, size)


@settings(max_examples=100, deadline=None)
@given(chunks(), st.sampled_from(LEVELS), buffer_size)
async def test_a_sink_gets_what_the_oracle_says(pieces: list[bytes], level: str, size: int) -> None:
    data = join(pieces)
    logged = await ours.to_sink(pieces, level, size)
    lines = [line.text for line in reference.split(data, size) if line.text]
    said = [
        (line, *entry)
        for line, entry in zip(lines, comparable(reference.read(data, size)), strict=True)
        if LEVELS.index(str(entry[0])) >= LEVELS.index(level)
    ]
    got = zip(logged.lines, comparable(logged.records), strict=True)
    assert [(line, *entry) for line, entry in got] == said


# A line by itself


@settings(max_examples=1000, deadline=None)
@given(st.one_of(line, long_line), st.sampled_from(["", "\n", "\r\n"]))
def test_emit_reads_a_line_as_the_oracle_does(data: bytes, line_end: str) -> None:
    text = data.decode("utf-8", "replace").rstrip("\r")
    logger, handler = logging.Logger("plugin", logging.DEBUG), ours.Records()
    logger.addHandler(handler)
    emit(logger, text + line_end)
    assert comparable(handler.records) == comparable(
        [reference.Reader().read(text.encode())] if text else []
    )
