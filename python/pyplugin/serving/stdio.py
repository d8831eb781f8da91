"""The service by which the host reads what the plugin prints (go-plugin ``grpc_stdio.go``)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .._generated import grpc_stdio_grpc

if TYPE_CHECKING:
    from grpclib.server import Stream

    from .._generated import empty_pb2, grpc_stdio_pb2


class GRPCStdioServicer(grpc_stdio_grpc.GRPCStdioBase):
    """Keeps the host's stream open; what the plugin prints goes to its real stdout."""

    async def StreamStdio(self, stream: Stream[empty_pb2.Empty, grpc_stdio_pb2.StdioData]) -> None:
        """Stays open until the plugin ends."""
        await stream.recv_message()
        await asyncio.get_running_loop().create_future()
