from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class WorkRequest(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class WorkReply(_message.Message):
    __slots__ = ("text", "version", "pid")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    text: str
    version: str
    pid: int
    def __init__(self, text: _Optional[str] = ..., version: _Optional[str] = ..., pid: _Optional[int] = ...) -> None: ...

class CrashRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CrashReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
