"""Names, numbers and limits of the wire protocol, with their place in go-plugin."""

from __future__ import annotations

from typing import Final

# protocol.go, client.go, server.go
CORE_PROTOCOL_VERSION: Final = 1
PROTOCOL_GRPC: Final = "grpc"
PROTOCOL_NETRPC: Final = "netrpc"
NETWORK_UNIX: Final = "unix"
NETWORK_TCP: Final = "tcp"

# grpc_server.go: the name under which the plugin answers the health service
GRPC_HEALTH_SERVICE_NAME: Final = "plugin"

# mtls.go: the only host name in a throw-away certificate
TLS_SERVER_NAME: Final = "localhost"

# client.go, server.go, constants.go
ENV_CLIENT_CERT: Final = "PLUGIN_CLIENT_CERT"
ENV_PROTOCOL_VERSIONS: Final = "PLUGIN_PROTOCOL_VERSIONS"
ENV_MIN_PORT: Final = "PLUGIN_MIN_PORT"
ENV_MAX_PORT: Final = "PLUGIN_MAX_PORT"
ENV_UNIX_SOCKET_DIR: Final = "PLUGIN_UNIX_SOCKET_DIR"
ENV_UNIX_SOCKET_GROUP: Final = "PLUGIN_UNIX_SOCKET_GROUP"
ENV_MULTIPLEX_GRPC: Final = "PLUGIN_MULTIPLEX_GRPC"
# Ours: "0" says that the plugin is to outlive its host.
ENV_ORPHAN_GUARD: Final = "PYPLUGIN_ORPHAN_GUARD"
# "h2" puts the h2 package in the place of the HTTP/2 connection of the Rust core.
ENV_HTTP2: Final = "PYPLUGIN_HTTP2"

# client.go NewClient
DEFAULT_START_TIMEOUT: Final = 60.0
DEFAULT_MIN_PORT: Final = 10000
DEFAULT_MAX_PORT: Final = 25000

# client.go Kill: seconds a plugin has to end by itself
DEFAULT_KILL_TIMEOUT: Final = 2.0

# grpc_broker.go: seconds to wait for the peer's connection info, and to keep one nobody asks for
BROKER_TIMEOUT: Final = 5.0

# bufio.Scanner's limit, which go-plugin's host reads stdout with
MAX_HANDSHAKE_BYTES: Final = 64 * 1024

# client.go PluginLogBufferSize: longest log line that is parsed as one, in bytes
MAX_LOG_LINE_BYTES: Final = 64 * 1024
# bufio.NewReaderSize: the least that it can be
MIN_LOG_LINE_BYTES: Final = 16
