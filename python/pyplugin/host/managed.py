"""Ending all managed plugins of a program at once (go-plugin ``client.go`` ``CleanupClients``)."""

from __future__ import annotations

import asyncio
import weakref
from typing import Protocol

__all__ = ["cleanup_clients"]


class Killable(Protocol):
    """A client, which this module need not know more of."""

    async def kill(self) -> None:
        """Ends the plugin."""


_managed: weakref.WeakSet[Killable] = weakref.WeakSet()


def manage(client: Killable) -> None:
    """Has ``cleanup_clients()`` kill ``client``."""
    _managed.add(client)


async def cleanup_clients() -> None:
    """Kills, all at once, the clients whose ``ClientConfig`` says ``managed``.

    To be called in the event loop that they belong to, before the program ends.
    """
    clients = list(_managed)
    _managed.clear()
    ends = await asyncio.gather(*(client.kill() for client in clients), return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
