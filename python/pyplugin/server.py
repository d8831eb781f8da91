"""``serve()``: the life of a plugin's process (go-plugin ``server.go`` ``Serve``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ._compat import timeout
from .broker import GRPCBroker, GRPCBrokerServicer
from .controller import GRPCControllerServicer
from .cookie import validate_or_exit
from .environment import PluginEnvironment
from .errors import TLSError
from .handshake import format_line, negotiate_version
from .net.grpc.connection import configured
from .net.grpc.server import PluginServer
from .net.tasks import TaskScope
from .net.transport import open_listener
from .plugin import Plugin, as_versioned
from .reattach import ReattachConfig
from .serving.config import ServeConfig, ServeTestConfig
from .serving.early import count_unread, take_buffered
from .serving.hclog import configure_logging
from .serving.health import HealthServicer
from .serving.orphan import HostWatch
from .serving.reflection import ReflectionServicer
from .serving.stdio import GRPCStdioServicer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .mtls import Cert
    from .net.mux import MuxConnection
    from .net.tls import TLS
    from .net.transport import Listener
    from .plugin import PluginSet

__all__ = ["ServeConfig", "ServeTestConfig", "serve", "serve_async", "serve_dev"]

# Id of the process that wrote its handshake: a second one would reach nobody. One that it forked
# may have a host of its own.
_served_by: int | None = None
# Seconds for the process to end once everything it served has been closed.
_EXIT_TIMEOUT = 1.0
# How much of what is wrong a warning quotes.
_QUOTED_BYTES = 80


def serve(config: ServeConfig) -> None:
    """Serves a plugin until its host asks it to end. Call it from ``main()``.

    It checks the magic cookie, listens, writes the handshake line to stdout and serves. The host's
    ``Shutdown``, SIGTERM or the death of the host ends it (a SIGTERM that the program handles
    itself is left to it); SIGINT is ignored, the host decides what it means.

    Raises:
        RuntimeError: Called in an event loop, or a second time.
        SystemExit: Status 1: not started by its host, or it cannot serve; the reason is on stderr.
    """
    if _is_in_loop():
        raise RuntimeError("serve() cannot run in an event loop: `await serve_async(config)` there")
    is_test = _is_test(config)
    _prepare(config)
    exits = _LastResort(enabled=not is_test)
    try:
        status = asyncio.run(_serve(config, exits))
    finally:
        exits.cancel()
    if status:
        sys.exit(status)


async def serve_async(config: ServeConfig) -> None:
    """Serves a plugin as ``serve()`` does, in the event loop of a program that has its own.

    The program goes on when it returns. Cancelling it ends the serving; ``on_shutdown`` is not
    called then. SIGINT and SIGTERM are the program's again afterwards; what it had its loop call
    for one of them, by ``add_signal_handler``, is called meanwhile too.

    Raises:
        SystemExit: As ``serve()``. With ``config.test`` the reason itself is raised.
    """
    _prepare(config)
    if status := await _serve(config, _LastResort(enabled=False)):
        sys.exit(status)


async def serve_dev(config: ServeConfig, name: str) -> None:
    """Serves a plugin that a developer started, in a debugger for example, for hosts to attach to.

    It prints what they attach by, ``{name: {...}}`` in go-plugin's field names, as one line of JSON
    on stdout: the form of Terraform's ``TF_REATTACH_PROVIDERS``. Ctrl-C, SIGTERM or cancelling it
    ends it; hosts that attach leave it running.

    Args:
        config: What is served. ``test`` is set by this function.
        name: What the host calls the plugin: ``registry.terraform.io/me/mine`` for example.

    Raises:
        OSError: It cannot serve, likewise LookupError, ValueError and TLSError.
    """
    test = ServeTestConfig()
    configure_logging(config.log_level)
    logger = config.logger or logging.getLogger("pyplugin.plugin")
    tasks = TaskScope("serve", logger)
    restore = [_handle(number, test.stop.set) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        ready = tasks.spawn(_print_reattach(test, name), "ready")
        await serve_async(replace(config, test=test))
        await ready
    finally:
        for undo in restore:
            undo()
        await tasks.aclose()


async def _print_reattach(test: ServeTestConfig, name: str) -> None:
    import json

    reattach = await test.reattach_config()
    sys.stdout.write(json.dumps({name: reattach.to_go()}) + "\n")
    sys.stdout.flush()


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _is_test(config: ServeConfig) -> bool:
    return config.test_mode or config.test is not None


def _prepare(config: ServeConfig) -> None:
    if not _is_test(config):
        validate_or_exit(config.handshake_config)
        configure_logging(config.log_level)
        _check_first()


def _check_first() -> None:
    if _served_by == os.getpid():
        raise RuntimeError(
            "a process serves its plugin once, and this one has: its host reads no second "
            "handshake; name all plugins in one ServeConfig"
        )


class _LastResort:
    """Ends a process whose handlers do not end when they are cancelled.

    ``asyncio.run()`` waits without limit for tasks that ignore their cancellation, and for threads
    that handlers started; a host that is gone could not end such a plugin.
    """

    def __init__(self, *, enabled: bool) -> None:
        self._timer = threading.Timer(_EXIT_TIMEOUT, os._exit, [0]) if enabled else None
        if self._timer:
            self._timer.daemon = True

    def start(self) -> None:
        """Gives the process its last second."""
        if self._timer:
            self._timer.start()

    def cancel(self) -> None:
        """Everything ended by itself; what the program still does is its own affair."""
        if self._timer:
            self._timer.cancel()


async def _serve(config: ServeConfig, exits: _LastResort) -> int:
    logger = config.logger or logging.getLogger("pyplugin.plugin")
    async with contextlib.AsyncExitStack() as undo:
        try:
            return await _serve_until_shutdown(config, logger, exits, undo)
        except BaseException as error:
            if config.test is not None:
                config.test.set_failed(error)
            raise


async def _serve_until_shutdown(
    config: ServeConfig,
    logger: logging.Logger,
    exits: _LastResort,
    undo: contextlib.AsyncExitStack,
) -> int:
    """Serves. What ``undo`` is given ends it, in the opposite order and to the last."""
    is_test = _is_test(config)
    stdio = GRPCStdioServicer(logger)
    controller = GRPCControllerServicer(before_answer=stdio.flush)
    shutdown = controller.shutdown_event
    if not is_test:
        _handle_signals(shutdown, logger, undo)
    try:
        # A test's own environment says nothing of a host.
        environment = PluginEnvironment.from_mapping(
            os.environ if config.test is None else config.test.environment
        )
        cert, tls = _tls(config, environment)
        listener = open_listener(environment, force_tcp=config.force_tcp)
    except (OSError, LookupError, ValueError, TLSError) as error:
        if config.test is not None:
            raise
        logger.error("cannot serve this plugin: %s", error)
        return 1
    undo.callback(exits.start)
    undo.callback(listener.close)
    if bad := environment.bad_versions:
        logger.warning(
            "%d of the protocol versions that the host listed are no integers, the first is %r",
            len(bad),
            bad[0][:_QUOTED_BYTES],
        )
    versioned = as_versioned(config.plugins, config.handshake_config.protocol_version)
    version = negotiate_version(versioned, environment.versions)
    mux = None
    if environment.wants_multiplex:
        from .net.mux import MuxConnection

        mux = MuxConnection(
            is_host=False, on_stream=lambda stream: server.accept(stream), logger=logger
        )
        undo.push_async_callback(mux.aclose)
    tasks = TaskScope("serve", logger)
    undo.push_async_callback(tasks.aclose)
    configuration = configured(config.grpc_options)
    broker = GRPCBroker(
        open_listener=lambda: open_listener(environment, force_tcp=config.force_tcp),
        identity=tls,
        logger=logger,
        mux=mux,
        peer="the host",
        configuration=configuration,
    )
    own = [GRPCBrokerServicer(broker), controller, stdio, HealthServicer()]
    server = PluginServer(
        _servicers(versioned[version], broker, own), logger=logger, configuration=configuration
    )
    context = tls.server_context if tls else None
    if mux is None:
        await server.serve_on(listener, tls=context)
    else:
        server.serve_streams(tls=context, on_close=listener.close)
        tasks.spawn(_serve_mux(listener, mux, shutdown), "mux")
    undo.push_async_callback(server.wait_closed)
    undo.push_async_callback(broker.close)
    undo.callback(server.close)
    undo.push_async_callback(stdio.close)
    handshake = partial(_handshake, listener, version, environment, cert)
    printed = b""
    if not is_test:
        if config.orphan_guard:
            watch = HostWatch(shutdown.set)
            undo.callback(watch.close)
            watch.start()
        _check_first()
        global _served_by
        _served_by = os.getpid()
        printed = _take_early_output(logger)
        try:
            _write_stdout(os.fsencode(handshake() + "\n"))
        except (OSError, ValueError) as error:
            logger.error("cannot tell the host where this plugin listens: %s", error)
            return 1
    if config.test.sync_stdio if config.test else not is_test:
        stdio.redirect()
    # A host that reads it no more loses only this.
    with contextlib.suppress(OSError):
        _write_stdout(printed)
    if config.test is not None:
        config.test.set_ready(_reattach_config(listener, version, cert), handshake())
        tasks.spawn(_stop(config.test, shutdown), "test")
    await shutdown.wait()
    await _call_on_shutdown(config, logger)
    return 0


def _take_early_output(logger: logging.Logger) -> bytes:
    """Warns of what was printed before the handshake. Returns what can still come after it."""
    printed = take_buffered()
    if printed:
        logger.warning(
            "this plugin printed to stdout before its handshake: %r. It is sent after it this "
            "time, since Python had it buffered; unbuffered the host would take it for the "
            "handshake, and fail. Print nothing before serve(), or to stderr",
            printed[:_QUOTED_BYTES].decode("utf-8", "replace"),
        )
    if unread := count_unread():
        logger.warning(
            "%d bytes were written to stdout before this plugin's handshake: the host takes the "
            "first line for the handshake, and fails. Print nothing before serve(), or to stderr",
            unread,
        )
    return printed


async def _stop(test: ServeTestConfig, shutdown: asyncio.Event) -> None:
    await test.stop.wait()
    shutdown.set()


async def _call_on_shutdown(config: ServeConfig, logger: logging.Logger) -> None:
    if config.on_shutdown is None:
        return
    try:
        async with timeout(config.shutdown_grace):
            try:
                await config.on_shutdown()
            except Exception:
                # A TimeoutError of its own too.
                logger.exception("on_shutdown raised")
    except TimeoutError:
        logger.error(
            "on_shutdown did not end within %g s: see shutdown_grace", config.shutdown_grace
        )


def _reattach_config(listener: Listener, version: int, cert: Cert | None) -> ReattachConfig:
    return ReattachConfig(
        pid=os.getpid(),
        addr=listener.address.address,
        network=listener.address.network,
        protocol_version=version,
        server_cert_pem=cert.cert_pem if cert else None,
        test=True,
    )


async def _serve_mux(listener: Listener, mux: MuxConnection, shutdown: asyncio.Event) -> None:
    """Takes the host's one connection. Without it nobody can reach this plugin any more."""
    from .net.mux import accept

    try:
        await accept(listener, mux)
        await asyncio.shield(mux.lost)
    finally:
        shutdown.set()


def _tls(config: ServeConfig, environment: PluginEnvironment) -> tuple[Cert | None, TLS | None]:
    if config.tls_provider is not None:
        from .net.tls import OwnTLS

        # What the host says of AutoMTLS does not count then, as in Go.
        own = OwnTLS(config.tls_provider())
        _ = own.server_context
        return None, own
    if environment.client_cert_pem is None:
        return None, None
    # Loaded here only: a plugin without TLS starts faster without it.
    from . import mtls

    cert = mtls.generate()
    peer = environment.client_cert_pem.encode("utf-8", "replace")
    identity = mtls.Identity(cert.cert_pem, cert.key_pem, peer)
    # An unreadable certificate is reported before the handshake, not by the first connection.
    _ = identity.server_context
    return cert, identity


def _servicers(plugins: PluginSet, broker: GRPCBroker, own: list[Any]) -> list[Any]:
    servicers = list(own)
    for name, plugin in plugins.items():
        if not isinstance(plugin, Plugin):
            raise TypeError(
                f"plugin {name!r} must be an instance of pyplugin.Plugin, not {plugin!r}"
            )
        added = plugin.servicers(broker)
        if not isinstance(added, list | tuple) or not all(hasattr(s, "__mapping__") for s in added):
            raise TypeError(
                f"servicers() of plugin {name!r} must return a list of grpclib servicers, not "
                f"{added!r}"
            )
        servicers += added
    return [*servicers, ReflectionServicer(servicers)]


def _handshake(
    listener: Listener, version: int, environment: PluginEnvironment, cert: Cert | None
) -> str:
    server_cert = ""
    if cert is not None:
        from .mtls import encode_handshake_cert

        server_cert = encode_handshake_cert(cert.cert_der)
    return format_line(
        app_protocol_version=version,
        network=listener.address.network,
        address=listener.address.address,
        server_cert=server_cert,
        # Hosts that did not ask read at most six parts.
        multiplex_supported=None if environment.multiplex is None else True,
    )


def _write_stdout(data: bytes) -> None:
    # Past Python's buffer, where something that was printed may wait.
    while data:
        data = data[os.write(1, data) :]


def _handle_signals(
    shutdown: asyncio.Event, logger: logging.Logger, undo: contextlib.AsyncExitStack
) -> None:
    # A terminal sends SIGINT to the whole group; what it means to plugins, their host decides.
    message = "SIGINT ignored: the host ends its plugins"
    undo.callback(_handle(signal.SIGINT, partial(logger.debug, message)))

    def end() -> None:
        shutdown.set()
        # The next one ends the process at once.
        restore()

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        restore = _handle(signal.SIGTERM, end)
        undo.callback(restore)


def _handle(number: signal.Signals, on_signal: Callable[[], object]) -> Callable[[], None]:
    """Has the event loop call ``on_signal``. Returns what gives the signal back.

    Not by a handler of the loop's: one that the program gave its loop could never be restored. As
    it is, the loop calls that one as well.
    """
    loop, before = asyncio.get_running_loop(), signal.getsignal(number)

    def handle(*_: object) -> None:
        loop.call_soon_threadsafe(on_signal)

    def restore() -> None:
        # By now the program may have another.
        if signal.getsignal(number) is handle:
            signal.signal(number, signal.SIG_DFL if before is None else before)

    # Outside the main thread nobody may set one.
    with contextlib.suppress(ValueError):
        signal.signal(number, handle)
    return restore
