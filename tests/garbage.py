"""Garbage that is collected while something else runs."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


class _Abandoned:
    """Garbage whose finalizer asks something."""

    def __init__(self, ask: Callable[[], object], answers: list[object]) -> None:
        self.ask, self.answers = ask, answers
        self.itself = self

    def __del__(self) -> None:
        self.answers.append(self.ask())


def collected_in(
    work: Callable[[], Result], ask: Callable[[], object]
) -> tuple[Result, list[object]]:
    """Runs ``work``, in which a finalizer asks; returns both results."""
    answers: list[object] = []
    thresholds = gc.get_threshold()
    gc.collect()
    gc.disable()
    try:
        _Abandoned(ask, answers)
        gc.set_threshold(1)
        gc.enable()
        result = work()
    finally:
        gc.enable()
        gc.set_threshold(*thresholds)
    gc.collect()
    return result, answers
