"""The host: starts the plugin, greets somebody, counts a text, ends the plugin.

python examples/greeter/host.py "ada"
AUTO_MTLS=1 python examples/greeter/host.py "ada"
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import greeter_pb2
from greeter import HANDSHAKE, GreeterPlugin

from pyplugin import Client, ClientConfig

PLUGIN = Path(__file__).with_name("plugin.py")
TEXT = "the quick brown fox jumps over the lazy dog"


async def main(name: str) -> None:
    auto_mtls = os.environ.get("AUTO_MTLS") == "1"
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"greeter": GreeterPlugin()},
        cmd=[sys.executable, str(PLUGIN)],
        auto_mtls=auto_mtls,
    )
    print(f"starting the plugin ({'mutual TLS' if auto_mtls else 'insecure'})")
    async with Client(config) as client:
        # By the class, type checkers know the stub; by the name, "greeter", they do not.
        greeter = client.dispense(GreeterPlugin)
        greeting = await greeter.Greet(greeter_pb2.GreetRequest(name=name))
        print(f"  Greet: {greeting.message}")
        count = await greeter.Count(greeter_pb2.CountRequest(text=TEXT))
        print(f"  Count: {count.letters} letters in {count.words} words")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "world"))
