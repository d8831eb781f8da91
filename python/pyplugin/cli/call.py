"""Call a method of a plugin, with JSON in and out.

METHOD is SERVICE/METHOD; a service without its package, or a method alone, will do where only one
fits. MESSAGE is JSON, @FILE, or - for stdin; nothing is an empty message. A method that takes a
stream gets a message for each line, of stdin where nothing else is said. Answers go to stdout: a
single one as indented JSON, those of a stream as a line each, when they come. With --json every
answer is a line {"message": …}, and the last line says how the call ended.

METHOD and MESSAGE may also end the plugin's command, as in
  pyplugin call --cookie K=V -- ./plugin kv.KV/Get '{"key": "a"}'
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.message_factory import GetMessageClass
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.metadata import encode_metadata

from .. import Client
from ..net.grpc.connection import CALL_ERRORS
from ..net.tasks import TaskScope
from .messages import STDIN, read_messages, to_json
from .options import UsageError, add_plugin_options, client_config, pair
from .output import Style, complain, entry_json, entry_text, json_text, write, write_json
from .reflection import ReflectionError, from_file, is_infrastructure, reflect

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import AsyncIterator

    from google.protobuf.descriptor import MethodDescriptor
    from google.protobuf.message import Message
    from grpclib.client import Channel, Stream

    from .. import LogBatch
    from .reflection import Reflection

USAGE = "[options] METHOD [MESSAGE] -- COMMAND…"
ARGUMENTS = {"method": "SERVICE/METHOD", "message": "JSON, @FILE or -"}
# What a status is added to for the exit status.
_STATUS_BASE = 64


def add_options(parser: ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--metadata",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="to send with the call, once for each; the value of a key that ends in -bin is base64",
    )
    parser.add_argument(
        "--descriptors",
        metavar="FILE",
        help="the services, in place of reflection: from protoc --descriptor_set_out=FILE "
        "--include_imports",
    )
    add_plugin_options(parser)


async def run(options: Namespace) -> int:
    """Runs the command; returns its exit status."""
    _take_from_command(options)
    metadata = [_metadata(text) for text in options.metadata]
    known = _read_descriptors(options.descriptors) if options.descriptors else None
    style = Style(sys.stderr)

    def show(batch: LogBatch) -> None:
        for entry in batch:
            sys.stderr.write(entry_text(entry_json(entry), style) + "\n")
        sys.stderr.flush()

    level = "trace" if options.verbose else "warn"
    async with Client(client_config(options, log_sink=show, log_level=level)) as client:
        channel: Channel = client.dispense("plugin")
        try:
            services = known or await reflect(channel, options.timeout)
        except ReflectionError as error:
            complain(f"reflection failed: {error}")
            return 1
        if services is None:
            raise UsageError("the plugin offers no reflection: give its services by --descriptors")
        method = _find(services, options.method)
        call = _Call(channel, services, method, options)
        return await call.run(metadata)


def _take_from_command(options: Namespace) -> None:
    """Finds method and message at the end of the plugin's command, where they are not before it."""
    words = options.command
    if options.method is None and words:
        # What begins so is no name of a method.
        if len(words) > 1 and (words[-1] == STDIN or words[-1].startswith(("{", "@"))):
            options.message = words.pop()
        options.method = words.pop()
    if options.method is None:
        raise UsageError("Which method? `pyplugin call [options] SERVICE/METHOD -- COMMAND…`")


def _metadata(text: str) -> tuple[str, str | bytes]:
    key, value = pair("--metadata", text)
    key = key.lower()
    try:
        found = key, base64.b64decode(value, validate=True) if key.endswith("-bin") else value
        encode_metadata([found])
    except binascii.Error as error:
        raise UsageError(f"--metadata {key}: its value is no base64: {error}") from error
    except ValueError as error:
        raise UsageError(f"--metadata {key}: no call can carry this: {error}") from error
    return found


def _read_descriptors(path: str) -> Reflection:
    try:
        return from_file(Path(path).read_bytes())
    except (OSError, ReflectionError) as error:
        raise UsageError(f"--descriptors {path}: {error}") from error


def _find(services: Reflection, wanted: str) -> MethodDescriptor:
    """The one method that is meant.

    Raises:
        UsageError: None is, or several are.
    """
    service, _, name = wanted.strip("/").replace("/", ".").rpartition(".")
    found = [
        method
        for method in services.methods()
        if method.name == name and f".{_service(method)}".endswith(f".{service}" if service else "")
    ]
    exact = [method for method in found if _service(method) == service]
    own = [method for method in found if not is_infrastructure(_service(method))]
    for fitting in (exact, own, found):
        if len(fitting) == 1:
            return fitting[0]
    if found:
        names = ", ".join(f"{_service(method)}/{method.name}" for method in found)
        raise UsageError(f"{wanted!r} may be any of: {names}")
    names = ", ".join(
        f"{_service(method)}/{method.name}"
        for method in services.methods()
        if not is_infrastructure(_service(method))
    )
    raise UsageError(f"the plugin has no method {wanted!r}; it has: {names or 'none'}")


def _service(method: MethodDescriptor) -> str:
    return str(method.containing_service.full_name)


class _Call:
    """One call, of whatever kind: it is sent and received at the same time."""

    def __init__(
        self, channel: Channel, services: Reflection, method: MethodDescriptor, options: Namespace
    ) -> None:
        self._channel = channel
        self._pool = services.pool
        self._method = method
        self._streams = method.client_streaming, method.server_streaming
        self._has_ended = False
        self._timeout = options.timeout
        self._is_json = options.json
        self._request = GetMessageClass(method.input_type)
        self._reply = GetMessageClass(method.output_type)
        source = options.message
        if source is None:
            source = STDIN if method.client_streaming else "{}"
        self._messages = read_messages(
            source, self._request, self._pool, is_stream=method.client_streaming
        )

    async def run(self, metadata: list[tuple[str, str | bytes]]) -> int:
        """Makes the call; returns the exit status."""
        stream = self._channel.request(
            f"/{_service(self._method)}/{self._method.name}",
            next(kind for kind in Cardinality if kind.value == self._streams),
            self._request,
            self._reply,
            timeout=self._timeout,
            metadata=metadata,
        )
        status, message = Status.OK, ""
        try:
            async with stream:
                await stream.send_request()
                await self._exchange(stream)
        except GRPCError as error:
            status, message = error.status, error.message or ""
        except StreamTerminatedError as error:
            status, message = Status.UNAVAILABLE, str(error)
        except (asyncio.TimeoutError, TimeoutError):
            status, message = Status.DEADLINE_EXCEEDED, f"no answer within {self._timeout:g} s"
        if self._is_json:
            ending: dict[str, Any] = {
                "status": status.name,
                "code": status.value,
                "details": message,
            }
            for name in ("initial_metadata", "trailing_metadata"):
                ending[name] = _metadata_json(getattr(stream, name))
            write_json(ending)
        if status is Status.OK:
            return 0
        if not self._is_json:
            complain(f"{status.name}: {message}")
        return _STATUS_BASE + int(status.value)

    async def _exchange(self, stream: Stream[Any, Any]) -> None:
        tasks = TaskScope("call", logging.getLogger("pyplugin.cli"))
        sender = tasks.spawn(self._send(stream, self._messages), "send")
        receiver = tasks.spawn(self._receive(stream), "receive")
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and (wrong := sender.result()) is not None:
                raise wrong
            if (lost := await receiver) is not None:
                raise lost
        finally:
            # One that answers before it has heard all does not want the rest.
            await tasks.aclose()
        if self._method.client_streaming and not self._has_ended:
            await stream.end()

    async def _send(
        self, stream: Stream[Any, Any], messages: AsyncIterator[Message]
    ) -> UsageError | None:
        try:
            async for message in messages:
                await stream.send_message(message)
            if self._method.client_streaming:
                await stream.end()
                self._has_ended = True
        except UsageError as error:
            return error
        except (*CALL_ERRORS, asyncio.TimeoutError, TimeoutError):
            # The receiver gets to know why.
            pass
        return None

    async def _receive(self, stream: Stream[Any, Any]) -> Exception | None:
        try:
            while (message := await stream.recv_message()) is not None:
                self._show(to_json(message, self._pool))
                if not self._method.server_streaming:
                    break
        except (*CALL_ERRORS, OSError, asyncio.TimeoutError) as error:
            return error
        return None

    def _show(self, message: Any) -> None:
        if self._is_json:
            write_json({"message": message})
        elif self._method.server_streaming:
            write_json(message)
        else:
            write(json_text(message, indent=2))


def _metadata_json(metadata: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in metadata.items() if metadata is not None else ():
        text = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        found.setdefault(key, []).append(text)
    return found
