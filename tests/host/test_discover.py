"""Finding plugins by their file names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyplugin import discover

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("plugin-b", "plugin-a", "other", "plugin-c.txt", ".plugin-hidden"):
        (tmp_path / name).touch()
    return tmp_path


def test_what_matches_is_found_sorted(folder: Path) -> None:
    found = discover("plugin-*", folder)
    assert found == [str(folder / name) for name in ("plugin-a", "plugin-b", "plugin-c.txt")]


def test_a_relative_folder_gives_absolute_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    assert discover("other", folder.name) == [str(folder / "other")]


@pytest.mark.parametrize("name", [".", "no-such-folder"])
def test_nothing_is_found(folder: Path, name: str) -> None:
    assert discover("terraform-*", folder / name) == []
