"""Find out why a plugin does not start.

Checks step by step: whether its file is there and can be run here; what it does without its magic
cookie, where a go-plugin plugin says that it is one and ends; and its start as the options have it.
Where that fails, other options are tried. The exit status is 0 when it starts as it was asked to.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from .. import Client, HandshakeError, ProcessExitedError, PyPluginError, StartTimeout, TLSError
from ..host.diagnose import diagnose
from ..host.process import describe_exit
from .advice import advice, wants_cookie
from .hosts import KNOWN_HOSTS
from .options import add_plugin_options, client_config, cookie_of, no_cookie, pair, require_command
from .output import Style, visible, write, write_json
from .program import look_at

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from .. import LogBatch

USAGE = "[options] -- COMMAND…"
ARGUMENTS: dict[str, str] = {}
# Seconds for a plugin to notice that it has no cookie.
_NO_COOKIE_TIMEOUT = 5.0
# What no plugin asks for.
_NO_COOKIE = ("PYPLUGIN_DOCTOR", "1")
_IS_IT_ONE = "Is it a plugin, and are its arguments right?"
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}


@dataclass(frozen=True)
class Check:
    """What one step found.

    Attributes:
        name: Of the step.
        result: ``ok``, ``warning``, ``failed`` or ``skipped``.
        text: What was seen.
        advice: What to do about it, or None.
    """

    name: str
    result: str
    text: str
    advice: str | None = None


@dataclass
class Outcome:
    """How one attempt to start the plugin ended.

    Attributes:
        error: Why it failed; None where it started.
        line: The handshake, where there was one.
        version: The protocol version, where it started.
    """

    error: PyPluginError | None
    line: str | None
    version: int


def add_options(parser: ArgumentParser) -> None:
    """Adds the options of this command."""
    add_plugin_options(parser)


async def run(options: Namespace) -> int:
    """Runs the command; returns its exit status."""
    require_command(options)
    cookie = cookie_of(options)
    checks = [_check_file(options)]
    decisive: Outcome | None = None
    if checks[0].result != "failed":
        decisive = await _start_without_cookie(options, cookie)
        checks.append(_judge_without_cookie(decisive))
        if cookie is None:
            starts = decisive.error is None
            text = "there is no cookie to start it with"
            checks.append(Check("start", "skipped", text, None if starts else no_cookie(options)))
        else:
            decisive = await _start(options)
            checks.append(_judge(decisive, options))
            checks += await _try_otherwise(decisive, options)
    starts = decisive is not None and decisive.error is None
    error = decisive.error if decisive else None
    if options.json:
        facts: dict[str, Any] = {
            "command": options.command,
            "starts": starts,
            "checks": [asdict(check) for check in checks],
            "exit_status": error.exit_code if error else None,
            "stdout": error.stdout_head.decode("utf-8", "replace") if error else "",
            "stderr": [line.decode("utf-8", "replace") for line in error.stderr_tail]
            if error
            else [],
        }
        write_json(facts)
    else:
        _show(checks, starts=starts)
    return 0 if starts else 1


def _check_file(options: Namespace) -> Check:
    environment = {**os.environ, **dict(pair("--env", text) for text in options.env)}
    if problem := diagnose(options.command, environment):
        return Check("file", "failed", problem)
    path = shutil.which(options.command[0], path=environment.get("PATH", os.defpath))
    try:
        return Check("file", "ok", f"{path}: {look_at(path or options.command[0])}")
    except OSError as error:
        return Check("file", "warning", f"{path} cannot be read: {error.strerror}")


async def _start(options: Namespace, **settings: Any) -> Outcome:
    def drop(batch: LogBatch) -> None:
        """What matters of it is in the error."""

    client = Client(client_config(options, log_sink=drop, **settings))
    try:
        async with client:
            return Outcome(None, client.handshake_line, client.negotiated_version)
    except PyPluginError as error:
        return Outcome(error, client.handshake_line, 0)


async def _start_without_cookie(options: Namespace, cookie: tuple[str, str] | None) -> Outcome:
    keys = {host.cookie[0] for host in KNOWN_HOSTS.values()} | ({cookie[0]} if cookie else set())
    environment = {name: value for name, value in os.environ.items() if name not in keys}
    environment |= dict(pair("--env", text) for text in options.env)
    return await _start(
        options,
        cookie=_NO_COOKIE,
        auto_mtls=False,
        grpc_broker_multiplex=False,
        start_timeout=min(options.timeout or _NO_COOKIE_TIMEOUT, _NO_COOKIE_TIMEOUT),
        env=environment,
        skip_host_env=True,
    )


def _judge_without_cookie(outcome: Outcome) -> Check:
    name, error = "without cookie", outcome.error
    if outcome.line is not None and outcome.line.count("|") >= 3:
        return Check(name, "warning", "it starts all the same: it is a plugin that asks for none")
    if error is None or isinstance(error, StartTimeout):
        text = "it neither ends nor writes a handshake, as no go-plugin plugin does"
        return Check(name, "warning", text, _IS_IT_ONE)
    if wants_cookie(error):
        return Check(name, "ok", "it says that it is a plugin, and ends: it wants its magic cookie")
    if isinstance(error, ProcessExitedError):
        text = f"it {describe_exit(error.exit_code)}, and does not say that it is a plugin"
        return Check(name, "warning", text, _IS_IT_ONE)
    return Check(name, "warning", str(error), _IS_IT_ONE)


def _judge(outcome: Outcome, options: Namespace) -> Check:
    if outcome.error is None:
        return Check("start", "ok", f"it starts, and speaks version {outcome.version}")
    text, remedy = str(outcome.error), advice(outcome.error, options)
    return Check("start", "failed", text, remedy or None)


async def _try_otherwise(failed: Outcome, options: Namespace) -> list[Check]:
    """Other ways to start it, where the error tells that one of them may do."""
    settings: dict[str, Any]
    if isinstance(failed.error, TLSError):
        word = "without --no-tls" if options.no_tls else "with --no-tls"
        settings = {"auto_mtls": options.no_tls}
    elif isinstance(failed.error, HandshakeError) and options.mux and failed.line is not None:
        word, settings = "without --mux", {"grpc_broker_multiplex": False}
    else:
        return []
    outcome = await _start(options, **settings)
    if outcome.error is None:
        return [Check(word, "ok", f"it starts, and speaks version {outcome.version}")]
    return [Check(word, "failed", str(outcome.error))]


def _show(checks: list[Check], *, starts: bool) -> None:
    style = Style(sys.stdout)
    for check in checks:
        head, *rest = visible(check.text).split("\n")
        result = style(f"{check.result:8}", _COLOURS[check.result])
        write(f"{style(f'{check.name:15}', 'bold')} {result} {head}")
        for line in [*rest, *(filter(None, [check.advice]))]:
            write(f"{'':25}{line}")
    write(style("It starts.", "green") if starts else style("It does not start.", "red"))
