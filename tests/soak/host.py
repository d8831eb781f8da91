"""A host that is killed: ``python -m tests.soak.host LOOP``.

It starts plugins and calls them for as long as it lives, and writes the id of each to stdout.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from tests.fixtures import client
from tests.fixtures.authors import AuthorPlugin, Request
from tests.fixtures.logs import LOOPS
from tests.soak import AUTHOR

if TYPE_CHECKING:
    from pyplugin import Client


async def live(plugin: Client) -> None:
    await plugin.start()
    stub = plugin.dispense("kv")
    while True:
        await stub.Get(Request(key="x"))


async def report(plugin: Client) -> None:
    """Writes the id as soon as there is a process."""
    while plugin.pid is None:  # noqa: ASYNC110 -- nothing tells
        await asyncio.sleep(0)
    print(plugin.pid, flush=True)


async def main() -> None:
    plugins = [
        client(AUTHOR, plugins={"kv": AuthorPlugin()}, auto_mtls=is_secure)
        for is_secure in (False, True)
    ]
    await asyncio.gather(*(live(plugin) for plugin in plugins), *map(report, plugins))


if __name__ == "__main__":
    logging.disable()
    LOOPS[sys.argv[1]]().run_until_complete(main())
