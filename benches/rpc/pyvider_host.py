"""The host of pyvider: ``python -m benches.rpc.pyvider_host TASK``, in its environment."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pyvider.rpcplugin import plugin_client, rpcplugin_config

from benches.broker.task import Task
from benches.rpc.aio_host import measured


async def main(task: Task) -> dict[str, Any]:
    """What was measured of a plugin that it starts."""
    rpcplugin_config.plugin_auto_mtls = False
    async with plugin_client(list(task.command)) as client:
        return await measured(task, client.grpc_channel)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Task(**json.loads(sys.argv[1]))))))
