"""The host: python examples/sandboxed_runner/host.py.

It runs the plugin in a sandbox, asks what it sees there, and swaps notes with it by the broker.

GUEST_PLUGIN is the plugin's command; without it the Python plugin beside this file runs.
AUTO_MTLS=1 secures all connections.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from pathlib import Path

import guest_pb2
from guest import HANDSHAKE, GuestPlugin, NoteServicer, read_note
from sandbox import Sandbox

from pyplugin import Client, ClientConfig, PyPluginError

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py"))]


async def main() -> None:
    config = ClientConfig(
        handshake_config=HANDSHAKE,
        plugins={"guest": GuestPlugin()},
        cmd=shlex.split(os.environ.get("GUEST_PLUGIN", "")) or PLUGIN,
        auto_mtls=os.environ.get("AUTO_MTLS") == "1",
        runner_func=Sandbox,
    )
    async with Client(config) as client:
        guest = client.dispense("guest")
        mine = client.broker.next_id()
        await client.broker.accept_and_serve(mine, [NoteServicer("from the host")])
        swap = await guest.Swap(guest_pb2.SwapRequest(note=mine))
        print(f"  The plugin read: {swap.read}")
        print(f"  The host read: {await read_note(client.broker, swap.note)}")

        reattach = client.reattach_config()
        assert reattach is not None
        folder = Path(reattach.addr).parent
        look = await guest.Look(guest_pb2.LookRequest(host_folder=str(folder)))
        print(f"  The plugin is process {look.pid}; its network: {', '.join(look.interfaces)}")
        sockets = sorted(path.name for path in folder.iterdir())
        same = "the same" if sockets == sorted(look.sockets) else "not the same"
        print(f"  {len(sockets)} sockets in {folder}")
        print(f"  {len(look.sockets)} sockets, {same}, in {look.folder} of the sandbox")
        print(f"  {len(look.at_host_folder)} files in {folder} of the sandbox")


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except PyPluginError as error:
        sys.exit(f"Error: {error}")
