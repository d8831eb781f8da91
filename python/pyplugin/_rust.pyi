"""The Rust core of pyplugin.

Functions are safe to call from any thread. Lengths are in bytes. Bytes come in as ``bytes`` only;
``bytearray`` and ``memoryview`` are a ``TypeError``.
"""

__all__ = ["__version__", "format_handshake", "parse_handshake"]

__version__: str
"""The version of the package, from ``Cargo.toml``."""

def parse_handshake(line: bytes, /) -> tuple[int, int, bytes, bytes, bytes, bytes, bytes | None]:
    """Reads a handshake line as go-plugin's host does (``client.go`` ``Start``).

    Args:
        line: One line of the plugin's stdout, with or without its line end.

    Returns:
        Core protocol version (always 1), app protocol version, network, address, protocol
        (``netrpc`` when the line has only four parts), base64 of the certificate (empty when there
        is none), and the seventh part as it stands, or None when the line has no seventh part.

    Raises:
        CoreProtocolMismatch: Part 1 is another core protocol version.
        HandshakeError: Fewer than four parts, or a version that is no integer of 64 bits.
    """

def format_handshake(
    app_protocol_version: int,
    network: bytes,
    address: bytes,
    protocol: bytes,
    certificate: bytes,
    multiplex: bool | None,
    /,
) -> bytes:
    """Writes a plugin's handshake line, without a line end (``server.go`` ``Serve``).

    Args:
        app_protocol_version: The version that the plugin chose.
        network: ``unix`` or ``tcp``.
        address: Socket path or ``host:port``.
        protocol: ``grpc``.
        certificate: Unpadded base64 of the plugin's certificate (DER), or empty.
        multiplex: The seventh part; None leaves it out, as six-part hosts need.

    Raises:
        ValueError: A part holds ``|`` or a line break.
    """
