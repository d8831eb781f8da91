"""A plugin's server under h2spec, the conformance tests of HTTP/2 and HPACK (RFC 9113, RFC 7541)."""

from __future__ import annotations

import asyncio
import subprocess
import xml.etree.ElementTree
from typing import TYPE_CHECKING

from pyplugin import ServeTestConfig
from tests.test_serve_test_config import served

from .peers import MARKS

if TYPE_CHECKING:
    from pathlib import Path

    from .peers import Peers

pytestmark = MARKS

TESTS = 145
# A client that opens more streams than it was allowed, where the server sets no limit; and, at an
# offset that h2spec cannot reach, windows that overflow.
NOT_APPLICABLE = {
    "http2/5.1.2: Sends HEADERS frames that causes their advertised concurrent stream limit to be "
    "exceeded",
}


async def test_every_test_that_can_apply_passes(peers: Peers, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    test = ServeTestConfig()
    async with served(test, force_tcp=True):
        host, port = (await test.reattach_config()).addr.rsplit(":", 1)
        process = await asyncio.create_subprocess_exec(
            *(peers.h2spec, "--host", host, "--port", port, "--path", "/kv.KV/Get"),
            *("--junit-report", str(report)),
            stdout=subprocess.PIPE,
        )
        out, _ = await process.communicate()
    cases = list(xml.etree.ElementTree.parse(report).getroot().iter("testcase"))
    skipped = {
        f"{case.get('package')}: {case.get('classname')}"
        for case in cases
        if case.find("skipped") is not None
    }
    assert process.returncode == 0, out.decode()
    assert (len(cases), skipped) == (TESTS, NOT_APPLICABLE)
