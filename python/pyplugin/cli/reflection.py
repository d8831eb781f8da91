"""What a plugin tells about its services, by gRPC reflection."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from grpclib.client import Channel, Stream

# Seconds for a plugin that answers health checks to answer this too.
REFLECTION_TIMEOUT = 10.0
# How deep files may import each other.
_MAX_DEPTH = 100
# The newer first.
_VERSIONS = ("v1", "v1alpha")
# Of every go-plugin plugin, and not what it is there for.
_INFRASTRUCTURE = ("grpc.health.", "grpc.reflection.", "plugin.GRPC")


class ReflectionError(Exception):
    """The plugin has reflection, and what it says makes no sense."""


@dataclass(frozen=True)
class Reflection:
    """The services of a plugin.

    Attributes:
        version: Of the reflection service: ``v1`` or ``v1alpha``.
        services: Descriptors by full name; None for those the plugin cannot describe.
        pool: Has all of their messages.
    """

    version: str
    services: dict[str, ServiceDescriptor | None]
    pool: DescriptorPool

    def methods(self) -> list[MethodDescriptor]:
        """Every method of the services that are described."""
        return [
            method for service in self.services.values() if service for method in service.methods
        ]


def is_infrastructure(service: str) -> bool:
    """Whether a service is go-plugin's or gRPC's own."""
    return service.startswith(_INFRASTRUCTURE)


async def reflect(channel: Channel, timeout: float | None) -> Reflection | None:
    """Asks the plugin for everything; None where it offers no reflection.

    Args:
        channel: The connection to it.
        timeout: Seconds for all of it; None for ten.

    Raises:
        ReflectionError: It does not answer, or its answer cannot be used.
    """
    seconds = timeout or REFLECTION_TIMEOUT
    for version in _VERSIONS:
        package = f"grpclib.reflection.{version}"
        stub = importlib.import_module(f"{package}.reflection_grpc").ServerReflectionStub(channel)
        request = importlib.import_module(f"{package}.reflection_pb2").ServerReflectionRequest
        try:
            async with stub.ServerReflectionInfo.open(timeout=seconds) as stream:
                found = await _Inquiry(stream, request).run(version)
                await stream.end()
                while await stream.recv_message() is not None:
                    pass
        except GRPCError as error:
            if error.status is not Status.UNIMPLEMENTED:
                raise ReflectionError(f"{error.status.name}: {error.message}") from error
        except StreamTerminatedError as error:
            raise ReflectionError(str(error)) from error
        except (asyncio.TimeoutError, TimeoutError) as error:
            raise ReflectionError(f"no answer within {seconds:g} s") from error
        else:
            return found
    return None


class _Inquiry:
    """The questions on one stream, one after the other."""

    def __init__(self, stream: Stream[Any, Any], request: Any) -> None:
        self._stream = stream
        self._request = request
        self._files: dict[str, FileDescriptorProto] = {}
        self._pool = DescriptorPool()
        self._added: set[str] = set()

    async def run(self, version: str) -> Reflection:
        reply = await self._ask(list_services="*")
        names = sorted(service.name for service in reply.list_services_response.service)
        services: dict[str, ServiceDescriptor | None] = {}
        for name in names:
            services[name] = await self._describe(name)
        return Reflection(version, services, self._pool)

    async def _describe(self, service: str) -> ServiceDescriptor | None:
        if not await self._load(file_containing_symbol=service):
            return None
        try:
            for name in list(self._files):
                await self._add(name)
            return self._pool.FindServiceByName(service)
        except KeyError:
            return None
        except TypeError as error:
            raise ReflectionError(f"its description of {service} is broken: {error}") from error

    async def _add(self, name: str, depth: int = 0) -> None:
        """Puts a file into the pool, after those that it imports."""
        if name in self._added:
            return
        if depth > _MAX_DEPTH:
            raise ReflectionError(f"its files import each other more than {_MAX_DEPTH} deep")
        self._added.add(name)
        if name not in self._files and not await self._load(file_by_filename=name):
            return
        file = self._files[name]
        for imported in file.dependency:
            await self._add(imported, depth + 1)
        self._pool.AddSerializedFile(file.SerializeToString())

    async def _load(self, **question: str) -> bool:
        reply = await self._ask(**question)
        if reply.HasField("error_response"):
            return False
        try:
            for data in reply.file_descriptor_response.file_descriptor_proto:
                file = FileDescriptorProto.FromString(data)
                self._files.setdefault(file.name, file)
        except DecodeError as error:
            raise ReflectionError(f"it sent no description of a file: {error}") from error
        return question.get("file_by_filename") in {None, *self._files}

    async def _ask(self, **question: str) -> Any:
        await self._stream.send_message(self._request(**question))
        reply = await self._stream.recv_message()
        if reply is None:
            raise ReflectionError("it ended the stream of reflection without an answer")
        return reply


def from_file(data: bytes) -> Reflection:
    """The services of a ``FileDescriptorSet``.

    Raises:
        ReflectionError: It is none, or lacks an imported file.
    """
    pool = DescriptorPool()
    services: dict[str, ServiceDescriptor | None] = {}
    try:
        for file in FileDescriptorSet.FromString(data).file:
            pool.AddSerializedFile(file.SerializeToString())
            for service in pool.FindFileByName(file.name).services_by_name.values():
                services[service.full_name] = service
    except DecodeError as error:
        raise ReflectionError("it is no FileDescriptorSet") from error
    except TypeError as error:
        raise ReflectionError(f"{error}; was it made with --include_imports?") from error
    return Reflection("", services, pool)
