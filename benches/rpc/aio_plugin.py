"""A server of grpc.aio in the place of a plugin: ``python -m benches.rpc.aio_plugin``."""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from benches.readings import end_with_host
from benches.rpc.aio import OPTIONS, handlers


async def _shutdown(_request: bytes, _: Any) -> bytes:
    os._exit(0)


async def main() -> None:
    """Serves until it is told to end, or its host is gone."""
    server = grpc.aio.server(options=OPTIONS)
    methods = {"Shutdown": grpc.unary_unary_rpc_method_handler(_shutdown)}
    controller = grpc.method_handlers_generic_handler("plugin.GRPCController", methods)
    server.add_generic_rpc_handlers([*handlers(), controller])
    path = str(Path(tempfile.mkdtemp(), "socket"))
    server.add_insecure_port(f"unix:{path}")
    await server.start()
    print(f"1|1|unix|{path}|grpc|", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    threading.Thread(target=end_with_host, args=[2], daemon=True).start()
    asyncio.run(main())
