"""``pyplugin doctor``: why a plugin does not start."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.fixtures import script

from . import COOKIE, PYTHON_KV, pyplugin

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.peers import Peers


def doctor(*options: str, plugin: list[str], status: int = 1) -> dict[str, Any]:
    """What it says of a plugin, its checks by name."""
    done = pyplugin("doctor", "--json", *options, plugin=plugin)
    assert (done.status, done.err) == (status, "")
    facts: dict[str, Any] = done.json
    assert facts["starts"] is (status == 0)
    assert facts["command"] == plugin
    facts["results"] = {check["name"]: check["result"] for check in facts["checks"]}
    facts["said"] = {check["name"]: (check["text"], check["advice"]) for check in facts["checks"]}
    return facts


def test_a_plugin_that_starts() -> None:
    facts = doctor(*COOKIE, plugin=PYTHON_KV, status=0)
    assert facts["results"] == {"file": "ok", "without cookie": "ok", "start": "ok"}
    assert facts["said"]["start"] == ("it starts, and speaks version 1", None)
    assert (facts["exit_status"], facts["stdout"], facts["stderr"]) == (None, "", [])


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
def test_a_go_plugin_that_starts(peers: Peers) -> None:
    facts = doctor(*COOKIE, plugin=[peers.kvplugin], status=0)
    assert facts["results"] == {"file": "ok", "without cookie": "ok", "start": "ok"}
    assert facts["said"]["file"][0].startswith(f"{peers.kvplugin}: ELF ")


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
def test_a_go_plugin_with_a_wrong_cookie(peers: Peers) -> None:
    facts = doctor("--cookie", "BASIC_PLUGIN=bye", plugin=[peers.kvplugin])
    assert facts["results"] == {"file": "ok", "without cookie": "ok", "start": "failed"}
    assert "it got BASIC_PLUGIN=bye" in facts["said"]["start"][1]
    assert facts["exit_status"] == 1
    assert facts["stderr"][0].startswith("This binary is a plugin")


@pytest.mark.go
@pytest.mark.timeout(60, func_only=True)
def test_a_go_plugin_of_the_older_protocol(peers: Peers) -> None:
    facts = doctor(*COOKIE, "--protocol-version", "2", plugin=[peers.negotiated_plugin])
    assert facts["results"]["start"] == "failed"
    assert "'netrpc'" in facts["said"]["start"][0]
    assert facts["said"]["start"][1] == "A net/rpc plugin can be used by hosts in Go only."


def test_no_cookie_is_given() -> None:
    facts = doctor(plugin=PYTHON_KV)
    assert facts["results"] == {"file": "ok", "without cookie": "ok", "start": "skipped"}
    assert "--cookie KEY=VALUE, --host {terraform," in facts["said"]["start"][1]


def test_no_common_version() -> None:
    facts = doctor(*COOKIE, "--protocol-version", "4", plugin=PYTHON_KV)
    assert facts["results"]["start"] == "failed"
    assert "protocol version 1" in facts["said"]["start"][0]
    assert "offered 4: " in facts["said"]["start"][1]


@pytest.mark.parametrize(
    ("variable", "options", "otherwise"),
    [
        ("PLUGIN_CLIENT_CERT", [], "with --no-tls"),
        ("PLUGIN_MULTIPLEX_GRPC", ["--mux"], "without --mux"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="there is no env")
def test_what_a_plugin_cannot_do_is_tried_without(
    variable: str, options: list[str], otherwise: str
) -> None:
    # It does not hear of what it is asked for.
    plugin = ["env", "-u", variable, *PYTHON_KV]
    facts = doctor(*COOKIE, *options, plugin=plugin)
    assert facts["results"] == {
        "file": "ok",
        "without cookie": "ok",
        "start": "failed",
        otherwise: "ok",
    }
    assert otherwise.split()[-1] in facts["said"]["start"][1]


def test_tls_that_nobody_asked_for() -> None:
    from pyplugin import mtls

    pem = mtls.generate().cert_pem.decode()
    plugin = ["env", f"PLUGIN_CLIENT_CERT={pem}", *PYTHON_KV]
    facts = doctor(*COOKIE, "--no-tls", plugin=plugin)
    assert facts["said"]["start"][1] == "Leave out --no-tls."
    assert facts["results"]["without --no-tls"] == "failed"


def test_packers_plugins_speak_another_protocol() -> None:
    plugin = script(
        "import os, sys\n"
        "if os.environ.get('PACKER_PLUGIN_MAGIC_COOKIE', '')[:6] != 'd602bf':\n"
        "    sys.exit('Please do not execute plugins directly. Packer will execute these.')\n"
        "print('5|0|unix|/tmp/packer-plugin1')\n"
    )
    facts = doctor("--host", "packer", plugin=plugin)
    assert facts["results"] == {"file": "ok", "without cookie": "ok", "start": "failed"}
    assert "Packer's own protocol" in facts["said"]["start"][1]


def test_a_plugin_that_checks_no_cookie() -> None:
    plugin = ["env", "BASIC_PLUGIN=hello", *PYTHON_KV]
    facts = doctor(plugin=plugin, status=0)
    assert facts["results"]["without cookie"] == "warning"
    assert "asks for none" in facts["said"]["without cookie"][0]


@pytest.mark.parametrize(
    ("plugin", "text"),
    [
        (script("print('hello')"), "'hello"),
        (script("import sys; sys.exit(3)"), "it exited with status 3"),
    ],
    ids=["talks", "ends"],
)
def test_what_is_no_plugin(plugin: list[str], text: str) -> None:
    facts = doctor("--cookie", "A=B", plugin=plugin)
    assert facts["results"] == {"file": "ok", "without cookie": "warning", "start": "failed"}
    assert text in facts["said"]["without cookie"][0]
    assert "Is it a plugin" in facts["said"]["without cookie"][1]


def test_what_says_nothing() -> None:
    plugin = script("import time; time.sleep(600)")
    facts = doctor("--cookie", "A=B", "--timeout", "0.5", plugin=plugin)
    assert "neither ends nor" in facts["said"]["without cookie"][0]
    assert "within 0.5 s" in facts["said"]["start"][0]
    assert "--timeout" in facts["said"]["start"][1]


def test_a_file_that_cannot_be_run(tmp_path: Path) -> None:
    path = tmp_path / "terraform-provider-x"
    facts = doctor("--host", "terraform", plugin=[str(path)])
    assert facts["results"] == {"file": "failed"}
    assert "No such file" in facts["said"]["file"][0]
    path.write_text("#!/no/such/python\n")
    path.chmod(0o755)
    facts = doctor("--host", "terraform", plugin=[str(path)])
    assert "wants the interpreter '/no/such/python'" in facts["said"]["file"][0]


def test_what_people_see() -> None:
    done = pyplugin("doctor", "--cookie", "BASIC_PLUGIN=bye", plugin=PYTHON_KV)
    assert (done.status, done.err) == (1, "")
    assert "\x1b" not in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0][:2] == ["file", "ok"]
    assert lines[1][:3] == ["without", "cookie", "ok"]
    assert lines[2][:2] == ["start", "failed"]
    assert lines[-1] == ["It", "does", "not", "start."]


def test_the_cookie_of_this_process_is_not_taken_for_none() -> None:
    env = {"BASIC_PLUGIN": "hello"}
    done = pyplugin("doctor", "--json", *COOKIE, plugin=PYTHON_KV, env={**os.environ, **env})
    assert done.status == 0
    assert done.json["checks"][1]["result"] == "ok"
