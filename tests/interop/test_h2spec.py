"""A plugin's server under h2spec, the conformance tests of HTTP/2 (RFC 9113, RFC 7541)."""

from __future__ import annotations

import asyncio
import os
import subprocess
import xml.etree.ElementTree
from typing import TYPE_CHECKING, Any

import grpclib.server
import pytest

from pyplugin import ServeTestConfig
from pyplugin.constants import ENV_HTTP2
from tests.test_serve_test_config import served

from .peers import MARKS

if TYPE_CHECKING:
    from pathlib import Path

    from .peers import Peers

pytestmark = [
    *MARKS,
    pytest.mark.skipif(os.environ.get(ENV_HTTP2) == "h2", reason="h2 takes what h2spec refuses"),
]

TESTS = 145
# More streams than the server allows, where it sets no limit.
NOT_APPLICABLE = {
    "http2/5.1.2: Sends HEADERS frames that causes their advertised concurrent stream limit to be "
    "exceeded",
}


async def answer(
    mapping: Any, stream: Any, headers: Any, codec: Any, details: Any, dispatch: Any, release: Any
) -> None:
    """A page, in the place of gRPC, which h2spec does not speak."""
    try:
        while await stream.buffer.read_some():
            pass
        await stream.send_headers([(":status", "200")])
        await stream.send_data(b"a page", end_stream=True)
    finally:
        release()


async def test_every_test_that_can_apply_passes(
    peers: Peers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpclib.server, "request_handler", answer)
    report = tmp_path / "report.xml"
    test = ServeTestConfig()
    async with served(test, force_tcp=True):
        host, port = (await test.reattach_config()).addr.rsplit(":", 1)
        process = await asyncio.create_subprocess_exec(
            *(peers.h2spec, "--host", host, "--port", port, "--junit-report", str(report)),
            stdout=subprocess.PIPE,
        )
        try:
            out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    skipped = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("skipped") is not None
    }
    assert process.returncode == 0, out.decode()
    assert (len(cases), skipped) == (TESTS, NOT_APPLICABLE)
