"""The plugin of pyvider: ``python -m benches.rpc.pyvider_plugin``, in its environment."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import kv_pb2
from pyvider.rpcplugin import RPCPluginProtocol, plugin_server

from benches.readings import end_with_host
from benches.rpc.aio import handlers


class Protocol(RPCPluginProtocol):  # type: ignore[misc]
    """Serves what grpc.aio's plugin does."""

    protocol_version = 1

    async def get_grpc_descriptors(self) -> tuple[Any, str]:
        return kv_pb2.DESCRIPTOR, "proto.KV"

    async def add_to_server(self, server: Any, handler: Any) -> None:
        del handler
        server.add_generic_rpc_handlers(handlers())


async def main() -> None:
    """Serves until it is told to end, or its host is gone."""
    await plugin_server(Protocol(), object(), transport="unix").serve()


if __name__ == "__main__":
    threading.Thread(target=end_with_host, args=[2], daemon=True).start()
    asyncio.run(main())
