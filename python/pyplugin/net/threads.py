"""Servicer methods that block: they run in threads, so that health and Shutdown are answered.

A method that is no coroutine function takes the request, or an iterator of the requests, and
returns the answer, or an iterable of the answers; it raises ``GRPCError`` for a status. Each call
has a thread of its own, as each has a goroutine in Go: however many of them block, none waits for
another. A thread cannot be ended from outside. One whose call is over, cancelled for example, gets
a ``GRPCError`` of status ``CANCELLED`` when it next asks for a request or gives an answer; one that
never does so ends with the process, which does not wait for it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import threading
from typing import TYPE_CHECKING, Any

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.exceptions import H2Error

from .tasks import TaskScope

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable, Coroutine, Iterator

    from grpclib.const import Cardinality
    from grpclib.server import Stream

    Method = Callable[[Any], Any]
    Work = Callable[[], Coroutine[Any, Any, Any]]

_CURRENT: contextvars.ContextVar[Stream[Any, Any]] = contextvars.ContextVar("pyplugin_call")


def current_call() -> Stream[Any, Any]:
    """The call that a servicer method which runs in a thread is to answer.

    Returns:
        grpclib's stream, of which ``metadata``, ``deadline``, ``peer`` and ``user_agent`` may be
        read. Its coroutines are the event loop's, and not for the thread.

    Raises:
        LookupError: This is no such method. Those that are coroutine functions are given their
            stream.
    """
    try:
        return _CURRENT.get()
    except LookupError:
        raise LookupError("no servicer method runs in this thread") from None


def is_blocking(method: Callable[..., Any]) -> bool:
    """Whether a servicer's method is to run in a thread: it is no coroutine function.

    A decorator that tells what it wraps, by ``functools.wraps``, makes no difference.
    """
    return not inspect.iscoroutinefunction(inspect.unwrap(method))


def in_thread(
    method: Method, cardinality: Cardinality, logger: logging.Logger
) -> Callable[[Stream[Any, Any]], Coroutine[Any, Any, None]]:
    """A handler, as grpclib takes it, that runs ``method`` in a thread."""

    async def handle(stream: Stream[Any, Any]) -> None:
        call = _Call(stream, logger)
        try:
            if cardinality.client_streaming:
                request: Any = call.requests()
            elif (request := await stream.recv_message()) is None:
                raise GRPCError(Status.INTERNAL, "the call ended without its message")
            answer = await call.run(method, request, streams=cardinality.server_streaming)
            if not cardinality.server_streaming:
                await stream.send_message(answer)
        finally:
            await call.aclose()

    return handle


class _Call:
    """One call: what its thread asks the event loop for, and what comes of it."""

    def __init__(self, stream: Stream[Any, Any], logger: logging.Logger) -> None:
        self._stream = stream
        self._logger = logger
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskScope("call", logger)
        # Resolves to what the method returned and raised.
        self._ended: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        self._is_over = False
        # What the thread waits for.
        self._wanted: set[concurrent.futures.Future[Any]] = set()

    # In the event loop

    async def run(self, method: Method, request: Any, *, streams: bool) -> Any:
        """Runs ``method`` in a thread. Returns what it returned; sent already, if it ``streams``.

        Raises:
            BaseException: What the method raised.
        """
        work = self._send_all if streams else self._call
        context = contextvars.copy_context()
        context.run(_CURRENT.set, self._stream)
        # A daemon: the end of the process waits for no other threads.
        threading.Thread(
            target=context.run,
            args=(self._run, work, method, request),
            name=f"pyplugin:{getattr(method, '__name__', 'call')}",
            daemon=True,
        ).start()
        answer, error = await self._ended
        try:
            if error is not None:
                raise error
            return answer
        finally:
            # It holds this frame.
            del error

    async def aclose(self) -> None:
        """The call is over: what the thread still asks for is refused."""
        self._is_over = True
        try:
            await self._tasks.aclose()
        finally:
            for wanted in self._wanted:
                wanted.set_exception(_over())
            self._wanted.clear()

    def _start(self, work: Work, wanted: concurrent.futures.Future[Any]) -> None:
        if self._is_over:
            wanted.set_exception(_over())
            return
        self._wanted.add(wanted)
        self._tasks.spawn(self._fulfil(work, wanted), "message")

    async def _fulfil(self, work: Work, wanted: concurrent.futures.Future[Any]) -> None:
        try:
            result = await work()
        except (H2Error, StreamTerminatedError):
            # The peer is gone, or has cancelled the call.
            wanted.set_exception(_over())
        except Exception as error:
            wanted.set_exception(error)
        else:
            wanted.set_result(result)
        self._wanted.discard(wanted)

    def _end(self, answer: Any, error: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result((answer, error))
        elif error is not None and not isinstance(error, GRPCError):
            self._logger.error("a handler raised after its call had ended", exc_info=error)

    # In the thread

    def requests(self) -> Iterator[Any]:
        """The requests of the stream, as they come."""
        while (request := self._ask(self._stream.recv_message)) is not None:
            yield request

    def _run(self, work: Callable[[Method, Any], Any], method: Method, request: Any) -> None:
        answer, error = None, None
        try:
            answer = work(method, request)
        except BaseException as raised:
            error = raised
        # The loop may have been closed meanwhile.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end, answer, error)

    def _call(self, method: Method, request: Any) -> Any:
        answer = method(request)
        if inspect.iscoroutine(answer):
            answer.close()
            raise TypeError(
                f"{method!r} is no coroutine function, and returned a coroutine: define it with "
                "`async def`, or have its decorator use functools.wraps"
            )
        return answer

    def _send_all(self, method: Method, request: Any) -> None:
        answers = self._call(method, request)
        try:
            for answer in answers:
                self._ask(lambda: self._stream.send_message(answer))  # noqa: B023 -- it waits
        finally:
            if inspect.isgenerator(answers):
                answers.close()

    def _ask(self, work: Work) -> Any:
        wanted: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            self._loop.call_soon_threadsafe(self._start, work, wanted)
        except RuntimeError as error:
            raise _over() from error
        return wanted.result()


def _over() -> GRPCError:
    return GRPCError(Status.CANCELLED, "the call is over")
