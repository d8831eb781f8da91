from __future__ import annotations

import datetime
import decimal
import enum
import json
import logging
import math
import pathlib
import signal
import sys
import types
import uuid
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyplugin import HCLogFormatter


def fields(**extra: Any) -> Any:
    """The fields of a record, as a strict reader of JSON has them."""
    record = logging.Logger("kv").makeRecord("kv", 20, "kv.py", 1, "m", (), None, extra=extra)
    line = HCLogFormatter().format(record)
    assert line.isascii()
    assert "\n" not in line
    entry = json.loads(line, parse_constant=pytest.fail)
    assert entry.pop("@message") == "m"
    return {name: value for name, value in entry.items() if name[0] != "@"}


def field(value: Any) -> Any:
    return fields(value=value)["value"]


class Color(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class OnlyRepr(Unprintable):
    def __repr__(self) -> str:
        return "<me>"


class BrokenDict(dict):
    def items(self) -> Any:
        raise OSError("gone")


class Text(str):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -1,
        2**53 + 1,
        10**308,
        0.1,
        -0.0,
        5e-324,
        sys.float_info.max,
        "",
        "é\n\x00 \U0001f600",
        "\ud800",
        [],
        {},
        [1, [2.5, {"a": [None]}]],
        {"a": {"b": {}}},
    ],
)
def test_what_json_has_is_itself(value: Any) -> None:
    got = field(value)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, "a"), [1, "a"]),
        (Point(1, 2), [1, 2]),
        (signal.SIGTERM, 15),
        (Text("a"), "a"),
        (
            {1: 2, None: 3, (4, 5): {6: 7}, Text("a"): 8},
            {"1": 2, "None": 3, "(4, 5)": {"6": 7}, "a": 8},
        ),
    ],
)
def test_what_is_nearly_json_becomes_json(value: Any, expected: Any) -> None:
    assert field(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\xff", "b'\\xff'"),
        (bytearray(b"a"), "bytearray(b'a')"),
        ({1}, "{1}"),
        (range(3), "range(0, 3)"),
        (1j, "1j"),
        (math.nan, "nan"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (10**309, str(10**309)),
        (-(10**309), str(-(10**309))),
        (datetime.datetime(2026, 1, 2, 3, 4, 5), "2026-01-02 03:04:05"),
        (datetime.timedelta(seconds=1.5), "0:00:01.500000"),
        (decimal.Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (pathlib.PurePosixPath("/tmp/a"), "/tmp/a"),
        (Color.RED, "Color.RED"),
        (types.MappingProxyType({"a": 1}), "{'a': 1}"),
        (OSError("no space"), "OSError: no space"),
        (KeyError("k"), "KeyError: 'k'"),
        (TimeoutError(), "TimeoutError"),
        (OnlyRepr(), "<me>"),
        (Unprintable(), "<Unprintable without a text>"),
        (Unprintable, f"<class '{__name__}.Unprintable'>"),
    ],
)
def test_what_json_has_not_is_text_wherever_it_stands(value: Any, expected: str) -> None:
    assert field(value) == expected
    assert field([value]) == [expected]
    assert field({"a": (value, 1)}) == {"a": [expected, 1]}


def test_an_integer_that_python_gives_no_text_of() -> None:
    assert field(10**5000) in (str(10**4000) + "0" * 1000, "<int without a text>")


def test_one_bad_value_takes_no_other_with_it() -> None:
    assert fields(a=1, b=Unprintable(), c=BrokenDict(x=1), d=[BrokenDict()], e="z") == {
        "a": 1,
        "b": "<Unprintable without a text>",
        "c": "{'x': 1}",
        "d": ["{}"],
        "e": "z",
    }


@pytest.mark.parametrize("kind", [dict, list])
def test_what_changes_meanwhile_is_as_it_was(kind: type) -> None:
    value: Any = kind()

    class Adding:
        def __str__(self) -> str:
            value.update(b=2) if kind is dict else value.append(2)
            return "adding"

    value.update(a=Adding()) if kind is dict else value.append(Adding())
    assert field(value) == ({"a": "adding"} if kind is dict else ["adding"])


def test_what_is_inside_of_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    tree: dict[str, Any] = {"name": "root"}
    tree["children"] = [{"name": "leaf", "parent": tree}]
    assert fields(loop=loop, tree=tree) == {
        "loop": [1, "..."],
        "tree": {"name": "root", "children": [{"name": "leaf", "parent": "..."}]},
    }


def test_what_is_there_twice_is_shown_twice() -> None:
    shared = [1]
    assert field([shared, {"a": shared}]) == [[1], {"a": [1]}]


@pytest.mark.parametrize("kind", [list, dict])
def test_depth_ends(kind: type) -> None:
    value: Any = "deep"
    for _ in range(100_000):
        value = [value] if kind is list else {"a": value}
    got, depth = field(value), 0
    while got != "...":
        (got,), depth = (got if kind is list else got.values()), depth + 1
    assert depth >= 30


def test_a_web_of_values_ends() -> None:
    """Written out it would be larger than any memory."""
    mesh: list[list[Any]] = [[] for _ in range(30)]
    for node in mesh:
        node.extend(mesh)
    doubled: list[Any] = []
    for _ in range(30):
        doubled = [doubled, doubled]
    text = json.dumps(fields(mesh=mesh, doubled=doubled))
    assert '"..."' in text
    assert len(text) < 1_000_000


def test_a_list_as_long_as_a_line_can_hold_is_whole() -> None:
    assert field([0] * 32_000) == [0] * 32_000
    assert field([0] * 33_000) == "..."


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text()
    | st.characters(categories=["Cs"])
    | st.binary()
    | st.dates()
    | st.decimals()
    | st.builds(Unprintable),
    lambda inner: (
        st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text() | st.integers(), inner)
    ),
)


def numbers(value: Any) -> list[float]:
    if isinstance(value, (list, dict)):
        inside = value.values() if isinstance(value, dict) else value
        return [number for inner in inside for number in numbers(inner)]
    return [value] if isinstance(value, (int, float)) else []


@given(anything)
def test_any_value_is_json_that_go_reads(value: Any) -> None:
    assert all(math.isfinite(float(number)) for number in numbers(field(value)))
