"""What a handler has of a call, and what becomes of its answer: the usual call and the others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from typing import TYPE_CHECKING, Any

import kv_grpc
import kv_pb2
import pytest
from grpclib.client import UnaryStreamMethod
from grpclib.const import Cardinality, Handler, Status
from grpclib.events import (
    RecvMessage,
    RecvRequest,
    SendInitialMetadata,
    SendMessage,
    SendTrailingMetadata,
    listen,
)
from grpclib.exceptions import GRPCError, ProtocolError
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    Event,
    PingAckReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)

from pyplugin._compat import timeout
from pyplugin.net.grpc.answer import ServerStream
from pyplugin.net.grpc.connection import CALL_ERRORS
from tests.net.test_grpc import LOGGER, Servicer, Tidy, get, pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import grpclib.server

    from pyplugin.net.grpc.channel import PluginChannel

    Call = grpclib.server.Stream[Any, Any]
    Method = Callable[[Call], Coroutine[Any, Any, None]]

REQUEST = kv_pb2.GetRequest(key="bytes:1")
REPLY = kv_pb2.GetResponse(value=b"v")


class Answering(Servicer):
    """Answers Get by the function it is given, and Many, a stream of answers, by the same."""

    def __init__(self, answer: Method) -> None:
        super().__init__()
        self.answer = answer

    async def Get(self, stream: Call) -> None:
        await self.answer(stream)

    def __mapping__(self) -> dict[str, Handler]:
        many = Handler(self.Get, Cardinality.UNARY_STREAM, kv_pb2.GetRequest, kv_pb2.GetResponse)
        return {**super().__mapping__(), "/proto.KV/Many": many}


def many(channel: PluginChannel) -> Any:
    return UnaryStreamMethod(channel, "/proto.KV/Many", kv_pb2.GetRequest, kv_pb2.GetResponse)


async def ignore(_: Any) -> None:
    """A listener that changes nothing."""


# Calls with something of their own, and the usual one
WAYS: dict[str, dict[str, Any]] = {
    "usual": {},
    "metadata": {"metadata": {"colour": "red"}},
    "deadline": {"timeout": 60},
}
ways = pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)


@ways
@pytest.mark.parametrize("listens", [False, True], ids=["alone", "listener"])
async def test_a_handler_sees_what_came_with_the_call(
    options: dict[str, Any], listens: bool
) -> None:
    seen: list[Call] = []

    async def answer(call: Call) -> None:
        seen.append(call)
        assert await call.recv_message() == REQUEST
        assert await call.recv_message() is None
        await call.send_message(REPLY)

    async with pair(Answering(answer), tls=True) as (channel, server):
        if listens:
            listen(server, RecvRequest, ignore)
        for _ in range(2):
            assert await get(channel, "bytes:1", **options) == b"v"
        for call in seen:
            assert list((call.metadata or {}).items()) == list(options.get("metadata", {}).items())
            assert call.metadata is not None
            assert (call.deadline is not None) == ("timeout" in options)
            if call.deadline is not None:
                assert 50 < call.deadline.time_remaining() <= 60
            assert call.user_agent is not None
            assert call.user_agent.startswith("grpc-python-grpclib/")
            assert call.peer.cert() is not None
    assert seen[0].metadata is not seen[1].metadata


@ways
async def test_what_a_handler_says_beside_its_message_arrives(options: dict[str, Any]) -> None:
    async def answer(call: Call) -> None:
        await call.send_initial_metadata(metadata={"first": "1"})
        await call.send_message(REPLY)
        await call.send_trailing_metadata(metadata={"last-bin": b"\0"})

    async with pair(Answering(answer)) as (channel, _):
        async with kv_grpc.KVStub(channel).Get.open(**options) as stream:
            await stream.send_message(REQUEST, end=True)
            assert await stream.recv_message() == REPLY
            await stream.recv_trailing_metadata()
        assert dict(stream.initial_metadata or {}) == {"first": "1"}
        assert dict(stream.trailing_metadata or {}) == {"last-bin": b"\0"}


@pytest.mark.parametrize("is_late", [False, True], ids=["before", "after the first call"])
async def test_listeners_see_and_change_a_call(is_late: bool) -> None:
    seen: list[Any] = []

    async def answer(call: Call) -> None:
        assert call.metadata is not None
        seen.append(call.metadata.get("added"))
        request: Any = await call.recv_message()
        await call.send_message(kv_pb2.GetResponse(value=request.key.encode()))

    async def on_request(event: RecvRequest) -> None:
        seen.append((event.method_name, event.content_type, event.deadline))
        assert event.user_agent is not None
        assert event.peer is not None
        event.metadata["added"] = "by a listener"
        handle = event.method_func

        async def around(stream: Call) -> None:
            seen.append("around")
            await handle(stream)

        event.method_func = around

    async def on_received(event: RecvMessage) -> None:
        event.message = kv_pb2.GetRequest(key=event.message.key + "!")

    async def on_sent(event: SendMessage) -> None:
        event.message = kv_pb2.GetResponse(value=event.message.value + b"?")

    async def on_initial(event: SendInitialMetadata) -> None:
        event.metadata["initial"] = "i"

    async def on_trailing(event: SendTrailingMetadata) -> None:
        seen.append((event.status, event.status_message))
        event.metadata["trailing"] = "t"

    async with pair(Answering(answer)) as (channel, server):
        if is_late:
            assert await get(channel, "a") == b"a"
            assert seen == [None]
            seen.clear()
        listen(server, RecvRequest, on_request)
        listen(server, RecvMessage, on_received)
        listen(server, SendMessage, on_sent)
        listen(server, SendInitialMetadata, on_initial)
        listen(server, SendTrailingMetadata, on_trailing)
        async with kv_grpc.KVStub(channel).Get.open() as stream:
            await stream.send_message(kv_pb2.GetRequest(key="a"), end=True)
            reply = await stream.recv_message()
            await stream.recv_trailing_metadata()
        assert reply == kv_pb2.GetResponse(value=b"a!?")
        assert dict(stream.initial_metadata or {}) == {"initial": "i"}
        assert dict(stream.trailing_metadata or {}) == {"trailing": "t"}
    assert seen == [
        ("/proto.KV/Get", "application/grpc", None),
        "around",
        "by a listener",
        (Status.OK, None),
    ]


async def test_a_listener_that_comes_during_a_call_sees_the_rest_of_it() -> None:
    servicer = Servicer()
    async with pair(servicer) as (channel, server):
        async with kv_grpc.KVStub(channel).Get.open() as stream:
            await stream.send_message(kv_pb2.GetRequest(key="wait"), end=True)
            await servicer.waiting.acquire()

            async def on_trailing(event: SendTrailingMetadata) -> None:
                event.metadata["late"] = "1"

            listen(server, SendTrailingMetadata, on_trailing)
            servicer.go_on.set()
            await stream.recv_message()
            await stream.recv_trailing_metadata()
        assert dict(stream.trailing_metadata or {}) == {"late": "1"}


class Counting:
    """A call that counts the requests; it is handed to a handler in the call's place."""

    __slots__ = ("call", "count")

    def __init__(self, call: Call) -> None:
        self.call, self.count = call, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.call, name)

    async def recv_message(self) -> Any:
        self.count += 1
        return await self.call.recv_message()


async def test_a_listener_may_put_its_own_object_in_the_place_of_the_call() -> None:
    calls: list[Counting] = []

    async def on_request(event: RecvRequest) -> None:
        handle: Any = event.method_func

        async def count(stream: Call) -> None:
            calls.append(Counting(stream))
            await handle(calls[-1])

        event.method_func = count

    async with pair(Servicer()) as (channel, server):
        listen(server, RecvRequest, on_request)
        assert await get(channel, "bytes:1") == b"\0"
    assert [call.count for call in calls] == [1]


@ways
async def test_what_is_sent_twice_is_refused(options: dict[str, Any]) -> None:
    errors: list[str] = []

    async def answer(call: Call) -> None:
        await call.recv_message()
        steps: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {
            "send_initial_metadata": call.send_initial_metadata,
            "send_message": lambda: call.send_message(REPLY),
            "send_trailing_metadata": call.send_trailing_metadata,
        }
        for step in steps.values():
            await step()
        for step in steps.values():
            try:
                await step()
            except ProtocolError as error:
                errors.append(str(error))

    async with pair(Answering(answer)) as (channel, _):
        assert await get(channel, "k", **options) == b"v"
    assert errors == [
        "Initial metadata was already sent",
        "Message was already sent",
        "Trailing metadata was already sent",
    ]


async def test_an_answer_that_lacks_its_message_is_refused() -> None:
    errors: list[str] = []

    async def answer(call: Call) -> None:
        await call.send_initial_metadata()
        try:
            await call.send_trailing_metadata()
        except ProtocolError as error:
            errors.append(str(error))
        await call.send_message(REPLY)

    async with pair(Answering(answer)) as (channel, _):
        assert await get(channel, "k") == b"v"
    assert errors == ["Unary response with OK status requires a single message to be sent"]


async def test_answers_of_tasks_that_send_at_once_all_arrive() -> None:
    async def answer(call: Call) -> None:
        await call.recv_message()
        await call.send_initial_metadata()

        async def send(number: int) -> None:
            for _ in range(50):
                await call.send_message(kv_pb2.GetResponse(value=b"%d" % number * 1000))
                await asyncio.sleep(0)

        await asyncio.gather(*map(send, range(8)))

    async with pair(Answering(answer)) as (channel, _):
        replies = [reply.value for reply in await many(channel)(REQUEST)]
    assert sorted(replies) == [b"%d" % number * 1000 for number in range(8) for _ in range(50)]


@pytest.mark.parametrize("is_beside", [False, True], ids=["handler", "beside"])
async def test_a_message_does_not_wait_for_its_handler(is_beside: bool) -> None:
    go_on = asyncio.Event()

    async def answer(call: Call) -> None:
        await call.recv_message()
        if is_beside:
            await asyncio.gather(call.send_message(REPLY), go_on.wait())
        else:
            await call.send_message(REPLY)
            await go_on.wait()

    async with pair(Answering(answer)) as (channel, _):
        for _ in range(2):  # the first takes along what the connections say of themselves
            async with kv_grpc.KVStub(channel).Get.open() as stream:
                await stream.send_message(REQUEST, end=True)
                async with timeout(5):
                    assert await stream.recv_message() == REPLY
                go_on.set()
                await stream.recv_trailing_metadata()
            go_on.clear()


async def test_a_task_that_sends_after_its_handler_is_told_so() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def answer(call: Call) -> None:
        await call.recv_message()
        await call.send_message(REPLY)

        async def late() -> None:
            await is_over.wait()
            await call.send_message(REPLY)

        tasks.append(asyncio.ensure_future(late()))

    is_over = asyncio.Event()
    async with pair(Answering(answer)) as (channel, _):
        assert [reply.value for reply in await many(channel)(REQUEST)] == [b"v"]
        is_over.set()
        with pytest.raises(CALL_ERRORS):
            await tasks[0]


@pytest.mark.parametrize("hangs_up", [False, True], ids=["cancelled", "lost"])
async def test_a_task_that_waits_to_send_is_told_that_the_call_is_over(hangs_up: bool) -> None:
    tasks: list[asyncio.Task[None]] = []

    async def answer(call: Call) -> None:
        # More than a reader who reads nothing lets through.
        big = kv_pb2.GetResponse(value=bytes(2**23))
        tasks.append(asyncio.ensure_future(call.send_message(big)))
        await asyncio.Event().wait()

    async with pair(Answering(answer)) as (channel, _):
        with contextlib.suppress(GRPCError):
            async with many(channel).open() as stream:
                await stream.send_message(REQUEST, end=True)
                await stream.recv_initial_metadata()
                # What the window lets through has come: the rest waits.
                buffer = stream._stream.buffer
                while sum(map(len, buffer._waiting)) < 2**22:
                    buffer._came.clear()
                    await buffer._came.wait()
                if hangs_up:
                    channel.close()
                else:
                    await stream.cancel()
        async with timeout(10):
            await asyncio.wait(tasks)
    (task,) = tasks
    assert hangs_up or isinstance(task.exception(), CALL_ERRORS)


async def test_a_handler_that_cancels_its_call_ends_it(caplog: pytest.LogCaptureFixture) -> None:
    async def answer(call: Call) -> None:
        await call.cancel()
        with pytest.raises(ProtocolError, match="already cancelled"):
            await call.cancel()

    async with pair(Answering(answer)) as (channel, _):
        with pytest.raises(GRPCError):
            await get(channel, "k")
    assert caplog.records == []


async def test_a_handler_that_makes_nothing_of_its_cancellation_is_not_blamed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    servicer = Answering(lambda call: answer(call))

    async def answer(call: Call) -> None:
        await call.recv_message()
        with contextlib.suppress(asyncio.CancelledError):
            await servicer._do("wait", "")
        servicer.waiting.release()

    async with pair(servicer) as (channel, _):
        call = asyncio.ensure_future(get(channel, "k"))
        await servicer.waiting.acquire()
        call.cancel()
        await servicer.waiting.acquire()
    assert LOGGER.name not in {record.name for record in caplog.records}


# Clients that do odd things: a hand-driven h2 connection on the other side


class Client:
    """The client's side of one connection, driven by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.h2 = H2Connection(
            H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        )
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(2**30)

    def send(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(self, fields: list[tuple[str, str]], key: str | None = None) -> int:
        """Begins a call, and sends its message where there is a key."""
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields)
        if key is not None:
            message = kv_pb2.GetRequest(key=key).SerializeToString()
            self.h2.send_data(stream_id, b"\0" + len(message).to_bytes(4, "big") + message, True)
        return stream_id

    async def until(self, *kinds: type[Event]) -> list[Event]:
        """Sends, and reads up to an event of one of these kinds."""
        events: list[Event] = []
        while not any(isinstance(event, kinds) for event in events):
            self.send()
            data = await self.reader.read(65536)
            assert data, "the server has hung up"
            events += self.h2.receive_data(data)
        return events

    async def all_read(self) -> None:
        """Waits until the server has read all that was sent."""
        self.h2.ping(b"all read")
        await self.until(PingAckReceived)

    async def outcome(self) -> list[str]:
        """What becomes of one call: the headers that say so, or the code of its reset."""
        found = []
        for event in await self.until(StreamEnded, StreamReset):
            if isinstance(event, ResponseReceived | TrailersReceived):
                fields: Any = event.headers
                found += [f"{name} {value}" for name, value in fields if name.endswith("status")]
            elif isinstance(event, StreamReset) and ":status 200" not in found:
                found.append(f"reset {int(event.error_code or 0)}")
        return found


@contextlib.asynccontextmanager
async def hand_driven(channel: PluginChannel) -> AsyncIterator[Client]:
    """One more connection to the server that the channel is connected to."""
    client = Client(*await asyncio.open_unix_connection(str(channel._path)))
    try:
        yield client
    finally:
        client.writer.close()
        with contextlib.suppress(OSError):
            await client.writer.wait_closed()


HEADERS = {
    ":method": "POST",
    ":scheme": "http",
    ":path": "/proto.KV/Get",
    ":authority": "localhost",
    "te": "trailers",
    "content-type": "application/grpc",
}
ANSWER = [":status 200", "grpc-status 0"]


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, ANSWER),
        ({"content-type": "application/grpc+proto"}, ANSWER),
        ({"content-type": "application/grpc+json"}, [":status 415", "grpc-status 2"]),
        ({"content-type": "application/json"}, [":status 415", "grpc-status 2"]),
        ({"content-type": None}, [":status 415", "grpc-status 2"]),
        ({"te": None}, [":status 400", "grpc-status 2"]),
        ({":method": "GET"}, [":status 405"]),
        ({":path": "/proto.KV/None"}, [":status 200", "grpc-status 12"]),
        ({":authority": None}, ANSWER),
        ({"user-agent": "curl"}, ANSWER),
        ({"grpc-timeout": "1H"}, ANSWER),
        ({"grpc-timeout": "soon"}, [":status 200", "grpc-status 2"]),
        ({"grpc-encoding": "identity"}, ANSWER),
        ({"grpc-trace-bin": "AAAA"}, ANSWER),
        ({"name": "value"}, ANSWER),
        ({"name-bin": "AAAA"}, ANSWER),
        ({"name-bin": "A"}, ["reset 2"]),
    ],
    ids=str,
)
async def test_the_fields_of_a_request_say_what_becomes_of_it(
    changes: dict[str, str | None], outcome: list[str]
) -> None:
    fields = [(k, v) for k, v in {**HEADERS, **changes}.items() if v is not None]
    async with pair(Servicer()) as (channel, _), hand_driven(channel) as client:
        for _ in range(2):
            client.request(fields, "bytes:1")
            assert await client.outcome() == outcome


async def test_of_fields_that_come_twice_the_last_counts() -> None:
    usual, other = list(HEADERS.items()), ("content-type", "text/plain")
    async with pair(Servicer()) as (channel, _), hand_driven(channel) as client:
        for fields, outcome in (
            ([*usual[:-1], other, usual[-1]], ANSWER),
            ([*usual, other], [":status 415", "grpc-status 2"]),
        ):
            client.request(fields, "bytes:1")
            assert await client.outcome() == outcome


async def test_a_reset_while_the_server_closes_does_not_disturb_who_cleans_up() -> None:
    servicer = Tidy()
    async with pair(servicer) as (channel, server), hand_driven(channel) as client:
        stream_id = client.request(list(HEADERS.items()), "wait")
        client.send()
        await servicer.waiting.acquire()
        server.close()
        await servicer.waiting.acquire()
        client.h2.reset_stream(stream_id, error_code=8)
        await client.all_read()
        servicer.go_on.set()
        await server.wait_closed()
    assert servicer.is_tidy


async def test_answers_that_were_given_arrive_although_the_server_closes() -> None:
    closing: list[asyncio.Task[None]] = []

    async def close() -> None:
        server.close()
        await server.wait_closed()

    async def answer(call: Call) -> None:
        await call.recv_message()
        await call.send_message(REPLY)
        if not closing:
            closing.append(asyncio.ensure_future(close()))

    async with pair(Answering(answer)) as (channel, server):
        async with hand_driven(channel) as client:
            await client.all_read()
            for _ in range(3):
                client.request(list(HEADERS.items()), "k")
            assert await client.outcome() == ANSWER * 3
        await closing[0]


# What is left of calls


class Leaving(Servicer):
    """Tells when a handler that waited is left."""

    def __init__(self) -> None:
        super().__init__()
        self.left = asyncio.Semaphore(0)

    async def _do(self, name: str, argument: str) -> bytes:
        try:
            return await super()._do(name, argument)
        finally:
            if name == "wait":
                self.left.release()


def held() -> int:
    """How many calls of servers are held by anything."""
    gc.collect()
    return sum(type(thing) is ServerStream for thing in gc.get_objects())


async def usual_calls(client: Client, servicer: Leaving) -> None:
    for number in range(2000):
        fields = {**HEADERS, "user-agent": str(number)}
        client.request(list(fields.items()), "bytes:1")
        await client.outcome()


async def calls_with_metadata(client: Client, servicer: Leaving) -> None:
    for number in range(500):
        client.request([*HEADERS.items(), ("name", str(number))], "bytes:1")
        await client.outcome()


async def calls_that_are_none(client: Client, servicer: Leaving) -> None:
    for _ in range(500):
        client.request([*HEADERS.items(), ("name-bin", "A")])
        await client.outcome()


async def resets_before_they_begin(client: Client, servicer: Leaving) -> None:
    for _ in range(20):
        for _ in range(100):
            client.h2.reset_stream(client.request(list(HEADERS.items())), error_code=8)
        await client.all_read()


async def waiting_calls(client: Client, servicer: Leaving) -> list[int]:
    ids = [client.request(list(HEADERS.items()), "wait") for _ in range(200)]
    client.send()
    for _ in ids:
        await servicer.waiting.acquire()
    return ids


async def resets_of_calls_that_wait(client: Client, servicer: Leaving) -> None:
    for _ in range(5):
        ids = await waiting_calls(client, servicer)
        for stream_id in ids:
            client.h2.reset_stream(stream_id, error_code=8)
        client.send()
        for _ in ids:
            await servicer.left.acquire()


async def a_loss_with_calls_that_wait(client: Client, servicer: Leaving) -> None:
    ids = await waiting_calls(client, servicer)
    client.writer.transport.abort()
    for _ in ids:
        await servicer.left.acquire()


@pytest.mark.parametrize(
    "use",
    [
        usual_calls,
        calls_with_metadata,
        calls_that_are_none,
        resets_before_they_begin,
        resets_of_calls_that_wait,
        a_loss_with_calls_that_wait,
    ],
    ids=lambda use: use.__name__,
)
async def test_nothing_stays_of_calls_that_are_over(
    use: Callable[[Client, Leaving], Coroutine[Any, Any, None]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL)
    servicer = Leaving()
    async with pair(servicer) as (channel, server):
        await get(channel, "bytes:1")
        before = held()
        async with hand_driven(channel) as client:
            await use(client, servicer)
            # The last call's task is over in the loop's next turns.
            await get(channel, "bytes:1")
            assert held() == before
            handlers: Any = server._handlers
            for handler in handlers:
                assert not handler._tasks
                assert not handler._cancelled
                assert not handler._releases


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has no eager tasks")
async def test_nothing_stays_of_calls_whose_tasks_end_as_they_begin() -> None:
    def eager(loop: Any, work: Any, **options: Any) -> Any:
        # asyncio's own factory does not take all that uvloop gives.
        return asyncio.Task(work, loop=loop, **{**options, "eager_start": True})

    loop = asyncio.get_running_loop()
    loop.set_task_factory(eager)
    async with pair(Servicer()) as (channel, server):
        assert await get(channel, "bytes:1") == b"\0"
        async with hand_driven(channel) as client:
            for _ in range(100):
                client.request([*HEADERS.items(), ("content-type", "text/plain")])
            client.send()
            await client.all_read()
            assert [len(handler._tasks) for handler in server._handlers] == [0, 0]
    loop.set_task_factory(None)
