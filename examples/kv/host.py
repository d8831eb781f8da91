"""The host: python examples/kv/host.py put KEY VALUE | get KEY.

KV_PLUGIN is the plugin's command, go-plugin's example plugin for instance; without it the Python
plugin beside this file runs. AUTO_MTLS=1 secures the connection.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import kv_pb2
from kv import HANDSHAKE, KVPlugin

from pyplugin import Client, ClientConfig

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py"))]


async def main(*arguments: str) -> int:
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"kv_grpc": KVPlugin()},
        cmd=shlex.split(os.environ.get("KV_PLUGIN", "")) or PLUGIN,
        auto_mtls=os.environ.get("AUTO_MTLS") == "1",
    )
    async with Client(config) as client:
        kv = client.dispense("kv_grpc")
        match arguments:
            case ["get", key]:
                reply = await kv.Get(kv_pb2.GetRequest(key=key))
                print(reply.value.decode())
            case ["put", key, value]:
                await kv.Put(kv_pb2.PutRequest(key=key, value=value.encode()))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
