"""A plugin's log stream as go-plugin's host reads it, and as ours does, slowly and in plain words.

``read_as_go`` is Go's host: client.go ``logStderr``, log_entry.go ``parseJSON``, and what they use
of ``bufio``, ``encoding/json``, ``time`` and hclog. ``read`` is ours: the same but for the
differences listed there. The oracle of tests/test_log_properties.py; tests/test_golden_logs.py
proves it against what Go did.
"""

from __future__ import annotations

import calendar
import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .handshake import WHITE_SPACE

if TYPE_CHECKING:
    from collections.abc import Iterator

LEVELS = ["trace", "debug", "info", "warn", "error"]
BUFFER_SIZE = 65536
LEAST_BUFFER_SIZE = 16


@dataclass(frozen=True)
class Record:
    """What one line, or a piece of a long one, is logged as."""

    level: str
    message: str
    module: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    timestamp: str | None = None


class GoPanicsError(Exception):
    """Go's host dies of this line."""


# Lines


@dataclass(frozen=True)
class Line:
    """What ``bufio.Reader.ReadLine`` returns."""

    text: bytes
    # Not a piece of a line that is longer than the buffer.
    is_whole: bool
    # Whether its line ends with it.
    has_end: bool


def split(stream: bytes, buffer_size: int = BUFFER_SIZE) -> list[Line]:
    """A line must fit the buffer with its LF; a longer one comes in pieces of the buffer's size."""
    size = max(buffer_size, LEAST_BUFFER_SIZE)
    lines: list[Line] = []
    at, is_continued = 0, False
    while at < len(stream):
        buffer = stream[at : at + size]
        text, line_feed, _ = buffer.partition(b"\n")
        if line_feed:
            lines.append(Line(text.removesuffix(b"\r"), not is_continued, True))
            at, is_continued = at + len(text) + 1, False
        elif len(buffer) == size:
            # A CR at the end of a full buffer may be that of a CR LF: it is looked at again.
            piece = buffer.removesuffix(b"\r")
            lines.append(Line(piece, False, False))
            at, is_continued = at + len(piece), True
        else:
            lines.append(Line(buffer, not is_continued, True))
            at = len(stream)
    return lines


def raw_copy(stream: bytes, buffer_size: int = BUFFER_SIZE) -> bytes:
    """What the writer of ``ClientConfig.Stderr`` gets, whatever the level."""
    lines = split(stream, buffer_size)
    return b"".join(line.text + (b"\n" if line.has_end else b"") for line in lines)


# JSON

DEEPEST = 10_000
NO_VALUE = ["}", "]", ":", ","]
# Surrogates in the pattern's subject are the bytes that are no UTF-8.
TOKEN = re.compile(
    r"""[{}\[\]:,]
    | true | false | null
    | -? (?: 0 | [1-9][0-9]* ) (?: \.[0-9]+ )? (?: [eE][+-]?[0-9]+ )?
    | " (?: [^"\\\x00-\x1f] | \\["\\/bfnrt] | \\u[0-9a-fA-F]{4} )* "
    """,
    re.VERBOSE,
)
ESCAPE = re.compile(
    r"""\\u (?P<high> [dD][89abAB][0-9a-fA-F]{2} ) \\u (?P<low> [dD][c-fC-F][0-9a-fA-F]{2} )
    | \\u (?P<unit> [0-9a-fA-F]{4} )
    | \\ (?P<short> . )
    """,
    re.VERBOSE,
)
SHORT = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
SURROGATE = re.compile("[\ud800-\udfff]")
Numbers = Literal["floats", "exact"]


class NotJSONError(Exception):
    """Go's ``json.Unmarshal`` returns an error."""


def read_json(line: bytes, numbers: Numbers) -> Any:
    """The value of a JSON text, as Go decodes it into an ``interface{}``.

    The last of several members of one name counts. Integers are floats, as Go's are, or exact.
    """
    values: list[Any] = []
    containers: list[dict[str, Any] | list[Any]] = []
    # One for each open object: the name of the member whose value comes next.
    names: list[str] = []
    expected = "value"
    for token in tokens(line.decode("utf-8", "surrogateescape")):
        inner = containers[-1] if containers else None
        if token[0] == '"' and expected in ("name", "name or end"):
            names.append(unquote(token))
            expected = "colon"
        elif token == ":" and expected == "colon":
            expected = "value"
        elif token == "," and expected == "comma or end" and inner is not None:
            expected = "name" if isinstance(inner, dict) else "value"
        elif token == closing(inner) and expected.endswith("or end"):
            containers.pop()
            expected = "comma or end"
        elif token not in NO_VALUE and expected in ("value", "value or end"):
            value = start_of_value(token, numbers)
            if isinstance(inner, dict):
                inner[names.pop()] = value
            else:
                (values if inner is None else inner).append(value)
            expected = "comma or end"
            if isinstance(value, dict | list):
                if len(containers) == DEEPEST:
                    raise NotJSONError("nested too deep")
                containers.append(value)
                expected = "name or end" if isinstance(value, dict) else "value or end"
        else:
            raise NotJSONError(f"{token!r} where a {expected} should be")
    if expected != "comma or end" or containers:
        raise NotJSONError("it ends early")
    return values[0]


def closing(container: dict[str, Any] | list[Any] | None) -> str | None:
    """What ends it."""
    return None if container is None else "}" if isinstance(container, dict) else "]"


def tokens(text: str) -> Iterator[str]:
    """The pieces of a JSON text; what is none is an error."""
    at = 0
    while at < len(text):
        if text[at] in " \t\r\n":
            at += 1
            continue
        token = TOKEN.match(text, at)
        if token is None:
            raise NotJSONError(f"no token at {at}")
        at = token.end()
        yield token[0]


def start_of_value(token: str, numbers: Numbers) -> Any:
    """A string, number or word, or an object or array that is still empty."""
    if token in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[token]
    if token == "{":
        return {}
    if token == "[":
        return []
    if token[0] == '"':
        return unquote(token)
    if math.isinf(float(token)):
        raise NotJSONError("a number out of range")
    is_integer = not set(token) & set(".eE")
    return int(token) if is_integer and numbers == "exact" else float(token)


def unquote(token: str) -> str:
    """What a string token says.

    U+FFFD stands for a surrogate that is not one of a pair, and for each byte that is no UTF-8.
    """

    def resolve(escape: re.Match[str]) -> str:
        if escape["high"]:
            units = bytes.fromhex(escape["high"] + escape["low"])
            return units.decode("utf-16-be")
        if escape["unit"]:
            return chr(int(escape["unit"], 16))
        return SHORT.get(escape["short"], escape["short"])

    return SURROGATE.sub("\ufffd", ESCAPE.sub(resolve, token[1:-1]))


# Times

TIMESTAMP = re.compile(
    r"""(?P<date> (?P<year>[0-9]{4}) - (?P<month>[0-9]{2}) - (?P<day>[0-9]{2}) )
    T (?P<hour>[0-9]{1,2}) : (?P<minute>[0-9]{2}) : (?P<second>[0-9]{2})
    [.,] (?P<fraction> [0-9]{6} | [+][0-9]{5} | -00000 )
    (?: Z | (?P<sign>[+-]) (?P<zone_hour>[0-9]{2}) : (?P<zone_minute>[0-9]{2}) )
    """,
    re.VERBOSE,
)
NO_TIME = "0001-01-01T00:00:00.000Z"


def go_time(text: str) -> str | None:
    """``time.Parse`` by ``2006-01-02T15:04:05.000000Z07:00``, then written as hclog writes times.

    None where Go sees no time. Beyond the layout it takes an hour of one digit, a comma, a sign in
    the place of the first digit of the fraction, and 24 hours or 60 minutes of offset.
    """
    part = TIMESTAMP.fullmatch(text)
    if part is None:
        return None
    month, hour = int(part["month"]), int(part["hour"])
    if not 1 <= month <= 12 or hour > 23 or int(part["minute"]) > 59 or int(part["second"]) > 59:
        return None
    _, last_day = calendar.monthrange(int(part["year"]), month)
    if not 1 <= int(part["day"]) <= last_day:
        return None
    zone_hour, zone_minute = int(part["zone_hour"] or 0), int(part["zone_minute"] or 0)
    if zone_hour > 24 or zone_minute > 60:
        return None
    offset = zone_hour * 60 + zone_minute
    zone = f"{part['sign']}{offset // 60:02}{offset % 60:02}" if offset else "Z"
    milliseconds = int(part["fraction"]) // 1000
    clock = f"{hour:02}:{part['minute']}:{part['second']}.{milliseconds:03}"
    return f"{part['date']}T{clock}{zone}"


# Levels and text

PREFIX = re.compile(rb"\[(TRACE|DEBUG|INFO|WARN|ERROR)\]")
PANIC = (b"panic: ", b"fatal error: ")


def known_level(name: str) -> str | None:
    """``hclog.LevelFromString``; None for what is none of a line.

    Go lower-cases the dotted capital I to one letter, Python to two.
    """
    name = name.strip(WHITE_SPACE).replace("\u0130", "i").lower()
    return name if name in LEVELS else None


def prefix_level(text: bytes) -> str | None:
    """The level that a line of text begins with."""
    prefix = PREFIX.match(text)
    return prefix[1].decode().lower() if prefix else None


# Go


def read_as_go(stream: bytes, buffer_size: int = BUFFER_SIZE, least: str = "trace") -> list[Record]:
    """What Go's host logs of a stream with a logger of level ``least`` (one of LEVELS, or off).

    Bytes of a message that are no UTF-8 are kept, as surrogates (see ``os.fsdecode``). An entry's
    ``timestamp`` is the field of this name that Go adds, also to entries without; other lines have
    None. Go knows no module: ``@module`` is a field.

    Raises:
        GoPanicsError: Go's host dies.
    """
    if least == "off":
        return []
    records: list[Record] = []
    is_after_panic = False
    for line in split(stream, buffer_size):
        text = line.text.decode("utf-8", "surrogateescape")
        if not line.is_whole:
            records.append(Record("debug", text))
        elif (entry := go_entry(line.text)) is not None:
            records.append(entry)
        elif level := prefix_level(line.text):
            records.append(Record(level, text))
        else:
            is_after_panic = is_after_panic or line.text.startswith(PANIC)
            records.append(Record("error" if is_after_panic else "debug", text))
    enabled = LEVELS[LEVELS.index(least) :]
    return [record for record in records if record.level in enabled]


def go_entry(line: bytes) -> Record | None:
    """The record of a line of JSON; None where Go goes by the rules of plain lines."""
    try:
        members = read_json(line, "floats")
    except NotJSONError:
        return None
    if members is None:
        members = {}
    if not isinstance(members, dict):
        return None
    message = go_string(members.pop("@message", ""))
    level = known_level(go_string(members.pop("@level", "")))
    time: str | None = NO_TIME
    if "@timestamp" in members:
        time = go_time(go_string(members.pop("@timestamp")))
        if time is None:
            return None
    if level is None:
        return Record("debug", line.decode("utf-8", "surrogateescape"))
    return Record(level, message, "", members, time)


def go_string(value: Any) -> str:
    """``value.(string)``"""
    if not isinstance(value, str):
        raise GoPanicsError(f"{value!r} is no string")
    return value


# Ours

# hclog writes one of these, or two, after the level; what ends a token in ASCII.
PRETTY = re.compile(
    rb"""(?P<time> [0-9][^\ \t\r\f]* [\ \t\r\f]+ )?
    \[ (?P<level> TRACE|DEBUG|INFO|WARN|ERROR ) \] [\ \t\r\f]+
    (?: (?P<module> [A-Za-z0-9_./-]+ ) : [\ \t\r\f]+ )?
    (?P<message> .* )
    """,
    re.VERBOSE | re.DOTALL,
)
TRACEBACK = b"Traceback (most recent call last):"
GROUP_TRACEBACK = b"  + Exception Group Traceback (most recent call last):"
CHAINS = [
    b"During handling of the above exception, another exception occurred:",
    b"The above exception was the direct cause of the following exception:",
]


def read(stream: bytes, buffer_size: int = BUFFER_SIZE) -> list[Record]:
    """What our host logs of a stream. It differs from Go's:

    - ``TIMESTAMP [LEVEL] module: message`` is taken apart, with a time, a module or both;
    - what Go logs at debug for want of structure is info;
    - empty lines, and an empty rest of a long one, are dropped;
    - a Python traceback is an error;
    - where Go's host dies, the line is text;
    - integers are exact, a string ``@module`` is the module and no field, no field ``timestamp`` is
      added: ``timestamp`` is what the plugin wrote;
    - each byte of a text that is no UTF-8 is U+FFFD.
    """
    reader = Reader()
    return [
        reader.read(line.text) if line.is_whole else plain("info", line.text)
        for line in split(stream, buffer_size)
        if line.text
    ]


def plain(level: str, text: bytes) -> Record:
    """A line, or a piece of one, as text."""
    return Record(level, decode(text))


def decode(text: bytes) -> str:
    """Text whose every byte that is no UTF-8 is U+FFFD."""
    return SURROGATE.sub("\ufffd", text.decode("utf-8", "surrogateescape"))


class Reader:
    """Reads whole lines, and knows what text among them is of a panic or a traceback."""

    def __init__(self) -> None:
        self.is_after_panic = False
        self.traceback: Literal["none", "ordinary", "group"] = "none"

    def read(self, line: bytes) -> Record:
        """The record of one line, which is not empty."""
        return entry(line) or tagged(line) or plain(self.plain_level(line), line)

    def plain_level(self, line: bytes) -> str:
        """The level of a line without one: that of the panic or traceback that it is part of."""
        if line.startswith(PANIC):
            self.is_after_panic = True
        if line.startswith(TRACEBACK):
            self.traceback = "ordinary"
            return "error"
        if line.startswith(GROUP_TRACEBACK):
            self.traceback = "group"
            return "error"
        before = self.traceback
        is_indented = line.startswith((b" ", b"\t"))
        if not is_indented:
            self.traceback = "none"
        # The line that ends an ordinary one is its last; that of a group is all indented.
        is_of_traceback = before == "ordinary" or (before == "group" and is_indented)
        if is_of_traceback or self.is_after_panic or line in CHAINS:
            return "error"
        return "info"


def entry(line: bytes) -> Record | None:
    """The record of a line of JSON; None where the rules of plain lines hold."""
    try:
        members = read_json(line, "exact")
    except NotJSONError:
        return None
    if members is None:
        members = {}
    if not isinstance(members, dict):
        return None
    message, name = members.pop("@message", ""), members.pop("@level", "")
    if not isinstance(message, str) or not isinstance(name, str):
        return None
    time = None
    if "@timestamp" in members:
        time = members.pop("@timestamp")
        if not isinstance(time, str) or go_time(time) is None:
            return None
    level = known_level(name)
    if level is None:
        return plain("info", line)
    module = members.pop("@module") if isinstance(members.get("@module"), str) else ""
    return Record(level, message, module, members, time)


def tagged(line: bytes) -> Record | None:
    """The record of a pretty line, or of one that begins with ``[LEVEL]``."""
    pretty = PRETTY.fullmatch(line)
    if pretty and (pretty["time"] or pretty["module"]):
        level = pretty["level"].decode().lower()
        return Record(level, decode(pretty["message"]), decode(pretty["module"] or b""))
    prefix = prefix_level(line)
    return plain(prefix, line) if prefix else None


# Comparing


def comparable(records: list[Record]) -> list[tuple[object, ...]]:
    """Records as what differs where they do, in the types of fields too."""
    return [
        (
            record.level,
            record.message,
            record.module,
            shown(record.fields),
            record.timestamp,
        )
        for record in records
    ]


def shown(value: Any) -> str:
    """A text that differs where values or their types do, however deep they nest."""
    pieces: list[str] = []
    # What is still to be shown, last first; a tuple holds a piece of text.
    pending: list[Any] = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, tuple):
            pieces += item
        elif isinstance(item, dict):
            pending.append(("}",))
            for name in sorted(item, reverse=True):
                pending += [(", ",), item[name], (f"{name!r}: ",)]
            pieces.append("{")
        elif isinstance(item, list):
            pending.append(("]",))
            for element in reversed(item):
                pending += [(", ",), element]
            pieces.append("[")
        else:
            pieces.append(repr(item))
    return "".join(pieces)
