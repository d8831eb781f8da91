"""The tests that the documentation names are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from .conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted((ROOT / "docs").rglob("*.md"))
TROUBLESHOOTING = ROOT / "docs" / "troubleshooting.md"
NAME = re.compile(r"([\w./-]*test_\w+\.py)::(test_\w+)")


@cache
def defined(path: Path) -> frozenset[str]:
    """The tests of a module; none where there is no such file."""
    if not path.is_file():
        return frozenset()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return frozenset(node.name for node in body if isinstance(node, functions))


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_test_that_is_named_exists(page: Path) -> None:
    named = NAME.findall(page.read_text(encoding="utf-8"))
    assert [f"{file}::{test}" for file, test in named if test not in defined(ROOT / file)] == []


def test_every_failure_names_its_test() -> None:
    lines = TROUBLESHOOTING.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|") and not line.startswith("| ---")]
    rows = [row for row in rows if not row.endswith("| Test |")]
    assert len(rows) > 50
    assert [row for row in rows if not re.search(rf"\| `{NAME.pattern}` \|$", row)] == []


def test_every_test_of_a_failure_is_in_the_table() -> None:
    named = set(NAME.findall(TROUBLESHOOTING.read_text(encoding="utf-8")))
    for path in (ROOT / "tests").glob("test_failures_*.py"):
        file = f"tests/{path.name}"
        tests = {(file, name) for name in defined(path) if name.startswith("test_")}
        assert tests - named == set()
