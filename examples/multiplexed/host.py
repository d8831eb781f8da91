"""The host: python examples/multiplexed/host.py [NUMBER].

It puts NUMBER counters, 10 unless said otherwise, at the same time; for each of them the plugin
calls it back, over a channel of its own. All of that goes over one connection.

COUNTER_PLUGIN is the plugin's command, go-plugin's example plugin for instance; without it the
Python plugin beside this file runs. AUTO_MTLS=1 secures the connection, MULTIPLEX=0 lets there be
one for each channel.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import counter_grpc
import counter_pb2
from counter import HANDSHAKE, CounterPlugin

from pyplugin import Client, ClientConfig, UnixSocketConfig

if TYPE_CHECKING:
    from grpclib.server import Stream

PLUGIN = [sys.executable, str(Path(__file__).with_name("plugin.py"))]


class AddHelperServicer(counter_grpc.AddHelperBase):
    """Adds for the plugin, once the plugin has called for every counter.

    Args:
        calls: How many calls that is.
        sockets: The folder in which the unix sockets lie.
    """

    def __init__(self, calls: int, sockets: Path) -> None:
        self._missing = calls
        self._all_called = asyncio.Event()
        self._folder = sockets
        self.most_sockets = 0

    async def Sum(self, stream: Stream[counter_pb2.SumRequest, counter_pb2.SumResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        self._missing -= 1
        if self._missing == 0:
            self.most_sockets = count_sockets(self._folder)
            self._all_called.set()
        await self._all_called.wait()
        await stream.send_message(counter_pb2.SumResponse(r=request.a + request.b))


def count_sockets(folder: Path) -> int:
    return sum(path.is_socket() for path in folder.glob("*/*"))


async def put(client: Client, key: str, number: int, add_helper: AddHelperServicer) -> None:
    service_id = client.broker.next_id()
    server = await client.broker.accept_and_serve(service_id, [add_helper])
    try:
        request = counter_pb2.PutRequest(add_server=service_id, key=key, value=number)
        await client.dispense("counter").Put(request)
    finally:
        server.close()
        await server.wait_closed()


async def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as sockets:
        config = ClientConfig(
            handshake_config=HANDSHAKE,
            plugins={"counter": CounterPlugin()},
            cmd=shlex.split(os.environ.get("COUNTER_PLUGIN", "")) or PLUGIN,
            auto_mtls=os.environ.get("AUTO_MTLS") == "1",
            grpc_broker_multiplex=os.environ.get("MULTIPLEX") != "0",
            unix_socket_config=UnixSocketConfig(temp_dir=sockets),
        )
        add_helper = AddHelperServicer(count, Path(sockets))
        async with Client(config) as client:
            sockets_before = count_sockets(Path(sockets))
            numbers = {f"counter-{number}": number for number in range(count)}
            await asyncio.gather(
                *(put(client, key, number, add_helper) for key, number in numbers.items())
            )
            counter = client.dispense("counter")
            values = [await counter.Get(counter_pb2.GetRequest(key=key)) for key in numbers]
    more = add_helper.most_sockets - sockets_before
    print(f"  {count} calls back at the same time, and {more} sockets for them")
    print(f"  The counters add up to {sum(value.value for value in values)}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10))
