"""Finding plugins by their file names (go-plugin ``discover.go``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

__all__ = ["discover"]


def discover(glob: str, directory: str | os.PathLike[str]) -> list[str]:
    """The absolute paths of the files in ``directory`` that match, sorted.

    Args:
        glob: A pattern of the shell's, ``terraform-provider-*`` for example.
        directory: Where to look; a relative one begins in the working directory.
    """
    return sorted(map(str, Path(directory).absolute().glob(glob)))
