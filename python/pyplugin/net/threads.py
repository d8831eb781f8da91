"""Servicer methods that block: they run in threads, so that health and Shutdown are answered.

A method that is no coroutine function takes the request, or an iterator of the requests, and
returns the answer, or an iterable of the answers; it raises ``GRPCError`` for a status.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from grpclib.const import Cardinality
    from grpclib.server import Stream

_END = object()


def in_thread(
    method: Callable[[Any], Any], cardinality: Cardinality
) -> Callable[[Stream[Any, Any]], Any]:
    """A handler, as grpclib takes it, that runs ``method`` in a thread."""

    async def handle(stream: Stream[Any, Any]) -> None:
        loop = asyncio.get_running_loop()
        request: Any
        if cardinality.client_streaming:
            request = _requests(stream, loop)
        else:
            request = await stream.recv_message()
        answer = await asyncio.to_thread(method, request)
        if not cardinality.server_streaming:
            await stream.send_message(answer)
            return
        answers = iter(answer)
        while (one := await asyncio.to_thread(next, answers, _END)) is not _END:
            await stream.send_message(one)

    return handle


def _requests(stream: Stream[Any, Any], loop: asyncio.AbstractEventLoop) -> Iterator[Any]:
    while True:
        waiting = asyncio.run_coroutine_threadsafe(stream.recv_message(), loop)
        request = waiting.result()
        if request is None:
            return
        yield request
