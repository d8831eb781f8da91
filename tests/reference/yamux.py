"""A yamux session as ``MuxSession`` is to behave, slowly and in plain words.

The oracle of the differential tests in tests/test_mux_session.py. It knows no timers, and takes
out all that there is at once.
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass
from typing import Any

DATA, WINDOW_UPDATE, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
INITIAL_WINDOW = 256 * 1024
FRAME_BYTES = 64 * 1024
PONGS = 64
REFUSALS = 1024

Event = tuple[str, int, Any]


class Violation(Exception):
    """The peer broke the rules."""


def frame(kind: int, flags: int, stream: int, length: int, payload: bytes = b"") -> bytes:
    """A frame, with a length of its own for the sake of broken ones."""
    return struct.pack(">BBHII", 0, kind, flags, stream, length) + payload


@dataclass
class Stream:
    """What is known of one stream."""

    is_ours: bool
    # Whether SYN or ACK was asked for, and whether it was sent; and the peer's answer to ours.
    is_accepted: bool
    is_told: bool = False
    is_acked: bool = False
    may_send: int = INITIAL_WINDOW
    may_receive: int = INITIAL_WINDOW
    held: int = 0
    queue: bytes = b""
    wants_finish: bool = False
    has_finished: bool = False
    has_ended: bool = False
    # Whether it waits to be heard, in the order in which streams began to.
    has_update: bool = False
    has_turn: bool = False

    @property
    def is_unacknowledged(self) -> bool:
        return self.is_ours and not self.is_acked

    @property
    def is_unaccepted(self) -> bool:
        return not self.is_ours and not self.is_accepted


class Session:
    """One end of a connection."""

    def __init__(self, is_client: bool, window: int, backlog: int, limit: int) -> None:
        self.is_client = is_client
        self.window = window
        self.backlog = backlog
        self.limit = limit
        self.next_id = 1 if is_client else 2
        self.streams: dict[int, Stream] = {}
        self.events: list[Event] = []
        self.received = b""
        # The data frame under way: its stream (0 when nobody reads it), flags, and what is to come.
        self.under_way: tuple[int, int, int] | None = None
        self.has_failed = False
        self.goes_away = False
        self.is_refused = False
        # What is to be sent, by its rank: go-away, pongs, resets.
        self.first: bytes = b""
        self.pongs: list[int] = []
        self.resets: list[int] = []
        # Streams in the order in which they had something to say, gone ones among them: a later
        # stream of the same id takes that place.
        self.updates: deque[int] = deque()
        self.turns: deque[int] = deque()

    # What the user does

    def open(self) -> int | None:
        waiting = sum(stream.is_unacknowledged for stream in self.streams.values())
        if self.has_failed or self.goes_away or self.is_refused or waiting >= self.backlog:
            return None
        stream = self.next_id
        self.next_id += 2
        self.streams[stream] = Stream(is_ours=True, is_accepted=True)
        self._tell(stream)
        return stream

    def accept(self, stream: int) -> None:
        state = self.streams.get(stream)
        if state is not None and not state.is_accepted:
            state.is_accepted = True
            self._tell(stream)

    def send(self, stream: int, data: bytes) -> bool:
        self.accept(stream)
        state = self.streams.get(stream)
        if state is None or state.wants_finish:
            return False
        state.queue += data
        self._turn(stream)
        return True

    def consume(self, stream: int, length: int) -> None:
        state = self.streams.get(stream)
        if state is not None:
            state.held -= length
            missing = self.window - state.held - state.may_receive
            if state.is_accepted and not state.has_ended and missing >= self.window // 2:
                self._tell(stream)

    def finish(self, stream: int) -> None:
        self.accept(stream)
        state = self.streams.get(stream)
        if state is not None and not state.wants_finish:
            state.wants_finish = True
            self._turn(stream)

    def reset(self, stream: int) -> None:
        state = self.streams.pop(stream, None)
        if state is not None and (state.is_told or not state.is_ours):
            self.resets.append(stream)

    def go_away(self) -> None:
        if not self.goes_away:
            self.goes_away = True
            self.first = frame(GO_AWAY, 0, 0, 0)

    # What the peer does

    def receive(self, data: bytes) -> list[Event]:
        """Takes what has come, and tells data as it comes."""
        self.received += data
        while not self.has_failed:
            if self.under_way is not None:
                if not self.received:
                    break
                self._payload(*self.under_way)
                continue
            if len(self.received) < 12:
                break
            version, kind, flags, stream, length = struct.unpack(">BBHII", self.received[:12])
            self.received = self.received[12:]
            try:
                if version != 0 or kind > GO_AWAY:
                    raise Violation
                if kind in (DATA, WINDOW_UPDATE):
                    self._of_stream(kind, flags, stream, length)
                elif kind == PING and flags & SYN:
                    if len(self.pongs) < PONGS:
                        self.pongs.append(length)
                elif kind == GO_AWAY and length == 0:
                    if not self.is_refused:
                        self.is_refused = True
                        self.events.append(("go_away", 0, None))
                elif kind == GO_AWAY:
                    self._fail(b"")
            except Violation:
                self._fail(frame(GO_AWAY, 0, 0, 1))
        events, self.events = self.events, []
        return events

    def _payload(self, stream: int, flags: int, length: int) -> None:
        payload, self.received = self.received[:length], self.received[length:]
        length -= len(payload)
        self.under_way = (stream, flags, length) if length else None
        if stream in self.streams:
            self.events.append(("data", stream, payload))
            if flags & FIN and not length:
                self._end(stream)

    def _end(self, stream: int) -> None:
        state = self.streams[stream]
        state.has_ended = True
        self.events.append(("finished", stream, None))
        if state.has_finished:
            del self.streams[stream]

    def _of_stream(self, kind: int, flags: int, stream: int, length: int) -> None:
        if stream == 0:
            raise Violation
        if flags & SYN:
            self._syn(stream)
        state = self.streams.get(stream)
        if kind == DATA and length > (self.window if state is None else state.may_receive):
            raise Violation
        if state is None:
            if kind == DATA and length:
                self.under_way = (0, flags, length)
            return
        if kind == DATA:
            state.may_receive -= length
            state.held += length
        elif state.may_send + length > 0xFFFFFFFF:
            raise Violation
        else:
            state.may_send += length
        if flags & FIN and state.has_ended:
            raise Violation
        if flags & ACK and state.is_unacknowledged and state.is_told:
            state.is_acked = True
            self.events.append(("acked", stream, None))
        is_read = not state.has_ended and not flags & RST
        if kind == DATA and length:
            self.under_way = (stream if is_read else 0, flags, length)
        if flags & RST:
            del self.streams[stream]
            self.events.append(("reset", stream, None))
            return
        if flags & FIN and self.under_way is None:
            self._end(stream)
        if stream in self.streams:
            self._turn(stream)

    def _syn(self, stream: int) -> None:
        if (stream % 2 == 0) != self.is_client or stream in self.streams:
            raise Violation
        if len(self.resets) >= REFUSALS:
            raise Violation
        waiting = sum(state.is_unaccepted for state in self.streams.values())
        if self.goes_away or waiting >= self.backlog or len(self.streams) >= self.limit:
            self.resets.append(stream)
        else:
            self.streams[stream] = Stream(is_ours=False, is_accepted=False)
            self.events.append(("opened", stream, None))

    def _fail(self, out: bytes) -> None:
        self.has_failed = True
        self.streams = {}
        self.first, self.pongs, self.resets = out, [], []
        self.updates.clear()
        self.turns.clear()
        self.events.append(("failed", 0, None))

    # What is sent

    def _tell(self, stream: int) -> None:
        if not self.streams[stream].has_update:
            self.streams[stream].has_update = True
            self.updates.append(stream)

    def _turn(self, stream: int) -> None:
        state = self.streams[stream]
        is_due = state.wants_finish and not state.has_finished
        can_send = state.may_send > 0 if state.queue else is_due
        if can_send and not state.has_turn:
            state.has_turn = True
            self.turns.append(stream)

    def take_out(self) -> bytes:
        out, self.first = self.first, b""
        out += b"".join(frame(PING, ACK, 0, value) for value in self.pongs)
        out += b"".join(frame(WINDOW_UPDATE, RST, stream, 0) for stream in self.resets)
        self.pongs, self.resets = [], []
        while self.updates:
            out += self._update(self.updates.popleft())
        while self.turns:
            out += self._data(self.turns.popleft())
        return out

    def _update(self, stream: int) -> bytes:
        state = self.streams.get(stream)
        if state is None or not state.has_update:
            return b""
        state.has_update = False
        flags = 0 if state.is_told else SYN if state.is_ours else ACK
        missing = self.window - state.held - state.may_receive
        if not flags and (state.has_ended or missing < self.window // 2):
            return b""
        state.is_told = True
        state.may_receive += missing
        return frame(WINDOW_UPDATE, flags, stream, missing)

    def _data(self, stream: int) -> bytes:
        state = self.streams.get(stream)
        if state is None or not state.has_turn:
            return b""
        state.has_turn = False
        length = min(len(state.queue), state.may_send, FRAME_BYTES)
        out = frame(DATA, 0, stream, length, state.queue[:length]) if length else b""
        state.queue = state.queue[length:]
        state.may_send -= length
        if not state.queue and state.wants_finish and not state.has_finished:
            out += frame(WINDOW_UPDATE, FIN, stream, 0)
            state.has_finished = True
            if state.has_ended:
                del self.streams[stream]
                return out
        self._turn(stream)
        return out
