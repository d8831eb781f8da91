"""The health service, as Go's health server in a plugin answers it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthBase
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ..constants import GRPC_HEALTH_SERVICE_NAME

if TYPE_CHECKING:
    from grpclib.server import Stream

# Go's health server serves the empty name, which stands for the whole server, from the start.
_SERVING = frozenset({"", GRPC_HEALTH_SERVICE_NAME})


class HealthServicer(HealthBase):
    """``plugin`` is SERVING as long as the process can answer."""

    async def Check(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        """Answers SERVING, or status NOT_FOUND for a service it does not know."""
        request = await stream.recv_message()
        if request is None or request.service not in _SERVING:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(HealthCheckResponse(status=HealthCheckResponse.SERVING))

    async def Watch(self, stream: Stream[HealthCheckRequest, HealthCheckResponse]) -> None:
        """Sends the state once and stays open, since it never changes."""
        request = await stream.recv_message()
        known = request is not None and request.service in _SERVING
        await stream.send_message(
            HealthCheckResponse(
                status=HealthCheckResponse.SERVING if known else HealthCheckResponse.SERVICE_UNKNOWN
            )
        )
        await asyncio.get_running_loop().create_future()
