"""A host that calls its plugin, opens connections by the broker, and takes what it prints.

It prints what that cost as JSON; benches/go/brokerhost has the same in Go. It runs in the port's
environment too. Its argument is a ``Task`` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from benches.broker.measures import Counter, Host
from benches.broker.service import HANDSHAKE, BrokeredPlugin
from benches.broker.task import Task
from pyplugin import Client, ClientConfig


async def main(task: Task) -> dict[str, Any]:
    """What was measured.

    Raises:
        TimeoutError: It took too long.
    """
    printed = Counter(task.bytes)
    # The port has no option for what is printed.
    options: dict[str, Any] = {}
    if task.measure in ("blocks", "lines"):
        options["sync_stdout"] = printed
    if task.multiplex:
        options["grpc_broker_multiplex"] = True
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"kv_grpc": BrokeredPlugin()},
        cmd=task.command,
        auto_mtls=task.auto_mtls,
        **options,
    )
    async with Client(config) as client:
        host = Host(task, client.dispense("kv_grpc"), printed)
        return await asyncio.wait_for(host.measure(), task.seconds)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(Task(**json.loads(sys.argv[1]))))))
