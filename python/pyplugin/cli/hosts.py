"""What well-known hosts have in common with their plugins."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class KnownHost:
    """One host's handshake, and how it finds its plugins.

    Attributes:
        cookie: Key and value of the magic cookie.
        versions: Protocol versions that its plugins may speak.
        pattern: What the files of its plugins are called.
    """

    cookie: tuple[str, str]
    versions: tuple[int, ...]
    pattern: str


_TERRAFORM = KnownHost(
    cookie=(
        "TF_PLUGIN_MAGIC_COOKIE",
        "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
    ),
    versions=(5, 6),
    pattern="terraform-provider-*",
)

# The names that --host takes.
KNOWN_HOSTS = {
    # hashicorp/terraform and opentofu/opentofu: internal/plugin/serve.go
    "terraform": _TERRAFORM,
    "opentofu": _TERRAFORM,
    # hashicorp/vault: sdk/plugin/serve.go
    "vault": KnownHost(
        cookie=("VAULT_BACKEND_PLUGIN", "6669da05-b1c8-4f49-97d9-c8e5bed98e20"),
        versions=(3, 4, 5),
        pattern="vault-plugin-*",
    ),
    # hashicorp/vault: sdk/database/dbplugin/v5
    "vault-database": KnownHost(
        cookie=("VAULT_DATABASE_PLUGIN", "926a0820-aea2-be28-51d6-83cdf00e8edb"),
        versions=(5, 6),
        pattern="vault-plugin-database-*",
    ),
    # hashicorp/nomad: plugins/base/plugin.go
    "nomad": KnownHost(
        cookie=(
            "NOMAD_PLUGIN_MAGIC_COOKIE",
            "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255",
        ),
        versions=(2,),
        pattern="nomad-*",
    ),
    # hashicorp/packer-plugin-sdk: plugin/server.go, which has a protocol of its own
    "packer": KnownHost(
        cookie=(
            "PACKER_PLUGIN_MAGIC_COOKIE",
            "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
        ),
        versions=(5,),
        pattern="packer-plugin-*",
    ),
    # grafana/grafana-plugin-sdk-go: backend/grpcplugin/serve.go
    "grafana": KnownHost(
        cookie=("grafana_plugin_type", "datasource"),
        versions=(2,),
        pattern="gpx_*",
    ),
}


def guess(command: Sequence[str]) -> str | None:
    """The host whose plugins have such names; the most particular one."""
    file = Path(command[0]).name
    fitting = [name for name, host in KNOWN_HOSTS.items() if fnmatch(file, host.pattern)]
    return max(fitting, key=lambda name: len(KNOWN_HOSTS[name].pattern), default=None)
