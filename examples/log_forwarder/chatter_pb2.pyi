from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ChatRequest(_message.Message):
    __slots__ = ("lines", "lines_per_second")
    LINES_FIELD_NUMBER: _ClassVar[int]
    LINES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    lines: int
    lines_per_second: float
    def __init__(self, lines: _Optional[int] = ..., lines_per_second: _Optional[float] = ...) -> None: ...

class ChatReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
