"""What the runner asks of a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Task:
    """What to measure; as JSON the argument of every host.

    Attributes:
        measure: "rate" of lines, "latency" of single lines, or how the "storm" delays the rest.
        command: The plugin.
        plugins: How many of them.
        lines: How many each of them writes.
        level: hclog's name of the least level that is wanted.
        sink: Where the log goes, a key of ``SINKS``. The Go host has but one.
        folder: A place for files.
    """

    measure: str
    command: Sequence[str]
    plugins: int
    lines: int
    level: str
    sink: str
    folder: str
