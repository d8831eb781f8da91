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
        measure: "call", a call to the plugin itself; "get" or "put", one that carries ``bytes``;
            "stream", one that is answered with ``messages``; "host serves" or "plugin serves", a
            call by a connection of its own; "blocks" or "lines", what the plugin prints.
        command: The plugin.
        auto_mtls: All connections are secured.
        warm: How often it is done before anything is measured.
        in_turn: How often for the latency, one after the other.
        at_once: How often for the rate.
        in_flight: How many at a time then.
        bytes: How much a call carries, or the plugin prints.
        seconds: When the host gives up.
        multiplex: One connection is for everything.
        messages: How many of 100 bytes a stream has.
    """

    measure: str
    command: Sequence[str]
    auto_mtls: bool
    warm: int
    in_turn: int
    at_once: int
    in_flight: int
    bytes: int
    seconds: float
    multiplex: bool = False
    messages: int = 0
