"""The ways from a plugin's log to handlers: filters, parents, loggers of other kinds."""

from __future__ import annotations

import io
import itertools
import logging
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures.logs import LOOPS, Keep, host, new_logger, pipe

if TYPE_CHECKING:
    from collections.abc import Iterator


async def logged(logger: logging.Logger, stream: bytes = b"one\n[WARN] two\n") -> None:
    async with pipe(logger) as stderr:
        stderr.put(stream)


# Ways to a handler


async def test_records_come_to_all_handlers_of_all_parents() -> None:
    names: list[str] = []

    def keep(name: str, level: int = 0) -> Keep:
        handler = Keep(lambda _: names.append(name))
        handler.setLevel(level)
        return handler

    # A parent's handlers count, its level does not.
    top = new_logger(keep("top"), level=logging.CRITICAL)
    parent, child = top.getChild("a"), top.getChild("a.b.c")
    parent.addHandler(keep("parent"))
    parent.addHandler(keep("errors", logging.ERROR))
    child.setLevel(logging.DEBUG)
    child.addHandler(keep("child"))
    await logged(child, b"one\n[ERROR] two\n")
    assert sorted(names) == sorted(["child", "parent", "top"] * 2 + ["errors"])
    names.clear()
    parent.propagate = False
    await logged(child, b"one\n")
    assert sorted(names) == ["child", "parent"]


async def test_each_handler_gets_the_same_record() -> None:
    one, two = Keep(), Keep()
    await logged(new_logger(one, two))
    for first, second in zip(one.records.items, two.records.items, strict=True):
        assert first is second


async def test_handlers_may_change_in_mid_stream() -> None:
    one, two = Keep(), Keep()
    logger = new_logger(one)
    async with pipe(logger) as stderr:
        stderr.put(b"a\n")
        await one.message("a")
        logger.addHandler(two)
        one.setLevel(logging.ERROR)
        stderr.put(b"b\n")
        await two.message("b")
        logger.removeHandler(one)
        two.setLevel(logging.ERROR)
        stderr.put(b"c\n[ERROR] d\n")
    assert (one.messages, two.messages) == (["a"], ["b", "[ERROR] d"])


async def test_without_a_handler_warnings_go_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await logged(new_logger(), b"info\n[WARN] warning\n")
    assert capsys.readouterr().err == "[WARN] warning\n"
    monkeypatch.setattr(logging, "lastResort", None)
    monkeypatch.setattr(logging, "raiseExceptions", False)
    await logged(new_logger(), b"[WARN] warning\n")
    assert capsys.readouterr().err == ""


def mark(record: logging.LogRecord) -> bool:
    record.marked = True
    return "secret" not in record.getMessage()


@pytest.mark.parametrize("where", ["logger", "handler"])
@pytest.mark.parametrize("kind", ["stream", "other"])
async def test_filters_choose_and_change(where: str, kind: str) -> None:
    stream, keep = io.StringIO(), Keep()
    handler = logging.StreamHandler(stream) if kind == "stream" else keep
    handler.setFormatter(logging.Formatter("%(marked)s %(message)s"))
    logger = new_logger(handler)
    filtered: logging.Filterer = logger if where == "logger" else handler
    filtered.addFilter(mark)
    await logged(logger, b"one\nsecret\ntwo\n")
    if kind == "stream":
        assert stream.getvalue() == "True one\nTrue two\n"
    else:
        assert [handler.format(record) for record in keep.records.items] == [
            "True one",
            "True two",
        ]


# Loggers and handlers of other kinds


def own(kind: type, method: str, calls: list[str]) -> Any:
    """A subclass that notes the calls of a method, which it passes on."""

    def spy(self: Any, *arguments: Any) -> Any:
        calls.append(method)
        return getattr(kind, method)(self, *arguments)

    return type("Own", (kind,), {method: spy})


@pytest.mark.parametrize(
    "method", ["handle", "callHandlers", "filter", "makeRecord", "isEnabledFor"]
)
async def test_methods_of_a_logger_of_ones_own_are_called(method: str) -> None:
    calls: list[str] = []
    logger, keep = own(logging.Logger, method, calls)("own"), Keep()
    logger.addHandler(keep)
    await logged(logger, b"one\ntwo\n")
    assert keep.messages == ["one", "two"]
    assert len(calls) >= 2


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *itertools.product([Keep], ["handle", "emit", "filter", "acquire", "release"]),
        *itertools.product(
            [logging.StreamHandler],
            ["handle", "emit", "filter", "acquire", "release", "format", "flush"],
        ),
    ],
)
async def test_methods_of_a_handler_of_ones_own_are_called(kind: type, method: str) -> None:
    calls: list[str] = []
    handler, keep = own(kind, method, calls)(), Keep()
    if kind is logging.StreamHandler:
        handler.setStream(io.StringIO())
    calls.clear()
    await logged(new_logger(handler, keep))
    assert keep.messages == ["one", "[WARN] two"]
    # One lock may do for several lines.
    assert len(calls) >= (1 if method in ("acquire", "release") else 2)


def spy_on(object: Any, method: str, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the calls of an object's method noted."""
    before = getattr(object, method)

    def spy(*arguments: Any, **more: Any) -> Any:
        calls.append(method)
        return before(*arguments, **more)

    monkeypatch.setattr(object, method, spy)


@pytest.mark.parametrize("method", ["handle", "filter", "makeRecord"])
async def test_a_method_put_into_a_logger_is_called(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a test of the host does it, or a tracer."""
    calls: list[str] = []
    keep = Keep()
    logger = new_logger(keep)
    spy_on(logger, method, calls, monkeypatch)
    await logged(logger, b"one\ntwo\n")
    assert keep.messages == ["one", "two"]
    assert calls == [method] * 2


@pytest.mark.parametrize("method", ["handle", "emit", "format", "filter"])
async def test_a_method_put_into_a_handler_is_called(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    spy_on(handler, method, calls, monkeypatch)
    await logged(new_logger(handler), b"one\ntwo\n")
    assert stream.getvalue() == "one\ntwo\n"
    assert calls == [method] * 2


@pytest.mark.parametrize("name", LOOPS)
def test_a_method_put_into_all_loggers_is_called(name: str) -> None:
    """Before this package was loaded, too."""
    host("patched_logging", name)


@pytest.fixture
def patched() -> Iterator[list[str]]:
    """A ``Logger`` whose ``callHandlers`` notes messages from now on."""
    before, seen = logging.Logger.callHandlers, list[str]()

    def spy(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.getMessage())
        before(self, record)

    logging.Logger.callHandlers = spy  # type: ignore[method-assign]
    yield seen
    logging.Logger.callHandlers = before  # type: ignore[method-assign]


async def test_a_method_put_into_all_loggers_later_is_called(patched: list[str]) -> None:
    keep = Keep()
    await logged(new_logger(keep), b"one\ntwo\n")
    assert patched == keep.messages == ["one", "two"]
