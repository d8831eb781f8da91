"""Ends a plugin whose host is gone, of whatever it died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import stat
import sys
from typing import TYPE_CHECKING

from ..constants import ENV_ORPHAN_GUARD

if TYPE_CHECKING:
    from collections.abc import Callable


class HostWatch:
    """Watches the pipes that the host reads: they break when it is gone, and at no other time.

    A wrapper between the two hands them on, so that it needs not end with the host. A host may
    close its end of one while it lives, hardly of both.

    Args:
        on_gone: Called in the event loop when nobody reads any of the pipes.
    """

    def __init__(self, on_gone: Callable[[], object]) -> None:
        self._on_gone = on_gone
        self._pipes: set[int] = set()

    def start(self) -> None:
        """Watches what are descriptors 1 and 2 now; nothing where they are no pipes."""
        if sys.platform == "win32" or os.environ.get(ENV_ORPHAN_GUARD) == "0":
            return
        loop = asyncio.get_running_loop()
        for descriptor in (1, 2):
            with contextlib.suppress(OSError):
                if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                    pipe = os.dup(descriptor)
                    self._pipes.add(pipe)
                    # The end of a pipe that is written to becomes "readable" when it breaks.
                    loop.add_reader(pipe, self._on_event, pipe)

    def close(self) -> None:
        """Watches no more."""
        for pipe in list(self._pipes):
            self._drop(pipe)

    def _on_event(self, pipe: int) -> None:
        poll = select.poll()
        poll.register(pipe, 0)
        if poll.poll(0):
            self._drop(pipe)
            if not self._pipes:
                self._on_gone()

    def _drop(self, pipe: int) -> None:
        asyncio.get_running_loop().remove_reader(pipe)
        os.close(pipe)
        self._pipes.remove(pipe)
