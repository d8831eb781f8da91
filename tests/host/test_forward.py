"""Forwarded lines: what is written for each."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import LogForward
from tests.fixtures.logs import entry, new_logger, pipe
from tests.golden import corpus, ours

if TYPE_CHECKING:
    from typing import Literal

    from tests.golden.corpus import Case
    from tests.reference.hclog import Record

    Format = Literal["hclog", "logfmt", "verbatim"]

NAME = "the plugin"
CASES = corpus.load()


async def forwarded(
    stream: bytes, form: Format, *, name: str = NAME, **settings: Any
) -> list[bytes]:
    """The lines that are written for a stream."""
    with tempfile.TemporaryFile() as file:
        async with pipe(name=name, forward=LogForward(file.fileno(), form), **settings) as stderr:
            await stderr.write(stream)
        file.seek(0)
        *lines, rest = file.read().split(b"\n")
    assert rest == b""
    return lines


async def one(stream: bytes, form: Format, **settings: Any) -> str:
    (line,) = await forwarded(stream, form, **settings)
    return line.decode()


async def member_by_member(stream: bytes, **settings: Any) -> list[tuple[str, Any]]:
    """The one JSON object, in order, with all that it has twice."""
    pairs: list[tuple[str, Any]] = json.loads(
        await one(stream, "hclog", **settings), object_pairs_hook=list
    )
    return pairs


# hclog's JSON


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"@level":"info","@message":"m","a":1}',
            '{"@level":"info","@message":"m","a":1,"plugin":"the plugin"}',
        ),
        # As it was written: numbers, escapes, order, what is there twice.
        (
            r'{"z":1E+2,"z":-0,"@level":"Warn","a":"\u00fc\/\ud800","n":123456789012345678901234}',
            r'{"z":1E+2,"z":-0,"@level":"Warn","a":"\u00fc\/\ud800","n":123456789012345678901234,'
            '"plugin":"the plugin"}',
        ),
        ('  {"@level":"info"}\t', '{"@level":"info","plugin":"the plugin"}'),
        # One of its own is replaced, however it is spelt.
        (
            '{"plugin":"own","@level":"info","a":{"plugin":[1,{"plugin":2}]},"plugin":{"b":[]}}',
            '{"@level":"info","a":{"plugin":[1,{"plugin":2}]},"plugin":"the plugin"}',
        ),
        (
            r'{"@level":"info","pl\u0075gin":[true,false,null,1.50],"b":[true,{},{"c":"\n\u001f"}]}',
            r'{"@level":"info","b":[true,{},{"c":"\n\u001f"}],"plugin":"the plugin"}',
        ),
        (
            r'{"@level":"info","@message":"not \"plugin\""}',
            r'{"@level":"info","@message":"not \"plugin\"","plugin":"the plugin"}',
        ),
    ],
)
async def test_an_entry_gets_the_name_of_its_plugin(line: str, expected: str) -> None:
    assert await one(line.encode() + b"\n", "hclog") == expected


async def test_a_name_is_written_as_json_has_it() -> None:
    name = 'a "b"\\\n\t\x01\u00fc\U0001f600'
    assert await member_by_member(entry("m"), name=name) == [
        ("@level", "info"),
        ("@message", "m"),
        ("plugin", name),
    ]


@pytest.mark.parametrize(
    ("line", "members"),
    [
        (b"plain", {"@level": "info", "@message": "plain"}),
        (b'a "b" \\ \t \x01\x7f', {"@level": "info", "@message": 'a "b" \\ \t \x01\x7f'}),
        (b"\xff\xfe\xc3", {"@level": "info", "@message": "\ufffd\ufffd\ufffd"}),
        (b"[WARN] no module", {"@level": "warn", "@message": "[WARN] no module"}),
        (
            b"2024-01-02T15:04:05Z [DEBUG] a.b: text",
            {"@level": "debug", "@message": "text", "@module": "a.b"},
        ),
        (b'{"@level":"info"', {"@level": "info", "@message": '{"@level":"info"'}),
        (b'{"a":1}', {"@level": "info", "@message": '{"a":1}'}),
    ],
)
async def test_a_line_without_structure_becomes_an_entry(
    line: bytes, members: dict[str, str]
) -> None:
    before = datetime.now(timezone.utc)
    found = dict(await member_by_member(line + b"\n"))
    text = found.pop("@timestamp")
    assert found == {**members, "plugin": NAME}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    written = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert before - timedelta(microseconds=1) <= written <= datetime.now(timezone.utc)


TRACEBACK = b"""\
Traceback (most recent call last):
  File "a.py", line 1, in <module>
ValueError: of the plugin
"""


@pytest.mark.parametrize("stream", [TRACEBACK, b"panic: of the plugin\n\ngoroutine 1 [running]:\n"])
async def test_tracebacks_and_panics_are_errors(stream: bytes) -> None:
    lines = await forwarded(stream + b'{"@level":"info","@message":"later"}\n', "hclog")
    entries = [json.loads(line) for line in lines]
    texts = [text.decode() for text in stream.splitlines() if text]
    assert [entry["@message"] for entry in entries] == [*texts, "later"]
    assert {entry["@level"] for entry in entries[:-1]} == {"error"}
    assert entries[-1]["@level"] == "info"


@pytest.mark.parametrize("form", ["hclog", "logfmt", "verbatim"])
async def test_a_line_beyond_the_buffer_comes_in_pieces(form: Format) -> None:
    text = b"0123456789" * 20_000
    lines = await forwarded(text + b"\nnext\n", form)
    if form == "hclog":
        lines = [json.loads(line)["@message"].encode() for line in lines]
    elif form == "logfmt":
        lines = [dict(logfmt(line.decode()))["msg"].encode() for line in lines]
    assert [len(line) for line in lines] == [65536, 65536, 65536, 200_000 - 3 * 65536, 4]
    assert b"".join(lines) == text + b"next"


async def test_a_long_entry_within_the_buffer_is_one() -> None:
    line = entry("m", text="x" * 300_000)
    (written,) = await forwarded(line, "hclog", buffer_size=400_000)
    assert json.loads(written) == {**json.loads(line), "plugin": NAME}


# logfmt


def logfmt(line: str) -> list[tuple[str, str]]:
    """The pairs of a line, which must be nothing else."""
    pair = r'([^\s="]+)=([^\s="\\]+|"(?:[^"\\\x00-\x1f]|\\.)*")'
    assert re.fullmatch(f"{pair}( {pair})*", line), line
    return [
        (key, json.loads(value) if value.startswith('"') else value)
        for key, value in re.findall(pair, line)
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            '{"@level":"info","@message":"m","@module":"a.b","@timestamp":'
            '"2024-01-02T15:04:05.000000Z","n":1,"x":1.50,"yes":true,"no":null}',
            'time=2024-01-02T15:04:05.000000Z level=info module=a.b plugin="the plugin" msg=m '
            "n=1 x=1.50 yes=true no=null",
        ),
        (
            '{"@level":"WARN","@message":"two words","@timestamp":"2024-01-02T15:04:05.000000Z",'
            r'"text":"a \"b\" \\ \n","eq":"a=b","empty":"","u":"\u00fc","c":"\u0001\u007f",'
            r'"list":[1,"a b",{}],"nested":{"x":{"y":null}},"bare":[1,2],"none":[]}',
            "time=2024-01-02T15:04:05.000000Z level=warn"
            ' plugin="the plugin" msg="two words" text="a \\"b\\" \\\\ \\n" eq="a=b" empty="" '
            'u=\u00fc c="\\u0001\x7f" list="[1,\\"a b\\",{}]" nested="{\\"x\\":{\\"y\\":null}}" '
            "bare=[1,2] none=[]",
        ),
        (
            r'{"@level":"info","@timestamp":"2024-01-02T15:04:05.000000Z","a b":1,"":2,"c=\"d":3,'
            r'"\u00fc":4,"@module":5}',
            'time=2024-01-02T15:04:05.000000Z level=info plugin="the plugin" msg="" a_b=1 _=2 '
            "c__d=3 \u00fc=4 @module=5",
        ),
    ],
)
async def test_an_entry_as_logfmt(line: str, expected: str) -> None:
    written = await one(line.encode() + b"\n", "logfmt")
    assert written == expected
    assert logfmt(written)


async def test_logfmt_has_one_plugin() -> None:
    """That which the host knows, as with JSON."""
    line = entry("m", plugin="own", other={"plugin": 1})
    pairs = logfmt(await one(line, "logfmt"))[1:]
    assert pairs == [("level", "info"), ("plugin", NAME), ("msg", "m"), ("other", '{"plugin":1}')]


async def test_a_line_without_structure_as_logfmt() -> None:
    lines = await forwarded(b"plain text\n2024-01-02T15:04:05Z [ERROR] a.b: x=\xff\n", "logfmt")
    plain, pretty = (logfmt(line.decode()) for line in lines)
    assert plain[1:] == [("level", "info"), ("plugin", NAME), ("msg", "plain text")]
    assert pretty[1:] == [
        ("level", "error"),
        ("module", "a.b"),
        ("plugin", NAME),
        ("msg", "x=\ufffd"),
    ]
    for pairs in (plain, pretty):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", dict(pairs)["time"])


# Verbatim, levels


async def test_verbatim_lines_are_as_they_came() -> None:
    stream = b'  plain\xff \r\n\n\r\n{"plugin":1}\n[WARN] x\n2024 [INFO] a: b\nno end'
    assert await forwarded(stream, "verbatim") == [
        b"  plain\xff ",
        b'{"plugin":1}',
        b"[WARN] x",
        b"2024 [INFO] a: b",
        b"no end",
    ]


@pytest.mark.parametrize(
    ("level", "count"), [("trace", 5), ("debug", 4), ("info", 3), ("warn", 2), ("error", 1)]
)
async def test_lines_below_the_level_are_left_out(level: str, count: int) -> None:
    levels = ["trace", "debug", "info", "warn", "error"]
    stream = b"".join(entry(level=level) for level in levels)
    lines = await forwarded(stream, "hclog", level=level)
    assert [json.loads(line)["@level"] for line in lines] == levels[-count:]
    assert await forwarded(stream, "verbatim", level="off") == []


async def test_the_level_of_a_logger_is_followed() -> None:
    logger = new_logger(level=30)
    with tempfile.TemporaryFile() as file:
        async with pipe(logger, forward=LogForward(file.fileno(), "verbatim")) as stderr:
            await stderr.write(b"info\n[ERROR] one\n")
        logger.setLevel(10)
        async with pipe(logger, forward=LogForward(file.fileno(), "verbatim")) as stderr:
            await stderr.write(b"info\n")
        file.seek(0)
        assert file.read() == b"[ERROR] one\ninfo\n"


# All that was seen elsewhere


@pytest.mark.parametrize("form", ["hclog", "logfmt"])
async def test_each_line_that_go_plugin_was_tried_with_is_written_whole(form: Format) -> None:
    for case in CASES:
        logged = await ours.to_sink([case.stream], "trace", case.buffer_size)
        lines = await forwarded(case.stream, form, buffer_size=case.buffer_size)
        assert len(lines) == len(logged.records), case.name
        for line, record in zip(lines, logged.records, strict=True):
            if form == "hclog" and line.count(b"[") + line.count(b"{") > 500:
                # Nested deeper than Python's own parser follows.
                assert line.endswith(b',"plugin":"the plugin"}')
                continue
            check(line.decode(), record, form, case)


def check(line: str, record: Record, form: Format, case: Case) -> None:
    if form == "hclog":
        found = json.loads(line)
        assert isinstance(found, dict), case.name
        level, message, module = "@level", "@message", "@module"
    else:
        pairs = logfmt(line)
        found = dict(reversed(pairs))
        level, message, module = "level", "msg", "module"
        assert pairs[0][0] == "time"
    assert found["plugin"] == NAME, case.name
    # Go makes an i of the capital I with a dot above, Python two characters.
    assert found[level].strip().replace("\u0130", "i").lower() == record.level, case.name
    # Half a pair of surrogates is still one where an entry is written as it came.
    text = found.get(message, "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert text == record.message, case.name
    if record.module:
        assert found[module] == record.module, case.name
