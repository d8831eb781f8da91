"""``Client``: a plugin as its host sees it, from start to end (go-plugin ``client.go``)."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import logging
import os
import shutil
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, overload

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.health.v1.health_grpc import HealthStub
from grpclib.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ._compat import timeout
from ._generated import grpc_broker_grpc, grpc_controller_grpc, grpc_controller_pb2
from .broker import GRPCBroker
from .constants import (
    CORE_PROTOCOL_VERSION,
    ENV_CLIENT_CERT,
    ENV_UNIX_SOCKET_DIR,
    GRPC_HEALTH_SERVICE_NAME,
    PROTOCOL_GRPC,
)
from .environment import PluginEnvironment, host_environment
from .errors import (
    AppProtocolMismatch,
    ConnectionLost,
    CoreProtocolMismatch,
    HandshakeError,
    PluginCrashed,
    ProcessExitedError,
    ProcessNotFound,
    PyPluginError,
    ReattachError,
    StartTimeout,
    TLSError,
    UnsupportedProtocol,
)
from .handshake import HandshakeLine, parse_line
from .host.config import ClientConfig, UnixSocketConfig
from .host.diagnose import advise, diagnose, plugin_name
from .host.guard import GUARD, Drain
from .host.managed import manage
from .host.process import (
    AttachedProcess,
    ProcessRunner,
    describe_exit,
    process_start,
)
from .host.runner import AttachedRunnerProcess, PluginCommand, RunnerProcess
from .host.stderr import StderrReader, check_forward
from .host.stdio import StdioReader
from .host.stdout import StdoutReader
from .net.grpc.channel import PluginChannel
from .net.grpc.connection import configured
from .net.tasks import TaskScope
from .net.tls import OwnTLS
from .net.transport import Address, make_socket_folder, open_listener, remove_socket
from .plugin import as_versioned, matching
from .reattach import ReattachConfig

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import BinaryIO

    from .host.process import PluginProcess
    from .host.runner import RunnerFunc
    from .mtls import Cert, Identity
    from .net.grpc.channel import ErrorFactory
    from .net.mux import MuxConnection, MuxStream
    from .net.transport import AddressTranslator, Listener
    from .plugin import HasStub, PluginSet

__all__ = ["Client", "ClientConfig"]

Self = TypeVar("Self", bound="Client")
Stub = TypeVar("Stub")

# Seconds that a process whose stdout or connection broke has to be seen ending.
_EXIT_GRACE = 0.5
# Seconds for what the plugin printed last to come, once it was asked to end.
_LAST_OUTPUT_TIMEOUT = 0.5
# What a plugin must call, in Python and in Go.
_SERVE = "serve(), or plugin.Serve() in Go"
# How much of a reason, which a plugin may have written, an error repeats, in characters.
_LONGEST_TEXT = 4096
# What a plugin wrote moves no cursor and colours nothing where an error is shown.
_CONTROLS = {n: f"\\x{n:02x}" for n in (*range(9), *range(11, 32), *range(127, 160))}
# Seconds between attempts to reach a plugin that wrote its handshake before it listens.
_RETRY_SECONDS = (0.01, 0.02, 0.05, 0.1)


class _State(enum.Enum):
    IDLE = "was not started"
    STARTING = "is starting"
    RUNNING = "is running"
    KILLED = "was killed"


class Client:
    """One plugin: starts it, talks to it, ends it.

    Use it as ``async with Client(config) as client:``, or call ``start()`` and ``kill()``. It all
    belongs to the event loop that ``start()`` ran in.

    Args:
        config: What to start, or where to attach.

    Raises:
        ValueError: Not exactly one of ``cmd`` (or ``runner_func``) and ``reattach`` is set, or
            ``cmd`` is empty, or a string.
    """

    def __init__(self, config: ClientConfig) -> None:
        is_started = config.cmd is not None or config.runner_func is not None
        if is_started == (config.reattach is not None):
            raise ValueError("exactly one of `cmd` (or `runner_func`) and `reattach` must be set")
        if config.cmd is not None and not config.cmd:
            raise ValueError("`cmd` is empty: it needs at least the plugin's program")
        if isinstance(config.cmd, str):
            raise ValueError(f"`cmd` is the string {config.cmd!r}: it must be a list of words")
        self._config = config
        self._name = plugin_name(config.cmd) if config.cmd else _nameless(config)
        self._logger = config.logger or logging.getLogger("pyplugin.host")
        self._state = _State.IDLE
        self._lock = asyncio.Lock()
        self._tasks = TaskScope("client", self._logger)
        # What ends everything else must not be ended with it.
        self._endings = TaskScope("client", self._logger)
        self._kill_task: asyncio.Task[None] | None = None
        self._failed_start: asyncio.Task[None] | None = None
        self._runner: PluginProcess | None = None
        self._stdout: StdoutReader | None = None
        self._stderr: StderrReader | None = None
        self._sockets = config.unix_socket_config or UnixSocketConfig()
        self._socket_folder: str | None = None
        self._handshake: HandshakeLine | None = None
        self._started_at = 0.0
        self._start_times: dict[str, float] = {}
        self._tls: Identity | OwnTLS | None = None
        self._plugins: PluginSet = {}
        self._channel: PluginChannel | None = None
        self._broker: GRPCBroker | None = None
        self._stdio: StdioReader | None = None
        # Why the plugin could not be connected to last.
        self._refusal = ""
        # The one connection, where it is multiplexed.
        self._mux: MuxConnection | None = None
        if config.managed:
            manage(self)

    async def start(self) -> None:
        """Starts the plugin, or attaches to it, and makes sure that it answers. Idempotent.

        Raises:
            HandshakeError: It could not be started, or its handshake is not one this host accepts;
                the subclasses tell more.
            ProcessExitedError: Its process ended before it was ready.
            StartTimeout: It was not ready within ``start_timeout``.
            TLSError: Mutual TLS failed.
            RuntimeError: This client was killed before.

        The error names the plugin and carries its exit status, the start of its stdout and the end
        of its stderr. Cancellation is safe: like any failure it leaves no process, socket, task or
        file.
        """
        async with self._lock:
            if self._state is _State.RUNNING:
                return
            if self._state is _State.KILLED:
                raise RuntimeError(f"{self} was killed; make a new Client to start it again")
            if self._failed_start is not None:
                # Its caller was cancelled once more while it cleaned up.
                await asyncio.shield(self._failed_start)
            self._state = _State.STARTING
            self._started_at, self._start_times = time.monotonic(), {}
            try:
                await self._start_in_time()
            except BaseException as error:
                self._failed_start = self._endings.spawn(self._abandon_start(error), "failed start")
                await asyncio.shield(self._failed_start)
                raise
            self._state = _State.RUNNING

    @overload
    def dispense(self, name: str) -> Any: ...

    @overload
    def dispense(self, plugin: type[HasStub[Stub]], /) -> Stub: ...

    def dispense(self, name: Any) -> Any:
        """A stub of one plugin: whatever its ``Plugin.stub()`` returns.

        Args:
            name: What the plugin is called, or the class of its ``Plugin``: then type checkers
                know the stub.

        Raises:
            KeyError: The plugin set of the negotiated version has no such plugin, or more than one
                of the class.
            RuntimeError: The client is not started, or was killed.
        """
        channel = self._require(self._channel)
        found = matching(self._plugins, name)
        if len(found) != 1:
            number = "more than one" if found else "no"
            known = ", ".join(map(repr, self._plugins)) or "none"
            raise KeyError(
                f"{self} has {number} plugin {name!r} in version {self.negotiated_version}; "
                f"it has: {known}"
            )
        return found[0].stub(self.broker, channel)

    @property
    def broker(self) -> GRPCBroker:
        """Opens sub-channels to and from the plugin.

        Raises:
            RuntimeError: The client is not started, or was killed.
        """
        return self._require(self._broker)

    @property
    def negotiated_version(self) -> int:
        """The application protocol version that the plugin chose; 0 before ``start()``."""
        return self._handshake.app_protocol_version if self._handshake else 0

    @property
    def pid(self) -> int | None:
        """The plugin's process id; None before it runs."""
        if self._config.reattach is not None:
            return self._config.reattach.pid
        return self._runner.pid if self._runner else None

    @property
    def id(self) -> str:
        """What names the running plugin, its process id for one; empty before it runs."""
        return self._runner.name if self._runner else ""

    @property
    def protocol(self) -> str:
        """What the plugin speaks, ``grpc``; empty before ``start()``."""
        return self._handshake.protocol if self._handshake else ""

    @property
    def handshake_line(self) -> str | None:
        """What the plugin wrote as its handshake, good or bad; None where it wrote no line."""
        line = self._stdout.line if self._stdout else None
        return os.fsdecode(line.result()) or None if line and line.done() else None

    @property
    def start_times(self) -> Mapping[str, float]:
        """Seconds from the last ``start()`` to the end of each phase of it that came to one.

        They are ``process`` (it runs), ``handshake`` (its line was read), ``connection`` (TLS
        included) and ``health`` (it answered a health check; not there where it offers none).
        """
        return dict(self._start_times)

    @property
    def exited(self) -> bool:
        """Whether the plugin's process has ended, or this client was killed."""
        has_ended = self._runner is not None and self._runner.exited.done()
        is_killed = self._kill_task is not None and self._kill_task.done()
        return has_ended or is_killed

    @property
    def stderr_tail(self) -> tuple[bytes, ...]:
        """The last lines of the plugin's stderr, oldest first, without line ends."""
        return self._stderr.tail if self._stderr else ()

    async def wait_exited(self) -> int | None:
        """Waits for the end of the plugin's process, and of its log.

        Returns:
            Its exit status, negative for a signal; None where only its parent gets to know.

        Raises:
            RuntimeError: The client has not started the plugin.
        """
        if self._runner is None:
            raise RuntimeError(f"{self} {self._state.value}: there is no process to wait for")
        status = await asyncio.shield(self._runner.exited)
        await self._finish_pipes()
        return status

    async def ping(self) -> None:
        """Asks the plugin for its health.

        Raises:
            GRPCError: It does not answer; ``ConnectionLost`` when it cannot, and ``PluginCrashed``
                when it is gone.
            HandshakeError: It is not well.
            RuntimeError: The client is not started, or was killed.
        """
        channel = self._require(self._channel)
        try:
            await self._check_health(channel)
        except HandshakeError as error:
            error.plugin = self._name
            error.args = (f"{self}: {error}",)
            raise

    def reattach_config(self) -> ReattachConfig | None:
        """What another host needs to attach to this plugin; None before ``start()``.

        Under AutoMTLS it holds a private key. Of a plugin that a runner runs it has the address as
        it is on this side, and lacks a ``reattach_func``.
        """
        if self._config.reattach is not None or self._handshake is None:
            return self._config.reattach
        identity = None if isinstance(self._tls, OwnTLS) else self._tls
        return ReattachConfig(
            pid=self.pid or 0,
            addr=self._handshake.address,
            network=self._handshake.network,
            protocol=self._handshake.protocol,
            protocol_version=self.negotiated_version,
            server_cert_pem=identity.peer_cert_pem if identity else None,
            client_cert_pem=identity.cert_pem if identity else None,
            client_key_pem=identity.key_pem if identity else None,
            process_start=process_start(self.pid) if self.pid else None,
        )

    async def kill(self) -> None:
        """Ends the plugin and everything of this client. Idempotent.

        It asks the plugin to shut down, and after ``kill_timeout`` seconds each sends SIGTERM and
        then SIGKILL, to the plugin and to all that it started and left in its process group. A
        plugin that was attached to as a ``test`` is left alone. Calls in flight end with a
        ``GRPCError`` of status ``UNAVAILABLE``. When the caller is cancelled, the work goes on to
        its end in the background.
        """
        if self._kill_task is None:
            self._kill_task = self._endings.spawn(self._kill(), "kill")
        await asyncio.shield(self._kill_task)

    async def __aenter__(self: Self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.kill()

    def __repr__(self) -> str:
        return f"<Client of {self} that {self._state.value}>"

    def __str__(self) -> str:
        return f"plugin {self._name!r}" + (f" (pid {self.pid})" if self.pid else "")

    # Start

    async def _start_in_time(self) -> None:
        try:
            async with timeout(self._config.start_timeout):
                await self._start()
        except (PyPluginError, TimeoutError) as error:
            if self._is_killed():
                raise ProcessExitedError("kill() ended it while it was starting") from error
            if isinstance(error, PyPluginError):
                raise
            raise StartTimeout(self._what_it_waited_for()) from error
        if self._is_killed():
            raise ProcessExitedError("kill() ended it while it was starting")

    def _is_killed(self) -> bool:
        return self._state is _State.KILLED

    async def _start(self) -> None:
        self._runner = self._stdout = self._stderr = self._handshake = self._tls = None
        self._refusal = ""
        if (reattach := self._config.reattach) is not None:
            if not reattach.test:
                self._runner = self._attach(reattach)
            self._handshake, self._tls = _reattached(reattach)
        else:
            cert, runner = await self._run_command()
            self._note_end_of("process")
            self._handshake = await self._read_handshake(runner)
            self._note_end_of("handshake")
            self._handshake = self._translated(self._handshake)
            self._tls = self._make_identity(self._handshake, cert)
        self._plugins = self._choose_plugins(self._handshake)
        address = Address(self._handshake.network, self._handshake.address)
        try:
            address.check()
        except ValueError as error:
            raise HandshakeError(f"its handshake names no usable address: {error}") from error
        if self._config.grpc_broker_multiplex and not self._handshake.multiplex_supported:
            raise HandshakeError(
                "its handshake does not offer the multiplexing that this host asked for: update "
                "the plugin's go-plugin or pyplugin, or set grpc_broker_multiplex=False"
            )
        configuration = configured(self._config.grpc_options)
        self._channel = PluginChannel(
            partial(self._open_stream, address) if self._config.grpc_broker_multiplex else address,
            tls=self._tls.client_context if self._tls else None,
            tasks=self._tasks,
            configuration=configuration,
        )
        self._channel.owner = f"the client of {self}"
        await self._reach(self._channel)
        self._channel.explain = self._explain_loss
        self._broker = GRPCBroker(
            open_listener=self._open_listener,
            identity=self._tls,
            logger=self._logger,
            explain=self._explain_loss,
            mux=self._mux,
            translator=self._translator,
            peer=str(self),
            configuration=configuration,
        )
        self._tasks.spawn(self._run_broker(self._channel, self._broker), "broker")
        self._stdio = StdioReader(
            self._name,
            self._logger,
            stdout=self._config.sync_stdout,
            stderr=self._config.sync_stderr,
        )
        self._tasks.spawn(self._stdio.run(self._channel), "stdio")
        if self._runner is not None:
            self._tasks.spawn(self._watch_exit(self._runner, self._broker), "exit")
        self._logger.info("%s started", self)

    def _note_end_of(self, phase: str) -> None:
        self._start_times[phase] = time.monotonic() - self._started_at

    def _attach(self, reattach: ReattachConfig) -> PluginProcess | None:
        """What is attached to, as a process; None where nothing is known of one."""
        runner: AttachedProcess | AttachedRunnerProcess
        if reattach.reattach_func is not None:
            try:
                attached = reattach.reattach_func()
            except ReattachError:
                raise
            except Exception as error:
                raise ReattachError(f"reattach_func raised: {error!r}") from error
            runner = AttachedRunnerProcess(attached, self._name, self._logger)
            runner.watch()
        elif reattach.pid > 0:
            runner = AttachedProcess(reattach.pid, reattach.process_start)
        else:
            return None
        self._watch(runner)
        return runner

    async def _open_stream(self, address: Address) -> MuxStream:
        """A stream of the one connection, which is made for the first."""
        if self._mux is None:
            from .net.mux import connect

            self._mux = await connect(address, self._logger)
        return self._mux.open_stream()

    @property
    def _translator(self) -> AddressTranslator | None:
        runner = self._runner
        return runner.translator if isinstance(runner, AttachedRunnerProcess) else None

    def _translated(self, handshake: HandshakeLine) -> HandshakeLine:
        """The handshake with the address as it is on this side."""
        if self._translator is None:
            return handshake
        try:
            network, address = self._translator.plugin_to_host(handshake.network, handshake.address)
        except Exception as error:
            raise HandshakeError(
                f"plugin_to_host of its runner raised for {handshake.address!r}: {error!r}"
            ) from error
        return dataclasses.replace(handshake, network=network, address=address)

    def _open_listener(self) -> Listener:
        """Where the plugin finds what the broker serves: next to its own sockets."""
        folder = self._socket_folder or self._sockets.temp_dir
        return open_listener(PluginEnvironment(socket_dir=folder, socket_group=self._sockets.group))

    async def _run_command(self) -> tuple[Cert | None, PluginProcess]:
        config = self._config
        command = list(config.cmd or ())
        if config.log_forward is not None:
            check_forward(config.log_forward)
        cert = None
        if config.auto_mtls and config.tls_config is None:
            from . import mtls

            cert = mtls.generate()
        extra = config.env or {}
        sockets = self._sockets
        if ENV_UNIX_SOCKET_DIR not in extra:
            try:
                self._socket_folder = make_socket_folder(sockets.temp_dir, sockets.group)
            except (OSError, LookupError) as error:
                reason = error.args[0] if isinstance(error, LookupError) else error
                raise HandshakeError(
                    f"the folder of its sockets: {reason}; unix_socket_config and TMPDIR say where "
                    "it is, and whose"
                ) from error
        environment = host_environment(
            {} if config.skip_host_env else os.environ,
            extra,
            handshake=config.handshake_config,
            versions=self._versioned(),
            ports=(config.min_port, config.max_port),
            socket_dir=self._socket_folder,
            socket_group=sockets.group,
            client_cert_pem=cert.cert_pem if cert else None,
            multiplex=config.grpc_broker_multiplex,
            orphan_guard=config.orphan_guard,
        )
        if config.runner_func is not None:
            plugin = PluginCommand(args=command, env=environment, cwd=config.cwd)
            return cert, await self._start_runner(config.runner_func, plugin)
        if config.secure_config is not None:
            # A large file takes a while.
            command[0] = await asyncio.to_thread(
                config.secure_config.check, command[0], environment, config.cwd
            )
            if self._is_killed():
                raise ProcessExitedError("kill() ended it before it was started")
        self._runner = runner = ProcessRunner(command, env=environment, cwd=config.cwd)
        self._watch(runner)
        if not config.orphan_guard:
            self._have_drained(runner)
        self._read_pipes(runner.stdout, runner.stderr)
        if config.orphan_guard and GUARD is not None:
            GUARD.add(runner.pid, self._socket_folder)
            runner.gone.add_done_callback(partial(_unguard, runner.pid))
        return cert, runner

    def _have_drained(self, runner: ProcessRunner) -> None:
        """Has a shell read on when this host is gone. Before anything else has the pipes."""
        if GUARD is None:
            return
        try:
            drain = Drain(runner.stdout, runner.stderr)
        except OSError as error:
            self._logger.warning(
                "%s: the shell that reads its stderr when this host is gone could not be started: "
                "%s. What it writes then may end it, by SIGPIPE",
                self,
                error,
            )
        else:
            runner.gone.add_done_callback(lambda _: drain.stop())

    async def _start_runner(self, make: RunnerFunc, command: PluginCommand) -> RunnerProcess:
        try:
            custom = make(self._logger, command, self._socket_folder or "")
        except Exception as error:
            raise HandshakeError(f"runner_func raised: {error!r}") from error
        if not command.args:
            self._name = custom.name
        self._runner = runner = RunnerProcess(custom, self._name, self._logger)
        pipes = await runner.start()
        self._watch(runner)
        self._read_pipes(*pipes)
        return runner

    def _read_pipes(self, stdout: BinaryIO, stderr: BinaryIO) -> None:
        config = self._config
        self._stdout = StdoutReader(stdout)
        logger = config.stderr_logger or (
            config.logger.getChild("stderr")
            if config.logger
            else self._logger.getChild(f"plugin.{self._name}")
        )
        is_logged = config.log_sink is None and config.log_forward is None
        self._stderr = StderrReader(
            stderr,
            self._name,
            logger,
            sink=config.log_sink,
            forward=config.log_forward,
            copy=config.stderr,
            level=config.log_level or config.stderr_logger or (logger if is_logged else "trace"),
            buffer_size=config.plugin_log_buffer_size,
        )

    async def _read_handshake(self, runner: PluginProcess) -> HandshakeLine:
        assert self._stdout is not None
        line = self._stdout.line
        either: list[asyncio.Future[Any]] = [line, runner.exited]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not line.done():
            await self._stdout.finish()
        raw = line.result()
        if raw:
            try:
                return parse_line(os.fsdecode(raw))
            except HandshakeError:
                await runner.wait(_EXIT_GRACE)
                raise
        if await runner.wait(_EXIT_GRACE):
            raise ProcessExitedError("it ended before it wrote a handshake")
        what = "an empty line" if self._stdout.head else "nothing, and closed its stdout"
        raise HandshakeError(f"instead of a handshake it wrote {what}: it must call {_SERVE}")

    def _versioned(self) -> dict[int, PluginSet]:
        return as_versioned(self._config.plugins, self._config.handshake_config.protocol_version)

    def _choose_plugins(self, handshake: HandshakeLine) -> PluginSet:
        versioned = self._versioned()
        version = handshake.app_protocol_version
        if version not in versioned:
            raise AppProtocolMismatch(
                f"it speaks protocol version {version} of the application, this host "
                f"{', '.join(map(str, sorted(versioned)))}: upgrade the older of the two"
            )
        if handshake.protocol != PROTOCOL_GRPC:
            raise UnsupportedProtocol(
                f"it speaks {handshake.protocol!r}, and only 'grpc' is supported: a Go plugin must "
                "set GRPCServer in its ServeConfig"
            )
        return versioned[version]

    def _make_identity(
        self, handshake: HandshakeLine, cert: Cert | None
    ) -> Identity | OwnTLS | None:
        if self._config.tls_config is not None:
            return OwnTLS(self._config.tls_config)
        if cert is None:
            if handshake.server_cert:
                raise TLSError(
                    "it serves mutual TLS, which this host did not ask for: set auto_mtls=True, "
                    f"and no {ENV_CLIENT_CERT} in `env`"
                )
            return None
        if not handshake.server_cert:
            raise TLSError(
                "it offers no certificate for the mutual TLS that this host asked for: it may have "
                "been built without AutoMTLS; auto_mtls=False talks to it in the clear"
            )
        from . import mtls

        peer = mtls.der_to_pem(mtls.decode_handshake_cert(handshake.server_cert))
        return mtls.Identity(cert.cert_pem, cert.key_pem, peer)

    async def _reach(self, channel: PluginChannel) -> None:
        """Connects, and asks the plugin for its health."""
        delays = iter(_RETRY_SECONDS)
        delay = 0.0
        while True:
            try:
                await channel.connect()
                self._note_end_of("connection")
                await self._check_health(channel)
                self._note_end_of("health")
            except GRPCError as error:
                if error.status is Status.UNIMPLEMENTED:
                    return
                cause = error.__cause__ or channel.loss()
                if not isinstance(cause, ConnectionRefusedError | FileNotFoundError):
                    raise await self._unreachable(error, cause) from error
                delay = next(delays, delay)
                self._refusal = str(error.message)
                has_exited = await self._has_exited(delay)
                if has_exited and self._config.reattach is None:
                    raise ProcessExitedError(
                        "it ended right after its handshake: it must serve until its host ends it"
                    ) from error
                if has_exited:
                    raise ProcessNotFound("it ended just now; start it anew") from error
                if self._config.reattach is not None:
                    raise ReattachError(
                        f"nothing listens at its address any more: {error.message} "
                        f"({self._config.reattach.addr!r}); attach by its newest reattach_config()"
                    ) from error
            else:
                return

    async def _check_health(self, channel: PluginChannel) -> None:
        request = HealthCheckRequest(service=GRPC_HEALTH_SERVICE_NAME)
        reply = await HealthStub(channel).Check(request)
        if reply.status != HealthCheckResponse.SERVING:
            known = HealthCheckResponse.ServingStatus
            is_known = reply.status in known.values()
            name = known.Name(reply.status) if is_known else f"{reply.status:d}"
            raise HandshakeError(
                f"its health service says {name}, not SERVING: the reason may be in its log"
            )

    async def _unreachable(self, error: GRPCError, cause: BaseException | None) -> PyPluginError:
        if self._tls and isinstance(cause, ssl.SSLError):
            return TLSError(
                f"mutual TLS with it failed: {cause}; each side must have a certificate that the "
                "other trusts"
            )
        if await self._has_exited(_EXIT_GRACE):
            return ProcessExitedError(
                "it ended before it answered its first call: it must serve until its host ends it"
            )
        if self._tls and error.status is Status.UNAVAILABLE:
            # Under TLS 1.3 a refused client hears of it after its own handshake, if at all.
            return TLSError(
                f"instead of answering a first call over mutual TLS it ended it: {error.message}; "
                "it must trust this host's certificate, under AutoMTLS that of who started it"
            )
        return HandshakeError(
            f"it did not answer its first call, a health check: {error.message}; does it serve "
            "gRPC there, and without TLS of its own, which would need tls_config?"
        )

    async def _has_exited(self, seconds: float) -> bool:
        """Whether its process, where this client started it, ends within ``seconds``."""
        return self._runner is not None and await self._runner.wait(seconds)

    def _what_it_waited_for(self) -> str:
        seconds = f"within {self._config.start_timeout:g} s"
        if self._handshake is None:
            what, remedy = "it wrote no handshake to its stdout", f"it must call {_SERVE}"
        else:
            what, remedy = "it wrote a handshake, but did not answer a health check", "it may hang"
        if self._refusal:
            what += f" ({self._refusal})"
            remedy = "it must listen at the address that it writes"
        return f"{what} {seconds}: {remedy}, or needs a longer start_timeout"

    async def _abandon_start(self, error: BaseException) -> None:
        """Leaves nothing of a failed start, and lets ``error`` say all that is known about it."""
        code = self._runner.exit_code if self._runner else None
        stdout, stderr, handshake = self._stdout, self._stderr, self._handshake
        notes = ""
        if isinstance(self._runner, RunnerProcess) and isinstance(error, PyPluginError):
            notes = await self._runner.diagnose()
        if self._runner is not None and self._runner.is_ours:
            self._runner.kill()
        await self._release()
        if self._state is _State.STARTING:
            self._state = _State.IDLE
        if isinstance(error, PyPluginError):
            error.plugin = self._name
            error.exit_code = code
            error.stdout_head = stdout.head if stdout and handshake is None else b""
            error.stderr_tail = stderr.tail if stderr else ()
            error.args = (self._describe(error, notes), *error.args[1:])

    def _describe(self, error: PyPluginError, notes: str) -> str:
        text = str(error)
        text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
        lines = [f"plugin {self._name!r}: {text}"]
        if error.exit_code is not None:
            lines.append(f"Its process {describe_exit(error.exit_code)}.")
        if error.stdout_head:
            remedy = "; a plugin must print nothing before its handshake"
            if isinstance(error, CoreProtocolMismatch):
                remedy = ""
            lines.append(f"Its stdout began with {error.stdout_head!r}{remedy}.")
        lines += _quote(error.stderr_tail)
        if isinstance(error, HandshakeError | ProcessExitedError):
            found = advise(error.stderr_tail) if error.stderr_tail else self._diagnose()
            lines += [found] if found and found not in str(error) else []
        if len(lines) <= 2 and isinstance(error, ProcessExitedError) and not self._is_killed():
            lines.append("It wrote nothing to stderr: run it by hand to see why.")
        lines += [notes] if notes else []
        return "\n".join(lines).translate(_CONTROLS)

    def _diagnose(self) -> str:
        if self._config.cmd is None or self._config.runner_func is not None:
            return ""
        environment = {**os.environ, **(self._config.env or {})}
        return diagnose(self._config.cmd, environment, self._config.cwd)

    # Run

    async def _run_broker(self, channel: PluginChannel, broker: GRPCBroker) -> None:
        reason = "it ended the broker's stream, without which nothing can be dialled or accepted"
        try:
            async with grpc_broker_grpc.GRPCBrokerStub(channel).StartStream.open() as stream:
                await stream.send_request()
                await broker.run(stream)
                await stream.end()
        except GRPCError as error:
            reason = f"the broker's stream ended: {error.message}"
        finally:
            broker.fail(f"{self}: {reason}")

    async def _watch_exit(self, runner: PluginProcess, broker: GRPCBroker) -> None:
        status = await asyncio.shield(runner.exited)
        await self._finish_pipes()
        broker.fail(f"{self} {describe_exit(status)}: start it anew")
        self._remove_socket_folder()
        self._logger.info("%s %s", self, describe_exit(status))

    async def _explain_loss(self, reason: str) -> ErrorFactory:
        """What to tell the calls that a lost connection ended."""
        if self._state is _State.KILLED:
            reason = "kill() ended it"
        elif await self._has_exited(_EXIT_GRACE):
            await self._finish_pipes()
        code = self._runner.exit_code if self._runner else None
        tail = self._stderr.tail if self._stderr else ()
        kind: type[ConnectionLost] = PluginCrashed
        if self._runner is not None and self._runner.exited.done():
            reason = describe_exit(code)
            remedy = "start it anew, or have a Supervisor do so"
        elif self._state is _State.KILLED:
            remedy = "make a new Client"
        else:
            runs = "it still runs" if self._runner is not None else "it may still run"
            kind, remedy = ConnectionLost, f"{runs}: call it, or dial, again"
        text = "\n".join([f"{self}: {reason}; {remedy}", *_quote(tail)]).translate(_CONTROLS)
        return lambda: kind(text, plugin=self._name, exit_code=code, stderr_tail=tail)

    def _watch(self, runner: PluginProcess) -> None:
        on_exit = self._config.on_exit
        if on_exit is None:
            return

        def call(exited: asyncio.Future[int | None]) -> None:
            try:
                on_exit(exited.result())
            except Exception:
                self._logger.exception("%s: on_exit raised", self)

        runner.exited.add_done_callback(call)

    async def _finish_pipes(self) -> None:
        for reader in (self._stdout, self._stderr):
            if reader is not None:
                await reader.finish()

    def _require(self, item: Item | None) -> Item:
        if item is None or self._state is not _State.RUNNING:
            is_killed = self._state is _State.KILLED
            remedy = "make a new Client" if is_killed else "`await client.start()` comes first"
            raise RuntimeError(f"{self} {self._state.value}: {remedy}")
        return item

    # End

    async def _kill(self) -> None:
        was_running = self._state is _State.RUNNING
        self._state = _State.KILLED
        runner, channel = self._runner, self._channel
        try:
            if not was_running:
                # A start under way fails at once, and cleans up after itself.
                if runner is not None and runner.is_ours:
                    runner.kill()
                if channel is not None:
                    channel.close()
                async with self._lock:
                    return
            if self._broker is not None:
                await self._broker.close()
            if channel is not None and not self._is_test:
                if runner is None or not runner.exited.done():
                    await self._ask_to_end(channel)
                if self._stdio is not None:
                    await self._stdio.wait_ended(_LAST_OUTPUT_TIMEOUT)
                channel.close()
            if runner is not None:
                await self._end_process(runner)
                if not runner.is_ours and self._handshake and self.exited:
                    remove_socket(Address(self._handshake.network, self._handshake.address))
        except BaseException:
            if runner is not None:
                runner.kill()
            raise
        finally:
            await self._release()

    @property
    def _is_test(self) -> bool:
        return self._config.reattach is not None and self._config.reattach.test

    async def _ask_to_end(self, channel: PluginChannel) -> None:
        stub = grpc_controller_grpc.GRPCControllerStub(channel)
        try:
            await stub.Shutdown(grpc_controller_pb2.Empty(), timeout=self._config.kill_timeout)
        except Exception as error:
            # Go's server ends inside the call, so a lost connection is the usual answer; and no
            # answer, of whatever kind, keeps the plugin from being ended.
            self._logger.debug("%s: the answer to Shutdown was %r", self, error)

    async def _end_process(self, runner: PluginProcess) -> None:
        seconds = self._config.kill_timeout
        if await runner.wait(seconds):
            return
        if runner.has_signals:
            self._logger.warning("%s did not end within %g s: sending SIGTERM", self, seconds)
            runner.terminate()
            if await runner.wait(seconds):
                return
            self._logger.warning("%s ignored SIGTERM for %g s: sending SIGKILL", self, seconds)
        else:
            self._logger.warning("%s did not end within %g s: killing it", self, seconds)
        runner.kill()
        if isinstance(runner, ProcessRunner):
            await asyncio.shield(runner.exited)
        elif not await runner.wait(seconds) and runner.has_signals:
            self._logger.error("%s does not end: this user may not end it", self)

    async def _release(self) -> None:
        """Gives back everything that this client holds; its process has ended or is about to."""
        channel, self._channel = self._channel, None
        broker, self._broker = self._broker, None
        stdio, self._stdio = self._stdio, None
        mux, self._mux = self._mux, None
        try:
            if channel is not None:
                channel.close()
            if broker is not None:
                await broker.close()
            if self._runner is not None:
                await self._runner.aclose()
            if channel is not None:
                await channel.wait_closed()
            if mux is not None:
                await mux.aclose()
        finally:
            await self._finish_pipes()
            self._remove_socket_folder()
            await self._tasks.aclose()
            if stdio is not None:
                await stdio.finish()

    def _remove_socket_folder(self) -> None:
        if self._socket_folder is not None:
            shutil.rmtree(self._socket_folder, ignore_errors=True)
            self._socket_folder = None


Item = TypeVar("Item")


def _nameless(config: ClientConfig) -> str:
    return "reattached plugin" if config.runner_func is None else "plugin of a runner"


def _unguard(group: int, _: asyncio.Future[None]) -> None:
    assert GUARD is not None
    GUARD.remove(group)


def _reattached(config: ReattachConfig) -> tuple[HandshakeLine, Identity | None]:
    identity = None
    if config.server_cert_pem is not None:
        if config.client_cert_pem is None or config.client_key_pem is None:
            raise TLSError(
                "it serves mutual TLS, and the ReattachConfig lacks the certificate and key of the "
                "host that started it: have it from reattach_config() there"
            )
        from . import mtls

        identity = mtls.Identity(
            config.client_cert_pem, config.client_key_pem, config.server_cert_pem
        )
    return HandshakeLine(
        core_protocol_version=CORE_PROTOCOL_VERSION,
        app_protocol_version=config.protocol_version,
        network=config.network,
        address=config.addr,
        protocol=config.protocol,
    ), identity


def _quote(tail: tuple[bytes, ...]) -> list[str]:
    """The last lines of stderr, for a message."""
    if not tail:
        return []
    return ["Its stderr ended with:", *(f"  {line.decode('utf-8', 'replace')}" for line in tail)]
