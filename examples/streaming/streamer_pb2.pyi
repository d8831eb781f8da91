from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class Configure(_message.Message):
    __slots__ = ()
    class Request(_message.Message):
        __slots__ = ("path", "chunk_size")
        PATH_FIELD_NUMBER: _ClassVar[int]
        CHUNK_SIZE_FIELD_NUMBER: _ClassVar[int]
        path: str
        chunk_size: int
        def __init__(self, path: _Optional[str] = ..., chunk_size: _Optional[int] = ...) -> None: ...
    class Response(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    def __init__(self) -> None: ...

class Read(_message.Message):
    __slots__ = ()
    class Request(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class ResponseChunk(_message.Message):
        __slots__ = ("read_bytes",)
        READ_BYTES_FIELD_NUMBER: _ClassVar[int]
        read_bytes: bytes
        def __init__(self, read_bytes: _Optional[bytes] = ...) -> None: ...
    def __init__(self) -> None: ...

class Write(_message.Message):
    __slots__ = ()
    class RequestChunk(_message.Message):
        __slots__ = ("bytes_to_write",)
        BYTES_TO_WRITE_FIELD_NUMBER: _ClassVar[int]
        bytes_to_write: bytes
        def __init__(self, bytes_to_write: _Optional[bytes] = ...) -> None: ...
    class Response(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    def __init__(self) -> None: ...
