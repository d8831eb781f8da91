# Made by scripts/gen_protos.py. Do not edit.
from __future__ import annotations

import abc
from typing import TYPE_CHECKING

import grpclib.const

import worker_pb2

if TYPE_CHECKING:
    import grpclib.client
    import grpclib.server


class WorkerBase(abc.ABC):
    @abc.abstractmethod
    async def Work(
        self, stream: grpclib.server.Stream[worker_pb2.WorkRequest, worker_pb2.WorkReply]
    ) -> None: ...

    @abc.abstractmethod
    async def Crash(
        self, stream: grpclib.server.Stream[worker_pb2.CrashRequest, worker_pb2.CrashReply]
    ) -> None: ...

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        return {
            "/worker.Worker/Work": grpclib.const.Handler(
                self.Work,
                grpclib.const.Cardinality.UNARY_UNARY,
                worker_pb2.WorkRequest,
                worker_pb2.WorkReply,
            ),
            "/worker.Worker/Crash": grpclib.const.Handler(
                self.Crash,
                grpclib.const.Cardinality.UNARY_UNARY,
                worker_pb2.CrashRequest,
                worker_pb2.CrashReply,
            ),
        }


class WorkerStub:
    def __init__(self, channel: grpclib.client.Channel) -> None:
        import grpclib.client

        self.Work = grpclib.client.UnaryUnaryMethod(
            channel, "/worker.Worker/Work", worker_pb2.WorkRequest, worker_pb2.WorkReply
        )
        self.Crash = grpclib.client.UnaryUnaryMethod(
            channel, "/worker.Worker/Crash", worker_pb2.CrashRequest, worker_pb2.CrashReply
        )
