"""What a host must know to connect to a plugin that is already running."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from .constants import NETWORK_UNIX, PROTOCOL_GRPC
from .net.transport import AddressTranslator

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["AttachedRunner", "ReattachConfig"]


class AttachedRunner(AddressTranslator, Protocol):
    """A plugin that runs in a container, on another machine, in a sandbox, and was attached to.

    Its methods run in the event loop: ``wait`` at once, ``kill`` at most once.
    """

    @property
    def id(self) -> str:
        """What names the running plugin: the id of a container for example."""

    async def wait(self) -> int | None:
        """Waits for the end of the plugin, of whatever. Returns its exit status, where known.

        It is cancelled where the client leaves the plugin running.
        """

    async def kill(self) -> None:
        """Ends the plugin at once, and removes what it left."""


@dataclass(frozen=True)
class ReattachConfig:
    """Where a running plugin listens (go-plugin's ``ReattachConfig``).

    It may hold a private key: treat it as a secret.

    Attributes:
        pid: Process id of the plugin; 0 for one that has none here.
        addr: Socket path or ``host:port``, as this host sees it.
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
        reattach_func: Gives what runs the plugin where no process of this system does, in a
            container for example; the client ends it by that, and not by ``pid``.
    """

    pid: int
    addr: str
    network: str = NETWORK_UNIX
    protocol: str = PROTOCOL_GRPC
    protocol_version: int = 1
    server_cert_pem: bytes | None = field(default=None, repr=False)
    client_cert_pem: bytes | None = field(default=None, repr=False)
    client_key_pem: bytes | None = field(default=None, repr=False)
    test: bool = False
    process_start: int | None = None
    reattach_func: Callable[[], AttachedRunner] | None = field(default=None, kw_only=True)

    def to_go(self) -> dict[str, Any]:
        """This in the field names of go-plugin, as debuggers hand it to hosts.

        It carries no certificate: neither does go-plugin's, which cannot attach under AutoMTLS.
        """
        return {
            "Protocol": self.protocol,
            "ProtocolVersion": self.protocol_version,
            "Pid": self.pid,
            "Test": self.test,
            "Addr": {"Network": self.network, "String": self.addr},
        }

    @classmethod
    def from_go(cls, fields: Mapping[str, Any]) -> ReattachConfig:
        """What go-plugin's field names say.

        Raises:
            KeyError: A field is missing.
        """
        try:
            return cls(
                pid=fields["Pid"],
                addr=fields["Addr"]["String"],
                network=fields["Addr"]["Network"],
                protocol=fields["Protocol"],
                protocol_version=fields.get("ProtocolVersion", 1),
                test=fields.get("Test", False),
            )
        except KeyError as error:
            raise KeyError(
                f"{error} is missing; Protocol, Pid and Addr with Network and String must be there"
            ) from error
