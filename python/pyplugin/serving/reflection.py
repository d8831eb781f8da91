"""gRPC reflection, v1 and v1alpha, over this package's descriptor pool and the process-wide one.

Nothing of it is imported before a first request: few plugins are ever asked, all pay for start-up.
Both versions have the same messages on the wire, so one implementation answers both.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from grpclib.const import Cardinality, Handler, Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import FileDescriptor
    from grpclib.server import Stream

_SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class _Bytes(bytes):
    """A message in its encoded form, as grpclib's codec handles messages."""

    @classmethod
    def FromString(cls, data: bytes) -> _Bytes:
        return cls(data)

    def SerializeToString(self) -> bytes:
        return bytes(self)


class ReflectionServicer:
    """Lists the services of a server and describes their messages.

    Args:
        servicers: The other servicers of the server.
    """

    def __init__(self, servicers: Iterable[Any]) -> None:
        names = {path.split("/")[1] for servicer in servicers for path in servicer.__mapping__()}
        self._names = sorted(names.union(_SERVICES))

    def __mapping__(self) -> dict[str, Handler]:
        return {
            f"/{service}/ServerReflectionInfo": Handler(
                self.ServerReflectionInfo, Cardinality.STREAM_STREAM, _Bytes, _Bytes
            )
            for service in _SERVICES
        }

    async def ServerReflectionInfo(self, stream: Stream[_Bytes, _Bytes]) -> None:
        """Answers each request; a file is sent at most once a stream, as grpc-go does."""
        from grpclib.reflection.v1.reflection_pb2 import ServerReflectionRequest

        importlib.import_module("grpclib.reflection.v1alpha.reflection_pb2")
        sent: set[str] = set()
        async for data in stream:
            request = ServerReflectionRequest.FromString(data)
            reply = self._answer(request, sent)
            reply.valid_host = request.host
            reply.original_request.CopyFrom(request)
            await stream.send_message(_Bytes(reply.SerializeToString()))

    def _answer(self, request: Any, sent: set[str]) -> Any:
        from grpclib.reflection.v1 import reflection_pb2 as pb2

        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            services = [pb2.ServiceResponse(name=name) for name in self._names]
            return pb2.ServerReflectionResponse(
                list_services_response=pb2.ListServiceResponse(service=services)
            )
        try:
            if kind == "file_by_filename":
                files = _files(_find("FindFileByName", request.file_by_filename), sent)
            elif kind == "file_containing_symbol":
                files = _files(_find_symbol(request.file_containing_symbol), sent)
            elif kind == "file_containing_extension":
                wanted = request.file_containing_extension
                message = _find("FindMessageTypeByName", wanted.containing_type)
                extension = message.file.pool.FindExtensionByNumber(
                    message, wanted.extension_number
                )
                files = _files(extension.file, sent)
            elif kind == "all_extension_numbers_of_type":
                message = _find("FindMessageTypeByName", request.all_extension_numbers_of_type)
                numbers = [item.number for item in message.file.pool.FindAllExtensions(message)]
                return pb2.ServerReflectionResponse(
                    all_extension_numbers_response=pb2.ExtensionNumberResponse(
                        base_type_name=message.full_name, extension_number=numbers
                    )
                )
            else:
                return _error(Status.INVALID_ARGUMENT, "the request asks for nothing known")
        except KeyError as error:
            return _error(Status.NOT_FOUND, f"not found: {error.args[0]}")
        return pb2.ServerReflectionResponse(
            file_descriptor_response=pb2.FileDescriptorResponse(file_descriptor_proto=list(files))
        )


def _find(method: str, name: str) -> Any:
    from google.protobuf import descriptor_pool

    from .._generated._pool import POOL

    try:
        return getattr(POOL, method)(name)
    except KeyError:
        return getattr(descriptor_pool.Default(), method)(name)


def _find_symbol(name: str) -> FileDescriptor:
    try:
        return _find("FindFileContainingSymbol", name)  # type: ignore[no-any-return]
    except KeyError:
        # Pools know no methods: a method is in the file of its service.
        service = _find("FindServiceByName", name.rpartition(".")[0])
        if name.rpartition(".")[2] not in service.methods_by_name:
            raise
        return service.file  # type: ignore[no-any-return]


def _files(file: FileDescriptor, sent: set[str]) -> Iterator[bytes]:
    """``file`` and what it imports, less what the client has; ``file`` itself always."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    wanted, first = [file], True
    while wanted:
        file = wanted.pop()
        if file.name in sent and not first:
            continue
        first = False
        sent.add(file.name)
        proto = FileDescriptorProto()
        file.CopyToProto(proto)
        yield proto.SerializeToString()
        wanted.extend(file.dependencies)


def _error(status: Status, message: str) -> Any:
    from grpclib.reflection.v1 import reflection_pb2 as pb2

    return pb2.ServerReflectionResponse(
        error_response=pb2.ErrorResponse(error_code=status.value, error_message=message)
    )
