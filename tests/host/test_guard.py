from __future__ import annotations

import subprocess
import sys

import pytest

from pyplugin.host.guard import _DRAIN_SCRIPT


@pytest.mark.skipif(sys.platform == "win32", reason="there is no shell")
def test_a_drain_whose_pipe_cannot_be_opened_ends() -> None:
    """It has no such descriptor, as all have none where ``/dev/fd`` is missing."""
    shell = ["/bin/sh", "-c", _DRAIN_SCRIPT, "/bin/sh", "99"]
    done = subprocess.run(shell, stdin=subprocess.DEVNULL, capture_output=True, timeout=10)
    assert done.returncode == 0
    assert b"/dev/fd/99" in done.stderr
