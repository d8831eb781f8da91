from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class LookRequest(_message.Message):
    __slots__ = ("host_folder",)
    HOST_FOLDER_FIELD_NUMBER: _ClassVar[int]
    host_folder: str
    def __init__(self, host_folder: _Optional[str] = ...) -> None: ...

class LookReply(_message.Message):
    __slots__ = ("pid", "interfaces", "folder", "sockets", "at_host_folder")
    PID_FIELD_NUMBER: _ClassVar[int]
    INTERFACES_FIELD_NUMBER: _ClassVar[int]
    FOLDER_FIELD_NUMBER: _ClassVar[int]
    SOCKETS_FIELD_NUMBER: _ClassVar[int]
    AT_HOST_FOLDER_FIELD_NUMBER: _ClassVar[int]
    pid: int
    interfaces: _containers.RepeatedScalarFieldContainer[str]
    folder: str
    sockets: _containers.RepeatedScalarFieldContainer[str]
    at_host_folder: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, pid: _Optional[int] = ..., interfaces: _Optional[_Iterable[str]] = ..., folder: _Optional[str] = ..., sockets: _Optional[_Iterable[str]] = ..., at_host_folder: _Optional[_Iterable[str]] = ...) -> None: ...

class SwapRequest(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: int
    def __init__(self, note: _Optional[int] = ...) -> None: ...

class SwapReply(_message.Message):
    __slots__ = ("read", "note")
    READ_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    read: str
    note: int
    def __init__(self, read: _Optional[str] = ..., note: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReadReply(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...
