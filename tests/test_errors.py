from __future__ import annotations

import inspect

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pyplugin import errors
from pyplugin.errors import (
    AppProtocolMismatch,
    BrokerError,
    BrokerTimeout,
    ChecksumMismatch,
    ConnectionLost,
    CoreProtocolMismatch,
    HandshakeError,
    MagicCookieMismatch,
    MuxClosed,
    MuxError,
    MuxProtocolError,
    PluginCrashed,
    PluginNotExecutable,
    PluginNotFound,
    ProcessExitedError,
    ProcessNotFound,
    PyPluginError,
    ReattachError,
    StartTimeout,
    TLSError,
    UnsupportedProtocol,
)

PARENTS: dict[type[PyPluginError], tuple[type[Exception], ...]] = {
    PyPluginError: (Exception,),
    HandshakeError: (PyPluginError,),
    CoreProtocolMismatch: (HandshakeError,),
    AppProtocolMismatch: (HandshakeError,),
    UnsupportedProtocol: (HandshakeError,),
    PluginNotFound: (HandshakeError, FileNotFoundError),
    PluginNotExecutable: (HandshakeError, PermissionError),
    MagicCookieMismatch: (PyPluginError,),
    ProcessExitedError: (PyPluginError,),
    ConnectionLost: (PyPluginError, GRPCError),
    PluginCrashed: (ProcessExitedError, ConnectionLost),
    StartTimeout: (PyPluginError, TimeoutError),
    TLSError: (PyPluginError,),
    ChecksumMismatch: (PyPluginError,),
    ReattachError: (HandshakeError,),
    ProcessNotFound: (ReattachError, ProcessLookupError),
    BrokerError: (PyPluginError,),
    BrokerTimeout: (BrokerError, TimeoutError),
    MuxError: (PyPluginError,),
    MuxProtocolError: (MuxError,),
    MuxClosed: (MuxError,),
}
CLASSES = list(PARENTS)
OF_CALLS = (ConnectionLost, PluginCrashed)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_is_caught_as_each_of_its_parents(kind: type[PyPluginError]) -> None:
    assert kind.__bases__ == PARENTS[kind]
    for parent in PARENTS[kind]:
        with pytest.raises(parent, match=r"^text$"):
            raise kind("text")


def test_every_public_error_is_in_the_tree() -> None:
    defined = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    ours = {kind for kind in defined if kind.__module__ == errors.__name__}
    assert ours == set(CLASSES)
    assert sorted(errors.__all__) == sorted(kind.__name__ for kind in CLASSES)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_has_no_facts_unless_it_is_given_some(kind: type[PyPluginError]) -> None:
    error = kind("text")
    assert (error.plugin, error.exit_code) == (None, None)
    assert (error.stdout_head, error.stderr_tail) == (b"", ())
    assert str(kind()) == ""


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_carries_facts(kind: type[PyPluginError]) -> None:
    error = kind("text", plugin="kv", exit_code=-9, stderr_tail=(b"last", b"words"))
    assert str(error) == "text"
    assert (error.plugin, error.exit_code) == ("kv", -9)
    assert error.stderr_tail == (b"last", b"words")


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind not in OF_CALLS])
def test_an_error_of_the_start_carries_what_came_on_stdout(kind: type[PyPluginError]) -> None:
    assert kind("text", stdout_head=b"hello\n").stdout_head == b"hello\n"


@pytest.mark.parametrize("kind", OF_CALLS)
def test_a_lost_plugin_is_an_unavailable_service(kind: type[ConnectionLost]) -> None:
    error = kind("the plugin is gone")
    assert error.status is Status.UNAVAILABLE
    assert error.message == "the plugin is gone"
    assert error.details is None
