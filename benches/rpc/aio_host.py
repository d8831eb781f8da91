"""A host that has nothing but a channel of grpc.aio: ``python -m benches.rpc.aio_host TASK``.

Its argument is a ``Task`` of benches.broker as JSON, and it prints what that took as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import grpc.aio
from kv import HANDSHAKE

from benches.broker.measures import Counter, Host
from benches.broker.task import Task
from benches.rpc.aio import OPTIONS, AioConnection
from pyplugin.handshake import parse_line


async def measured(task: Task, channel: grpc.aio.Channel) -> dict[str, Any]:
    """What was measured over a channel.

    Raises:
        TimeoutError: It took too long.
    """
    connection: Any = AioConnection(channel)
    return await asyncio.wait_for(Host(task, connection, Counter(0)).measure(), task.seconds)


async def main(task: Task) -> dict[str, Any]:
    """What was measured of a plugin that this starts."""
    plugin = await asyncio.create_subprocess_exec(
        *task.command,
        env={**os.environ, HANDSHAKE.magic_cookie_key: HANDSHAKE.magic_cookie_value},
        stdout=subprocess.PIPE,
        # It ends when nobody reads that any more.
        stderr=subprocess.PIPE,
    )
    assert plugin.stdout is not None
    try:
        line = parse_line((await plugin.stdout.readline()).decode().strip())
        async with grpc.aio.insecure_channel(f"unix:{line.address}", options=OPTIONS) as channel:
            return await measured(task, channel)
    finally:
        plugin.kill()
        await plugin.wait()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Task(**json.loads(sys.argv[1]))))))
