"""What all commands have in common: options, help, exit status, and what is loaded when."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pyplugin import __version__
from pyplugin.cli.hosts import KNOWN_HOSTS, guess
from tests.conftest import ROOT
from tests.fixtures import script

from . import PYTHON_KV, Done, command, pyplugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMANDS = ("inspect", "call", "logs", "discover", "doctor")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_the_exit_status(command: str, quick: Callable[..., Done]) -> None:
    done = quick(command, "--help")
    assert (done.status, done.err) == (0, "")
    assert "--json" in done.out
    assert "exit status:" in done.out
    assert "128 + N" in done.out


def test_the_commands_and_the_version_are_told(quick: Callable[..., Done]) -> None:
    shown = quick("--help").out
    assert all(f"\n    {command} " in shown for command in COMMANDS)
    assert pyplugin("--version").out == f"pyplugin {__version__}\n"


def test_the_script_is_the_same_command() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert '\n[project.scripts]\npyplugin = "pyplugin.cli.main:main"\n' in project


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["inspect"], "Which plugin? `pyplugin inspect [options] -- COMMAND…`"),
        (["inspect", "--", "./gpx_x"], "by its name, --host grafana may do"),
        (["inspect", "--", "./x"], "Which magic cookie?"),
        (["inspect", "--cookie", "A", "--", "./x"], "--cookie takes KEY=VALUE, not 'A'"),
        (["inspect", "--cookie", "=A", "--", "./x"], "--cookie takes KEY=VALUE, not '=A'"),
        (["logs", "--cookie", "A=B", "--env", "C", "--", "./x"], "--env takes KEY=VALUE, not 'C'"),
        (["inspect", "--host", "nobody", "--", "./x"], "invalid choice: 'nobody'"),
        (
            ["inspect", "--cookie", "A=B", "--protocol-version", "-1", "--", "./x"],
            "a version is not negative",
        ),
        (["inspect", "--timeout", "0", "--", "./x"], "'0' is no number of seconds above 0"),
        (["inspect", "./x"], "unrecognized arguments: ./x"),
        (["call", "--cookie", "A=B"], "Which method?"),
        (["call", "--cookie", "A=B", "Get"], "Which plugin?"),
        (["doctor"], "Which plugin?"),
        (["discover", "--", "./x"], "discover runs no plugin"),
        (["nothing"], "invalid choice: 'nothing'"),
        ([], "required: COMMAND"),
    ],
)
def test_what_makes_no_sense(words: list[str], complaint: str, quick: Callable[..., Done]) -> None:
    done = quick(*words)
    assert (done.status, done.out) == (2, "")
    assert complaint in done.err


@pytest.mark.parametrize(
    ("options", "variables", "cookie"),
    [
        (["--cookie", "A=b=c"], {}, ("A", "b=c")),
        ([], {"PYPLUGIN_COOKIE": "A=env"}, ("A", "env")),
        (["--cookie", "A=option"], {"PYPLUGIN_COOKIE": "A=env"}, ("A", "option")),
        (
            ["--host", "grafana"],
            {"PYPLUGIN_COOKIE": "A=env"},
            ("grafana_plugin_type", "datasource"),
        ),
        (["--host", "grafana", "--cookie", "A=option"], {}, ("A", "option")),
    ],
)
def test_where_the_cookie_comes_from(
    tmp_path: Path, options: list[str], variables: dict[str, str], cookie: tuple[str, str]
) -> None:
    key, value = cookie
    found = told_by_plugin(tmp_path, *options, env=variables)
    assert found[key] == value


def test_what_options_say_is_in_the_plugins_environment(tmp_path: Path) -> None:
    found = told_by_plugin(
        tmp_path, "--host", "terraform", "--env", "X=1", "--env", "Y=a=b", "--mux", "--no-tls"
    )
    assert found["PLUGIN_PROTOCOL_VERSIONS"] == "5,6"
    assert (found["X"], found["Y"]) == ("1", "a=b")
    assert found["PLUGIN_MULTIPLEX_GRPC"] == "true"
    assert "PLUGIN_CLIENT_CERT" not in found
    found = told_by_plugin(tmp_path, "--host", "vault", "--protocol-version", "7")
    assert found["PLUGIN_PROTOCOL_VERSIONS"] == "7"
    assert "PLUGIN_CLIENT_CERT" in found


def told_by_plugin(
    tmp_path: Path, *options: str, env: dict[str, str] | None = None
) -> dict[str, str]:
    """The environment of a program that writes it to a file."""
    path = tmp_path / "environment.json"
    code = f"import json, os; open({str(path)!r}, 'w').write(json.dumps(dict(os.environ)))"
    pyplugin("inspect", *options, plugin=script(code), env=env)
    found: dict[str, str] = json.loads(path.read_text())
    return found


def test_a_preset_starts_a_plugin() -> None:
    """By the cookie that is known of its host."""
    code = (
        "import sys\n"
        f"sys.path.insert(0, {PYTHON_KV[1].rpartition('/')[0]!r})\n"
        "from plugin import KVPlugin\n"
        "from pyplugin import HandshakeConfig, ServeConfig, serve\n"
        "handshake = HandshakeConfig(2, 'NOMAD_PLUGIN_MAGIC_COOKIE',"
        " 'e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255')\n"
        "serve(ServeConfig(handshake, {'kv': KVPlugin()}))\n"
    )
    done = pyplugin("inspect", "--json", "--host", "nomad", "--no-tls", plugin=script(code))
    assert done.status == 0
    assert done.json["negotiated_version"] == 2


@pytest.mark.parametrize(
    ("file", "host"),
    [
        ("/opt/terraform-provider-aws_v5", "terraform"),
        ("vault-plugin-secrets-kv", "vault"),
        ("vault-plugin-database-redis", "vault-database"),
        ("gpx_datasource_linux_amd64", "grafana"),
        ("kv", None),
    ],
)
def test_hosts_are_known_by_the_names_of_their_plugins(file: str, host: str | None) -> None:
    assert guess([file]) == host
    assert host is None or host in KNOWN_HOSTS


def test_verbose_tells_what_the_host_does() -> None:
    done = pyplugin(
        "inspect", "--verbose", "--json", "--cookie", "BASIC_PLUGIN=hello", plugin=PYTHON_KV
    )
    assert (done.status, done.json["started"]) == (0, True)
    assert " started\n" in done.err


def test_the_package_does_not_load_the_command_line() -> None:
    code = "import json, sys; from pyplugin import Client, serve; print(json.dumps([*sys.modules]))"
    modules = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert "pyplugin.client" in modules
    assert [name for name in modules if name.startswith("pyplugin.cli.")] == []
    assert "argparse" not in modules


@pytest.mark.skipif(sys.platform != "linux", reason="the device is Linux's")
def test_a_full_disk_is_told_of() -> None:
    words = command("discover", "*", str(ROOT))
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "pyplugin: cannot write: No space left on device\n",
    )
