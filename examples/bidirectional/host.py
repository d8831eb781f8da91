"""The host: python examples/bidirectional/host.py put KEY NUMBER | get KEY.

COUNTER_PLUGIN is the plugin's command, go-plugin's example plugin for instance; without it the
Python plugin beside this file runs. AUTO_MTLS=1 secures the connection, and the one back.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

from counter import HANDSHAKE, AddHelperServicer, Counter, CounterPlugin
from grpclib.exceptions import GRPCError

from pyplugin import Client, ClientConfig

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py"))]


async def main(*arguments: str) -> int:
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"counter": CounterPlugin()},
        cmd=shlex.split(os.environ.get("COUNTER_PLUGIN", "")) or PLUGIN,
        auto_mtls=os.environ.get("AUTO_MTLS") == "1",
    )
    async with Client(config) as client:
        counter: Counter = client.dispense("counter")
        match arguments:
            case ["get", key]:
                print(await counter.get(key))
            case ["put", key, number]:
                await counter.put(key, int(number), AddHelperServicer())
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(*sys.argv[1:])))
    except (GRPCError, ValueError) as error:
        sys.exit(f"Error: {error.message if isinstance(error, GRPCError) else error}")
