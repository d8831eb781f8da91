"""The Go programs are those of the tests of interoperation; and a quicker way to run a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyplugin.cli.main import main
from tests.interop.conftest import peers

from . import Done

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["peers", "quick"]


@pytest.fixture
def quick(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """Runs the command in this process: for what ends before a plugin is started."""
    monkeypatch.delenv("PYPLUGIN_COOKIE", raising=False)

    def run(*words: str) -> Done:
        try:
            status = main(words)
        except SystemExit as error:
            # argparse
            status = int(error.code or 0)
        return Done(status, *capsys.readouterr())

    return run
