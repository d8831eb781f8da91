"""JSON that becomes messages: from the command line, a file or stdin."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from .options import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message

STDIN = "-"
# How far a thread may read ahead of the plugin, in reads of at most 64 KiB.
_READ_BYTES = 64 * 1024
_READ_AHEAD = 4


async def read_messages(
    source: str, kind: type[Message], pool: DescriptorPool, *, is_stream: bool
) -> AsyncIterator[Message]:
    """The messages that ``source`` holds, as they come.

    Args:
        source: JSON, ``@`` and the name of a file, or ``-`` for stdin.
        kind: The class of the messages.
        pool: Where ``google.protobuf.Any`` finds others.
        is_stream: Each line is a message, empty ones apart; else all of it is one.

    Raises:
        UsageError: The file cannot be read, or the JSON is no such message.
    """
    texts = _lines(_pieces(source)) if is_stream else _whole(_pieces(source))
    number = 0
    async for text in texts:
        if is_stream and not text.strip():
            continue
        number += 1
        try:
            yield json_format.Parse(text, kind(), descriptor_pool=pool)
        except (json_format.ParseError, UnicodeDecodeError) as error:
            name = kind.DESCRIPTOR.full_name
            raise UsageError(f"message {number} is no {name} in JSON: {error}") from error


async def _whole(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield b"".join([piece async for piece in pieces])


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    yield rest


async def _pieces(source: str) -> AsyncIterator[bytes]:
    if source == STDIN:
        if sys.stdin is None:
            raise UsageError("there is no stdin to read messages from")
        async for piece in _read(sys.stdin.fileno()):
            yield piece
    elif source.startswith("@"):
        try:
            file = Path(source[1:]).open("rb")  # noqa: ASYNC230, SIM115
        except OSError as error:
            raise UsageError(f"{source[1:]!r}: {error.strerror}") from error
        with file:
            while piece := file.read(_READ_BYTES):
                yield piece
    else:
        yield source.encode()


async def _read(descriptor: int) -> AsyncIterator[bytes]:
    """Reads what may be slow, and of any kind: no loop can watch a file.

    The thread ends with the process. It takes no part in Python's own buffers, whose locks it
    would then hold.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(_READ_AHEAD)

    def read() -> None:
        piece: bytes | OSError = b" "
        # RuntimeError: the loop is closed, nobody wants more.
        with contextlib.suppress(RuntimeError):
            while piece and isinstance(piece, bytes):
                room.acquire()
                try:
                    piece = os.read(descriptor, _READ_BYTES)
                except OSError as error:
                    piece = error
                loop.call_soon_threadsafe(queue.put_nowait, piece)

    threading.Thread(target=read, daemon=True, name="pyplugin:stdin").start()
    while piece := await queue.get():
        if isinstance(piece, OSError):
            raise UsageError(f"stdin: {piece.strerror}") from piece
        yield piece
        room.release()


def to_json(message: Message, pool: DescriptorPool) -> Any:
    """A message as JSON's values, its fields in lowerCamelCase; bytes are base64.

    Raises:
        GRPCError: JSON has no form for it: it holds a time beyond the year 9999, or a
            ``google.protobuf.Any`` of a type that is not in ``pool``.
    """
    try:
        return json_format.MessageToDict(message, descriptor_pool=pool)
    except (json_format.Error, TypeError, ValueError) as error:
        reason = f"the answer cannot be written as JSON: {error}"
        raise GRPCError(Status.INTERNAL, reason) from error
