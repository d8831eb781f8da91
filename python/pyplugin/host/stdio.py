"""The host's end of GRPCStdio: what the plugin's own code prints after the handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.exceptions import GRPCError

from .._generated import empty_pb2, grpc_stdio_grpc

if TYPE_CHECKING:
    import logging

    from grpclib.client import Channel


async def drain_stdio(channel: Channel, logger: logging.Logger) -> None:
    """Reads the stream to its end: a Go plugin that prints would block on one nobody reads.

    A plugin without the service is a normal one (go-plugin ``grpc_stdio.go``).
    """
    try:
        async with grpc_stdio_grpc.GRPCStdioStub(channel).StreamStdio.open() as stream:
            await stream.send_message(empty_pb2.Empty(), end=True)
            async for _ in stream:
                pass
    except GRPCError as error:
        logger.debug("the plugin's stdio stream ended: %s", error.message)
