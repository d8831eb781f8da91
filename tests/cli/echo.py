"""A plugin with a method of each kind, made without protoc; its messages hold Google's."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError

from pyplugin import HandshakeConfig, Plugin, ServeConfig, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from grpclib.server import Stream

    from pyplugin import GRPCBroker

_Field = descriptor_pb2.FieldDescriptorProto
_FILE = "tests/cli/echo.proto"
_PACKAGE = "echo.v1"
_IMPORTS = ("any", "duration", "struct", "timestamp")


def describe() -> descriptor_pb2.FileDescriptorProto:
    """The plugin's proto file."""
    file = descriptor_pb2.FileDescriptorProto(name=_FILE, package=_PACKAGE, syntax="proto3")
    file.dependency.extend(f"google/protobuf/{name}.proto" for name in _IMPORTS)
    message = file.message_type.add(name="Words")
    kinds = [
        ("text", _Field.TYPE_STRING, ""),
        ("repeat_count", _Field.TYPE_INT64, ""),
        ("data", _Field.TYPE_BYTES, ""),
        ("at", _Field.TYPE_MESSAGE, ".google.protobuf.Timestamp"),
        ("within", _Field.TYPE_MESSAGE, ".google.protobuf.Duration"),
        ("more", _Field.TYPE_MESSAGE, ".google.protobuf.Struct"),
        ("anything", _Field.TYPE_MESSAGE, ".google.protobuf.Any"),
    ]
    for number, (name, kind, type_name) in enumerate(kinds, 1):
        message.field.add(
            name=name,
            number=number,
            type=kind,
            label=_Field.LABEL_OPTIONAL,
            type_name=type_name or None,
        )
    for service in ("Echo", "Other"):
        described = file.service.add(name=service)
        for name, (streams_in, streams_out) in KINDS.items():
            if service == "Echo" or name == "Once":
                described.method.add(
                    name=name,
                    input_type=f".{_PACKAGE}.Words",
                    output_type=f".{_PACKAGE}.Words",
                    client_streaming=streams_in,
                    server_streaming=streams_out,
                )
    return file


KINDS = {
    "Once": (False, False),
    "Count": (False, True),
    "Join": (True, False),
    "Chat": (True, True),
    "Deaf": (True, True),
    "Fail": (False, False),
    "Never": (False, True),
}
for name in _IMPORTS:
    importlib.import_module(f"google.protobuf.{name}_pb2")
POOL = descriptor_pool.Default()
POOL.AddSerializedFile(describe().SerializeToString())
Words: Any = GetMessageClass(POOL.FindMessageTypeByName(f"{_PACKAGE}.Words"))


class Echo:
    """The methods; each says in a line what it does."""

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/{_PACKAGE}.{service}/{name}": Handler(
                self._method(service, name), _cardinality(kind), Words, Words
            )
            for service in ("Echo", "Other")
            for name, kind in KINDS.items()
            if service == "Echo" or name == "Once"
        }

    def _method(self, service: str, name: str) -> Callable[[Any], Any]:
        if service == "Other":
            return self.other
        return getattr(self, name.lower())  # type: ignore[no-any-return]

    async def once(self, stream: Stream[Any, Any]) -> None:
        """Gives back what it got, with the metadata it was called with."""
        request = await stream.recv_message()
        assert request is not None
        assert stream.metadata is not None
        if request.text == "no such time":
            request.at.seconds = 10**15
        elif request.text == "no such type":
            request.anything.type_url = "type.googleapis.com/none"
        for key in ("x-text", "x-data-bin"):
            if key in stream.metadata:
                value = stream.metadata[key]
                text = value.hex() if isinstance(value, bytes) else value
                request.text += f" {key}={text}"
        await stream.send_initial_metadata(metadata={"x-begun": "yes"})
        await stream.send_message(request)
        await stream.send_trailing_metadata(metadata={"x-ended-bin": b"\x00\x01"})

    async def other(self, stream: Stream[Any, Any]) -> None:
        """Answers that it is the other."""
        await stream.recv_message()
        await stream.send_message(Words(text="other"))

    async def count(self, stream: Stream[Any, Any]) -> None:
        """Gives numbers."""
        request = await stream.recv_message()
        assert request is not None
        for number in range(request.repeat_count):
            await stream.send_message(Words(text=str(number)))

    async def join(self, stream: Stream[Any, Any]) -> None:
        """Gives all the texts as one."""
        texts = [request.text async for request in stream]
        await stream.send_message(Words(text="+".join(texts)))

    async def chat(self, stream: Stream[Any, Any]) -> None:
        """Answers each text at once."""
        async for request in stream:
            await stream.send_message(Words(text=request.text.upper()))

    async def deaf(self, stream: Stream[Any, Any]) -> None:
        """Answers, and ends, without listening."""
        await stream.send_message(Words(text="goodbye"))

    async def fail(self, stream: Stream[Any, Any]) -> None:
        """Fails, or ends its process where it is told to."""
        request = await stream.recv_message()
        assert request is not None
        if request.text == "exit":
            os._exit(7)
        raise GRPCError(Status.ABORTED, "as it was asked to")

    async def never(self, stream: Stream[Any, Any]) -> None:
        """Gives its process id, and nothing more, ever."""
        await stream.recv_message()
        await stream.send_message(Words(text=str(os.getpid())))
        await asyncio.get_running_loop().create_future()


def _cardinality(kind: tuple[bool, bool]) -> Cardinality:
    return next(one for one in Cardinality if one.value == kind)


class EchoPlugin(Plugin):
    """Serves ``Echo``."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [Echo()]

    def stub(self, broker: GRPCBroker, channel: Any) -> Any:
        raise NotImplementedError


if __name__ == "__main__":
    serve(ServeConfig(HandshakeConfig(1, "BASIC_PLUGIN", "hello"), {"echo": EchoPlugin()}))
