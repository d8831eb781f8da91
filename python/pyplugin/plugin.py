"""What an author of a plugin writes: one ``Plugin`` for each service it offers."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from grpclib.client import Channel

    from .broker import GRPCBroker

__all__ = ["HasStub", "Plugin", "PluginSet", "VersionedPlugins", "as_versioned", "matching"]

Stub_co = TypeVar("Stub_co", covariant=True)


class Plugin(abc.ABC):
    """One kind of plugin, as both sides see it (go-plugin's ``GRPCPlugin``)."""

    @abc.abstractmethod
    def servicers(self, broker: GRPCBroker) -> list[Any]:
        """The grpclib servicers to serve. Called once, in the plugin's process.

        Methods of theirs that are no coroutine functions may block: each call runs in a thread of
        its own. They take the request, or an iterator of the requests, and return the answer, or an
        iterable of the answers; a ``GRPCError`` that they raise is the status. The metadata and the
        deadline of the call are those of ``current_call()``.

        Args:
            broker: For sub-channels to and from the host.
        """

    @abc.abstractmethod
    def stub(self, broker: GRPCBroker, channel: Channel) -> Any:
        """What ``Client.dispense()`` returns: a stub that calls the plugin. Runs in the host.

        What an override is annotated to return, type checkers take for what is dispensed.

        Args:
            broker: For sub-channels to and from the plugin.
            channel: The connection to the plugin.
        """


class HasStub(Protocol[Stub_co]):
    """A ``Plugin`` as type checkers see it: by the type of its stub."""

    def stub(self, broker: GRPCBroker, channel: Channel, /) -> Stub_co:
        """As ``Plugin.stub()``."""


#: The plugins of one protocol version, by the name that ``Client.dispense()`` takes.
PluginSet: TypeAlias = Mapping[str, Plugin]

#: Plugin sets by protocol version.
VersionedPlugins: TypeAlias = Mapping[int, PluginSet]


def matching(plugins: PluginSet, key: str | type[HasStub[Any]]) -> list[Plugin]:
    """Those of ``plugins`` that are called ``key``, or are of this class."""
    if isinstance(key, type):
        return [plugin for plugin in plugins.values() if isinstance(plugin, key)]
    return [plugins[key]] if key in plugins else []


def as_versioned(plugins: PluginSet | VersionedPlugins, version: int) -> dict[int, PluginSet]:
    """Any form of ``plugins`` as versioned ones.

    Args:
        plugins: Plugins by name, or plugin sets by version.
        version: The version of plugins that are not versioned.
    """
    if plugins and all(isinstance(key, int) for key in plugins):
        return dict(cast("VersionedPlugins", plugins))
    return {version: cast("PluginSet", plugins)}
