"""The service by which the host asks the plugin to end (go-plugin ``grpc_controller.go``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._generated import grpc_controller_grpc, grpc_controller_pb2

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from grpclib.server import Stream

__all__ = ["GRPCControllerServicer"]


class GRPCControllerServicer(grpc_controller_grpc.GRPCControllerBase):
    """Answers ``Shutdown`` and tells the serving side of it.

    Args:
        before_answer: Awaited first: a host hangs up once it has the answer.

    Attributes:
        shutdown_event: Set once the host has asked.
    """

    def __init__(self, *, before_answer: Callable[[], Awaitable[object]] | None = None) -> None:
        self.shutdown_event: asyncio.Event = asyncio.Event()
        self._before_answer = before_answer

    async def Shutdown(
        self, stream: Stream[grpc_controller_pb2.Empty, grpc_controller_pb2.Empty]
    ) -> None:
        """Sets ``shutdown_event`` when the answer is on its way."""
        await stream.recv_message()
        if self._before_answer is not None:
            await self._before_answer()
        await stream.send_message(grpc_controller_pb2.Empty())
        self.shutdown_event.set()
