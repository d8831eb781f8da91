"""The Go plugin's keys for the broker and for output, in Python.

As a program it is a plugin that has them, and those of ``tests/fixtures/plugin.py``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "kv"))

import kv_grpc
import kv_pb2
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from kv import HANDSHAKE

from pyplugin import BrokerError, Plugin, ServeConfig, serve
from tests.fixtures.plugin import KVServicer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from grpclib.client import Channel
    from grpclib.server import Server, Stream

    from pyplugin import GRPCBroker, TLSContexts

COMMAND = [sys.executable, __file__]

# How much one call of print() or write() is given.
_PIECE_BYTES = 1000


def numbered(letter: str, count: int) -> bytes:
    """Lines of a letter and six digits, cut at ``count`` bytes: no piece of it is like another."""
    return "".join(f"{letter}{n:06d}\n" for n in range(count // 8 + 1)).encode()[:count]


class Store(kv_grpc.KVBase):
    """What either side serves under an id: values in memory, and keys numbered:COUNT.

    Attributes:
        values: What was put there.
        is_waiting: Set once the key never is asked for, whose value does not come.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.is_waiting = asyncio.Event()

    async def Get(self, stream: Stream[kv_pb2.GetRequest, kv_pb2.GetResponse]) -> None:
        request = await stream.recv_message()
        assert request is not None
        name, _, argument = request.key.partition(":")
        if name == "numbered":
            value = numbered("n", int(argument))
        elif name == "never":
            self.is_waiting.set()
            await asyncio.get_running_loop().create_future()
        elif request.key in self.values:
            value = self.values[request.key]
        else:
            raise GRPCError(Status.NOT_FOUND, f"no key {request.key!r}")
        await stream.send_message(kv_pb2.GetResponse(value=value))

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        self.values[request.key] = request.value
        await stream.send_message(kv_pb2.Empty())


class Servicer(KVServicer):
    """``kvplugin/broker.go`` says what the keys for the broker do.

    ``KV_DIAL_TIMEOUT`` is for how long it dials, ``KV_NOTES`` where it says how that
    ended.
    """

    broker: GRPCBroker

    def __init__(self, broker: GRPCBroker) -> None:
        super().__init__(broker)
        self._servers: dict[int, Server] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def Put(self, stream: Stream[kv_pb2.PutRequest, kv_pb2.Empty]) -> None:
        request = await stream.recv_message()
        assert request is not None
        name, _, argument = request.key.partition(":")
        if name == "dial":
            service_id, _, key = argument.partition(":")
            async with await self._dial(service_id) as channel:
                request.key = key
                await kv_grpc.KVStub(channel).Put(request)
        else:
            self.values[request.key] = request.value
        await stream.send_message(kv_pb2.Empty())

    async def _do(self, name: str, argument: str) -> bytes:
        service_id, _, rest = argument.partition(":")
        match name:
            case "accept":
                service_id = str(self.broker.next_id())
                await self._accept(service_id)
                return service_id.encode()
            case "serve":
                await self._accept(service_id)
            case "stop":
                server = self._servers.pop(int(service_id))
                server.close()
                await server.wait_closed()
            case "dial":
                async with await self._dial(service_id) as channel:
                    reply = await kv_grpc.KVStub(channel).Get(kv_pb2.GetRequest(key=rest))
                    value: bytes = reply.value
                    return value
            case "send":
                key, _, count = rest.partition(":")
                request = kv_pb2.PutRequest(key=key, value=numbered("n", int(count)))
                async with await self._dial(service_id) as channel:
                    await kv_grpc.KVStub(channel).Put(request)
            case "wait":
                task = asyncio.create_task(self._note_end_of_dial(int(service_id)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            case "print" | "write" | "child":
                # As a handler does that knows the loop is not to wait.
                await asyncio.to_thread(OUTPUT[name], service_id, int(rest))
            case "blocking-print":
                output_by_print(service_id, int(rest))
            case _:
                return await super()._do(name, argument)
        return name.encode()

    async def _accept(self, service_id: str) -> None:
        server = await self.broker.accept_and_serve(int(service_id), [Store()])
        self._servers[int(service_id)] = server

    async def _dial(self, service_id: str) -> Channel:
        timeout = float(os.environ.get("KV_DIAL_TIMEOUT", "5"))
        return await self.broker.dial(int(service_id), timeout=timeout)

    async def _note_end_of_dial(self, service_id: int) -> None:
        end = "connected"
        try:
            await self.broker.dial(service_id, timeout=600)
        except (BrokerError, asyncio.CancelledError) as error:
            end = f"{type(error).__name__}: {error}"
        finally:
            Path(os.environ["KV_NOTES"]).write_text(end)


def output_by_print(name: str, count: int) -> None:
    file = getattr(sys, name)
    for piece in pieces(name, count):
        print(piece.decode(), end="", file=file)
    file.flush()


def output_by_write(name: str, count: int) -> None:
    descriptor = {"stdout": 1, "stderr": 2}[name]
    for piece in pieces(name, count):
        while piece:
            piece = piece[os.write(descriptor, piece) :]


def output_by_child(name: str, count: int) -> None:
    """Writes by a program that inherited the descriptor."""
    code = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.{}.buffer)"
    command = [sys.executable, "-S", "-c", code.format(name)]
    subprocess.run(command, input=b"".join(pieces(name, count)), check=True)


def pieces(name: str, count: int) -> list[bytes]:
    data = numbered(name[3], count)
    return [data[at : at + _PIECE_BYTES] for at in range(0, count, _PIECE_BYTES)]


OUTPUT: dict[str, Callable[[str, int], None]] = {
    "print": output_by_print,
    "write": output_by_write,
    "child": output_by_child,
}


class KVPlugin(Plugin):
    """Serves ``Servicer``."""

    def servicers(self, broker: GRPCBroker) -> list[Any]:
        return [Servicer(broker)]

    def stub(self, broker: GRPCBroker, channel: Channel) -> kv_grpc.KVStub:
        return kv_grpc.KVStub(channel)


def own_tls() -> ssl.SSLContext | TLSContexts:
    """TLS of what ``KV_TLS`` names, a folder of certificates."""
    from tests.fixtures.certificates import tls

    return tls(Path(os.environ["KV_TLS"]), "plugin")


if __name__ == "__main__":
    serve(
        ServeConfig(
            HANDSHAKE,
            {"kv": KVPlugin()},
            force_tcp=bool(os.environ.get("KV_TCP")),
            tls_provider=own_tls if os.environ.get("KV_TLS") else None,
        )
    )
