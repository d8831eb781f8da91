"""The host: python examples/supervisor/host.py [CRASHES].

It has a supervisor keep a plugin running that crashes CRASHES times, 2 unless said otherwise; and
replaces it by its next version while it is called all the time.

AUTO_MTLS=1 secures the connections.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import worker_pb2
from worker import HANDSHAKE, WorkerPlugin

from pyplugin import ClientConfig, PluginCrashed, ProcessExitedError, RestartPolicy, Supervisor

PLUGIN = Path(__file__).with_name("plugin.py")
# After the third restart in a row the plugin is given up.
POLICY = RestartPolicy(delay=0.05, max_restarts=3)


def config(version: str) -> ClientConfig:
    return ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"worker": WorkerPlugin()},
        cmd=[sys.executable, str(PLUGIN), version],
        auto_mtls=os.environ.get("AUTO_MTLS") == "1",
    )


async def crash(supervisor: Supervisor, worker: Any) -> None:
    """Loses the plugin in a call; the next call waits for the next plugin."""
    try:
        await worker.Crash(worker_pb2.CrashRequest())
    except PluginCrashed as error:
        print(f"  Crash: the plugin exited with status {error.exit_code}")
    reply = await worker.Work(worker_pb2.WorkRequest(text="hello"))
    print(f"  Work: {reply.text} by version {reply.version}, after restart {supervisor.restarts}")


async def swap(supervisor: Supervisor, worker: Any) -> None:
    """Replaces the plugin under a caller that never stops, and sees no error."""
    versions: list[str] = []

    async def keep_calling() -> None:
        while "2" not in versions:
            reply = await worker.Work(worker_pb2.WorkRequest(text="hello"))
            versions.append(reply.version)

    await asyncio.gather(keep_calling(), supervisor.swap(config("2")))
    order = " and then ".join(dict.fromkeys(versions))
    print(f"  Swap: calls went to version {order}, and none failed")


async def main(crashes: int) -> None:
    async with Supervisor(config("1"), POLICY) as supervisor:
        # This stub outlives the plugins.
        worker = supervisor.dispense("worker")
        for _ in range(crashes):
            await crash(supervisor, worker)
        await swap(supervisor, worker)


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2))
    except ProcessExitedError as error:
        sys.exit(f"Error: {error}")
