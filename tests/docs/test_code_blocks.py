"""Every code block of the documentation is run.

A page is a folder. Its blocks are taken from top to bottom:

- A first line ``# NAME`` or ``// NAME`` makes the block the file of that name.
- A block of ``sh`` is run in the folder, and must end with status 0.
- A block of ``output`` is what the ``sh`` block before it prints to its stdout.
- Each Python, Go and shell block must be one of these, and each Python file be used by another
  block; other languages may stand for themselves.

The folder of every page but the quickstart begins with the files that the quickstart leaves, as far
as its part on Go. A block is left out by a line before it, which no page shows:
``<!-- not run: REASON -->``. It is compiled all the same when it is Python.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import itertools
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ..interop.peers import find_go

if TYPE_CHECKING:
    from collections.abc import Iterable

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCE = re.compile(
    r"^(?:[ ]*<!-- not run: (?P<reason>[^\n]+) -->\n\n?)?"
    r"(?P<indent>[ ]*)```(?P<language>[\w+-]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
NAME = re.compile(r"(?:#|//) ([\w./-]+\.\w+)\n")
MUST_RUN = {"python", "py", "pycon", "go", "sh", "bash", "shell", "console"}
# What is installed already counts, and nothing is downloaded.
SHELL = """\
pip() { python -m pip "$@" --quiet --no-index --disable-pip-version-check; }
pyplugin() { python -m pyplugin "$@"; }
pytest() { python -m pytest "$@"; }
"""
QUICKSTART = "quickstart.md"
# Seconds for one block: Go builds all that its plugins need when its cache is empty.
TIMEOUT = 300

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the blocks are for a POSIX shell"),
    pytest.mark.timeout(TIMEOUT + 60),
]


@dataclasses.dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        where: Page and line.
        language: The word after the backticks.
        text: Its lines.
        reason: Why it is not run, or None.
    """

    where: str
    language: str
    text: str
    reason: str | None

    @property
    def name(self) -> str | None:
        """The file that it is."""
        found = NAME.match(self.text)
        return found[1] if found else None


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            where=f"{page.relative_to(DOCS)}:{text.count(chr(10), 0, found.start()) + 1}",
            language=found["language"],
            text=textwrap.dedent(found["text"]),
            reason=found["reason"],
        )
        for found in FENCE.finditer(text)
    ]


def is_run(block: Block) -> bool:
    return block.reason is None and (block.language == "sh" or block.name is not None)


PAGES = {str(page.relative_to(DOCS)): blocks(page) for page in sorted(DOCS.rglob("*.md"))}


def needs_go(block: Block) -> bool:
    return block.language == "go" or re.search(r"^go ", block.text, re.MULTILINE) is not None


@functools.cache
def go_folder() -> str:
    """The folder of Go's own program. Without Go the test is skipped; on CI it fails."""
    try:
        return str(Path(find_go()).parent)
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))


def run(block: Block, folder: Path) -> str:
    """What a block of ``sh`` prints to its stdout."""
    go_bin = str(folder / "go-bin")
    path = [str(Path(sys.executable).parent), go_bin, os.environ["PATH"]]
    if needs_go(block):
        path.insert(0, go_folder())
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SHELL + block.text],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(path), "GOBIN": go_bin},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert result.returncode == 0, f"{block.where}:\n{block.text}{result.stdout}{result.stderr}"
    return result.stdout


def follow(page: Iterable[Block], folder: Path) -> None:
    """Does what a page says."""
    printed = None
    for block in page:
        if block.reason is not None:
            continue
        if block.name is not None:
            file = folder / block.name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, encoding="utf-8")
        elif block.language == "sh":
            printed = run(block, folder)
        elif block.language == "output":
            assert printed == block.text, block.where


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the quickstart was followed in, as far as Go."""
    folder = tmp_path_factory.mktemp("quickstart")
    follow(itertools.takewhile(lambda block: not needs_go(block), PAGES[QUICKSTART]), folder)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if any(map(is_run, PAGES[page]))])
def test_a_page_does_what_it_says(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = tmp_path / "page"
    if page == QUICKSTART:
        folder.mkdir()
    else:
        shutil.copytree(request.getfixturevalue("quickstart"), folder)
    follow(PAGES[page], folder)


@pytest.mark.parametrize("page", [page for page in PAGES if PAGES[page]])
def test_no_block_is_left_out(page: str) -> None:
    """By mistake, that is."""
    used = [block.text for block in PAGES[page] + PAGES[QUICKSTART] if block.reason is None]
    for block in PAGES[page]:
        if block.reason is not None:
            if block.language == "python":
                compile(block.text, block.where, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            continue
        assert block.language not in MUST_RUN or is_run(block), (
            f"{block.where}: nobody runs this block; see the top of {Path(__file__).name}"
        )
        if block.name is not None and block.name.endswith(".py"):
            stem = Path(block.name).stem
            word = re.compile(rf"\b{stem}\b" + r"|^pytest\b" * stem.startswith("test_"), re.M)
            assert any(word.search(text) for text in used if text != block.text), (
                f"{block.where}: no block uses {block.name}"
            )
