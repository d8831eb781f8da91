"""The Go programs, for all the tests of this folder."""

from __future__ import annotations

import os
import subprocess

import pytest

from . import peers as go_peers


@pytest.fixture(scope="session")
def peers() -> go_peers.Peers:
    """The Go programs. Without Go the test is skipped; on CI, where it must be, it fails."""
    try:
        return go_peers.build()
    except LookupError as error:
        reason = str(error)
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error}\n{error.stderr}", pytrace=False)
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
