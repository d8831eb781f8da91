"""Start a plugin and show what it is.

Shows its handshake, protocol version, TLS, certificate, services and methods (by gRPC reflection),
health, how long each phase of its start took, and what it logged on the way. Then it ends it.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .. import Client, HandshakeError, HandshakeLine, PyPluginError, TLSError
from ..handshake import parse_line
from ..mtls import decode_handshake_cert
from .advice import advice
from .options import add_plugin_options, client_config, offered_versions
from .output import Style, entry_json, entry_text, visible, write, write_json
from .reflection import Reflection, ReflectionError, is_infrastructure, reflect

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from google.protobuf.descriptor import MethodDescriptor

    from .. import LogBatch

USAGE = "[options] -- COMMAND…"
ARGUMENTS: dict[str, str] = {}
# Lines of the log that are shown.
_MAX_LINES = 1000
# A certificate is 800 characters of a line that people read.
_SHOWN_CHARACTERS = 12
# Where what is shown begins.
_COLUMN = 16


def add_options(parser: ArgumentParser) -> None:
    """Adds the options of this command."""
    add_plugin_options(parser)


async def run(options: Namespace) -> int:
    """Runs the command; returns its exit status."""
    lines: list[dict[str, Any]] = []

    def keep(batch: LogBatch) -> None:
        lines.extend(entry_json(entry) for entry in batch[: _MAX_LINES - len(lines)])

    client = Client(client_config(options, log_sink=keep))
    facts: dict[str, Any] = {"command": options.command, "started": False, "pid": None}
    reflection, failure = None, None
    health, note = None, None
    try:
        await client.start()
        facts |= {"started": True, "pid": client.pid}
        health = "SERVING" if "health" in client.start_times else "not offered"
        try:
            reflection = await reflect(client.dispense("plugin"), options.timeout)
        except ReflectionError as error:
            note = f"reflection failed: {error}"
    except PyPluginError as error:
        failure = error
    finally:
        await client.kill()
    handshake = _handshake(client.handshake_line)
    facts |= {
        "handshake": _handshake_facts(client.handshake_line, handshake),
        "offered_versions": offered_versions(options),
        "negotiated_version": client.negotiated_version if facts["started"] else None,
        "tls": _tls_facts(handshake),
        "multiplexed": options.mux and facts["started"],
        "health": health,
        "reflection": reflection.version if reflection else None,
        "services": _services(reflection) if reflection else None,
        "note": note,
        "start_seconds": {name: round(s, 6) for name, s in client.start_times.items()},
        "log": lines,
        "error": _error(failure, options) if failure else None,
    }
    if options.json:
        write_json(facts)
    else:
        _show(facts)
    return 1 if failure else 0


def _handshake(line: str | None) -> HandshakeLine | None:
    with contextlib.suppress(HandshakeError, UnicodeEncodeError):
        return parse_line(line) if line else None
    return None


def _handshake_facts(text: str | None, line: HandshakeLine | None) -> dict[str, Any] | None:
    if text is None:
        return None
    facts: dict[str, Any] = {"line": text}
    if line is not None:
        facts |= {
            "core_protocol_version": line.core_protocol_version,
            "app_protocol_version": line.app_protocol_version,
            "network": line.network,
            "address": line.address,
            "protocol": line.protocol,
            "server_cert": line.server_cert or None,
            "multiplex_supported": line.multiplex_supported,
        }
    return facts


def _tls_facts(line: HandshakeLine | None) -> dict[str, Any] | None:
    if line is None:
        return None
    if not line.server_cert:
        return {"mode": "none", "certificate": None}
    return {"mode": "mutual", "certificate": _certificate(line.server_cert)}


def _certificate(text: str) -> dict[str, Any] | None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        certificate = x509.load_der_x509_certificate(decode_handshake_cert(text))
    except (TLSError, ValueError):
        return None
    key: Any = certificate.public_key()
    kind = type(key).__name__.strip("_").removesuffix("PublicKey")
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "key": f"EC {key.curve.name}"
        if isinstance(key, ec.EllipticCurvePublicKey)
        else f"{kind} {getattr(key, 'key_size', '')}".strip(),
        "sha256": certificate.fingerprint(hashes.SHA256()).hex(),
    }


def _services(reflection: Reflection) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "infrastructure": is_infrastructure(name),
            "methods": [_method(method) for method in service.methods] if service else None,
        }
        for name, service in reflection.services.items()
    ]


def _method(method: MethodDescriptor) -> dict[str, Any]:
    return {
        "name": method.name,
        "request": method.input_type.full_name,
        "response": method.output_type.full_name,
        "client_streaming": method.client_streaming,
        "server_streaming": method.server_streaming,
    }


def _error(error: PyPluginError, options: Namespace) -> dict[str, Any]:
    return {
        "kind": type(error).__name__,
        "message": str(error),
        "exit_status": error.exit_code,
        "advice": advice(error, options) or None,
    }


# For people


def _show(facts: dict[str, Any]) -> None:
    style = Style(sys.stdout)

    def show(name: str, text: Any, indent: int = 0) -> None:
        head, *rest = visible(str(text)).split("\n")
        write(f"{' ' * indent}{style(f'{name:{_COLUMN - indent}}', 'bold')}{head}".rstrip())
        for line in rest:
            write(" " * _COLUMN + line)

    show("plugin", shlex.join(facts["command"]))
    show("state", f"started, pid {facts['pid']}" if facts["started"] else "did not start")
    handshake = facts["handshake"]
    if handshake is None:
        show("handshake", "none")
    else:
        line, cert = handshake["line"], handshake.get("server_cert")
        if cert:
            line = line.replace(cert, f"{cert[:_SHOWN_CHARACTERS]}… ({len(cert)} characters)")
        show("handshake", line)
    if handshake and "protocol" in handshake:
        offered = _ranges(facts["offered_versions"])
        show("core version", handshake["core_protocol_version"], 2)
        show("version", f"{handshake['app_protocol_version']} (offered {offered})", 2)
        show("protocol", handshake["protocol"], 2)
        show("address", f"{handshake['network']} {handshake['address']}", 2)
        show("multiplexing", "in use" if facts["multiplexed"] else "not in use", 2)
    if facts["tls"]:
        show(
            "TLS", "mutual, AutoMTLS" if facts["tls"]["mode"] == "mutual" else "none, in the clear"
        )
        if certificate := facts["tls"]["certificate"]:
            show("subject", certificate["subject"], 2)
            show("issuer", certificate["issuer"], 2)
            show("valid", f"{certificate['not_before']} to {certificate['not_after']}", 2)
            show("key", certificate["key"], 2)
            show("SHA-256", certificate["sha256"], 2)
    if facts["started"]:
        show("health", facts["health"])
    if times := facts["start_seconds"]:
        show("start-up", _times_text(times))
    if facts["started"]:
        show("services", _reflection_text(facts))
    for service in facts["services"] or ():
        if not service["infrastructure"]:
            write(f"  {style(visible(service['name']), 'cyan')}")
            for method in service["methods"] or ():
                write(f"    {visible(_signature(method))}")
    if own := [s["name"] for s in facts["services"] or () if s["infrastructure"]]:
        write(f"  {style('of go-plugin and gRPC:', 'dim')} {visible(', '.join(own))}")
    show("log", "" if facts["log"] else "empty")
    for entry in facts["log"]:
        write(f"  {entry_text(entry, style)}")
    if error := facts["error"]:
        show("error", error["message"])
        if error["advice"]:
            show("advice", error["advice"])


def _times_text(times: dict[str, float]) -> str:
    """How long each phase took; those of the facts are since the beginning."""
    ends = [0.0, *times.values()]
    phases = [
        f"{name} {(end - start) * 1000:.1f} ms"
        for name, (start, end) in zip(times, pairwise(ends), strict=True)
    ]
    return f"{', '.join(phases)}; {ends[-1] * 1000:.1f} ms in all"


def _reflection_text(facts: dict[str, Any]) -> str:
    if facts["reflection"]:
        return f"by reflection {facts['reflection']}"
    return facts["note"] or "not known: the plugin offers no reflection"


def _signature(method: dict[str, Any]) -> str:
    request = f"{'stream ' if method['client_streaming'] else ''}{method['request']}"
    response = f"{'stream ' if method['server_streaming'] else ''}{method['response']}"
    return f"{method['name']}({request}) returns ({response})"


def _ranges(versions: list[int]) -> str:
    if len(versions) > 2 and versions == list(range(versions[0], versions[-1] + 1)):
        return f"{versions[0]} to {versions[-1]}"
    return ", ".join(map(str, versions))
