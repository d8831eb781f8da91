"""The HTTP/2 connection under grpclib: that of the Rust core, or h2's in its place.

``PYPLUGIN_HTTP2=h2`` in the environment chooses h2, which helps to find out whose fault it is that
something fails. Both have the methods and events of ``Http2Connection``; this is the one module
that knows private names of h2.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError, StreamClosedError
from h2.settings import SettingCodes, Settings
from hpack import Encoder

from .._rust import Http2Connection, Http2Event
from ..constants import ENV_HTTP2

if TYPE_CHECKING:
    from h2.events import Event
    from hyperframe.frame import Frame, GoAwayFrame

# Large enough for any status message a Go peer sends; h2's own limit is 64 KiB.
_MAX_HEADER_LIST_BYTES = 2**20
# No limit, as in Go.
_MAX_CONCURRENT_STREAMS = 2**32 - 1

_KINDS: dict[type[Event], int] = {
    RequestReceived: Http2Event.REQUEST,
    ResponseReceived: Http2Event.RESPONSE,
    DataReceived: Http2Event.DATA,
    TrailersReceived: Http2Event.TRAILERS,
    StreamEnded: Http2Event.ENDED,
    StreamReset: Http2Event.RESET,
    WindowUpdated: Http2Event.WRITABLE,
    RemoteSettingsChanged: Http2Event.SETTINGS,
    PingAckReceived: Http2Event.PONG,
    ConnectionTerminated: Http2Event.GO_AWAY,
}


def new_connection(
    is_client: bool, *, stream_window: int, connection_window: int
) -> Http2Connection:
    """One end of a connection that is new, with what it says first ready to be sent.

    Args:
        is_client: Whether it opens the streams.
        stream_window: Bytes that the peer may send on a stream ahead of its reader.
        connection_window: Bytes that it may send on all of them.
    """
    if os.environ.get(ENV_HTTP2) == "h2":
        return cast("Http2Connection", _H2Connection(is_client, stream_window, connection_window))
    return Http2Connection(
        is_client,
        stream_window=stream_window,
        connection_window=connection_window,
        max_streams=_MAX_CONCURRENT_STREAMS,
        max_header_list=_MAX_HEADER_LIST_BYTES,
    )


_quiet_kinds: dict[type[Frame], type[Frame]] = {}


def _quiet(kind: type[Frame]) -> type[Frame]:
    if kind not in _quiet_kinds:
        _quiet_kinds[kind] = type(kind.__name__, (kind,), {"__repr__": lambda _: kind.__name__})
    return _quiet_kinds[kind]


class _Encoder(Encoder):
    """hpack without Huffman coding: in Python that takes a time quadratic in a text's length."""

    def encode(self, headers: Any, huffman: bool = False) -> bytes:
        return super().encode(headers, huffman)


class _Failed:
    """What Http2Connection tells where h2 raises."""

    kind = Http2Event.FAILED

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _H2Connection(H2Connection):
    """h2 without its reading of GOAWAY, which ends every stream and loses what came beside it.

    Nor does it make a text of each frame, its bytes in hexadecimal, for a log that drops it.
    """

    def __init__(self, is_client: bool, stream_window: int, connection_window: int) -> None:
        config = H2Configuration(
            client_side=is_client,
            header_encoding="ascii",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
            normalize_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        super().__init__(config)
        receivers = self._frame_dispatch_table
        receivers.update({_quiet(kind): receive for kind, receive in receivers.items()})
        self.local_settings = Settings(
            client=is_client,
            initial_values={
                # gRPC knows no pushes; h2 would keep each of a peer's.
                SettingCodes.ENABLE_PUSH: 0,
                SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_CONCURRENT_STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: stream_window,
                SettingCodes.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST_BYTES,
            },
        )
        self.encoder = _Encoder()
        self.decoder.max_header_list_size = _MAX_HEADER_LIST_BYTES
        self.initiate_connection()
        self.increment_flow_control_window(connection_window - self.inbound_flow_control_window)

    def receive_data(self, data: Any) -> list[Any]:
        try:
            events: list[Any] = super().receive_data(data)
        except ProtocolError as error:
            return [_Failed(str(error))]
        for event in events:
            event.kind = _KINDS.get(event.__class__)
        return events

    def send_headers(  # type: ignore[override]  # Http2Connection's
        self, stream_id: int, headers: Any, end_stream: bool = False
    ) -> None:
        if stream_id != self.get_next_available_stream_id() and not self.is_open(stream_id):
            raise StreamClosedError(stream_id)
        super().send_headers(stream_id, headers, end_stream)

    def send_data(  # type: ignore[override]  # Http2Connection's
        self, stream_id: int, data: bytes, end_stream: bool = False, *, start: int = 0
    ) -> int:
        if not self.is_open(stream_id):
            raise StreamClosedError(stream_id)
        window = self.local_flow_control_window(stream_id)
        chunk = data[start : start + max(0, min(window, self.max_outbound_frame_size))]
        is_last = start + len(chunk) == len(data)
        if chunk or is_last:
            super().send_data(stream_id, chunk, end_stream and is_last)
        return len(chunk)

    @property
    def wants_write(self) -> bool:
        return bool(self._data_to_send)

    def is_open(self, stream_id: int) -> bool:
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed

    def _receive_frame(self, frame: Frame) -> list[Event]:
        frame.__class__ = _quiet(frame.__class__)
        return super()._receive_frame(frame)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]
