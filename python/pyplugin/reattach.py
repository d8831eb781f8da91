"""What a host must know to connect to a plugin that is already running."""

from __future__ import annotations

from dataclasses import dataclass, field

from .constants import NETWORK_UNIX, PROTOCOL_GRPC

__all__ = ["ReattachConfig"]


@dataclass(frozen=True)
class ReattachConfig:
    """Where a running plugin listens (go-plugin's ``ReattachConfig``).

    It may hold a private key: treat it as a secret.

    Attributes:
        pid: Process id of the plugin.
        addr: Socket path or ``host:port``.
        network: ``unix`` or ``tcp``.
        protocol: ``grpc``.
        protocol_version: The application protocol version that was negotiated.
        server_cert_pem: The plugin's certificate under AutoMTLS, PEM.
        client_cert_pem: The certificate of the host that started it, PEM: the only one that the
            plugin lets in.
        client_key_pem: Its private key, PEM.
        test: The plugin runs under a test; ``kill()`` leaves its process alone.
        process_start: When the process started, in a unit of the system's: a process that has its
            id later is not taken for it. None where that is not known.
    """

    pid: int
    addr: str
    network: str = NETWORK_UNIX
    protocol: str = PROTOCOL_GRPC
    protocol_version: int = 1
    server_cert_pem: bytes | None = None
    client_cert_pem: bytes | None = None
    client_key_pem: bytes | None = field(default=None, repr=False)
    test: bool = False
    process_start: int | None = None
