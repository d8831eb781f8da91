"""The provider of docs/terraform.md, taken from the page, under Terraform and OpenTofu.

Where there is one: none is installed for it. With PACKAGING=1 a resource lives its whole life.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyplugin import Client, ClientConfig, HandshakeConfig, Plugin
from pyplugin.cli.hosts import KNOWN_HOSTS
from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

msgpack: Any = pytest.importorskip("msgpack")

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="the provider's executable is a script"),
    pytest.mark.timeout(120, func_only=True),
]

# Seconds for one command of Terraform, which starts the provider several times.
TIMEOUT = 60
TERRAFORM = pytest.mark.parametrize("terraform", ["terraform", "tofu"], indirect=True)


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's files, and what its commands make of them."""
    folder = tmp_path_factory.mktemp("terraform")
    text = (ROOT / "docs" / "terraform.md").read_text()
    for name, block in re.findall(
        r"^```\w+\n((?:#|//) [\w./-]+\n)(.*?)^```$", text, re.MULTILINE | re.DOTALL
    ):
        (folder / name.split()[1]).write_text(block)
    subprocess.run(
        [
            *(sys.executable, "-m", "grpc_tools.protoc", "-I."),
            *("--python_out=.", "--grpclib_python_out=.", "tfplugin6.proto"),
        ],
        cwd=folder,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        check=True,
    )
    executable = folder / "bin" / "terraform-provider-files"
    executable.parent.mkdir()
    executable.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{folder}/provider.py"\n')
    executable.chmod(0o755)
    return folder


@pytest.fixture
def folder(page: Path, tmp_path: Path) -> Path:
    """A folder to run Terraform in."""
    for name in "main.tf", "dev.tfrc":
        shutil.copy(page / name, tmp_path)
    (tmp_path / "bin").symlink_to(page / "bin")
    return tmp_path


class Terraform:
    """A ``terraform`` or ``tofu``, in a folder."""

    def __init__(self, path: str, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self.variables = {"TF_CLI_CONFIG_FILE": str(folder / "dev.tfrc"), "CHECKPOINT_DISABLE": "1"}

    def run(self, command: str, *options: str, status: int = 0) -> str:
        """What it prints to both of its outputs."""
        done = subprocess.run(
            [self._path, command, "-no-color", *options],
            cwd=self._folder,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == status, done.stdout
        return done.stdout

    def apply(self) -> str:
        return self.run("apply", "-auto-approve")


@pytest.fixture
def terraform(request: pytest.FixtureRequest, folder: Path) -> Terraform:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"there is no {request.param}")
    return Terraform(path, folder)


def change(folder: Path, old: str, new: str) -> None:
    file = folder / "main.tf"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def running(page: Path) -> list[str]:
    """The providers that run."""
    script = os.fsencode(page / "provider.py")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [path.parent.name] * (script in words)
    return found


@pytest.mark.skipif(not os.environ.get("PACKAGING"), reason="takes many starts of the provider")
@TERRAFORM
def test_the_life_of_a_resource(terraform: Terraform, folder: Path, page: Path) -> None:
    file = folder / "greeting.txt"
    terraform.variables["TF_LOG_PROVIDER"] = "trace"
    printed = terraform.apply()
    assert "configuring client automatic mTLS" in printed
    assert re.search(r"provider.terraform-provider-files: configured: .*folder=\.", printed)
    assert "Apply complete! Resources: 1 added" in printed
    assert file.read_text() == "hello, ada!\n"

    del terraform.variables["TF_LOG_PROVIDER"]
    file.unlink()
    # 2: there is something to do.
    assert "will be created" in terraform.run("plan", "-detailed-exitcode", status=2)

    change(folder, "ada", "bob")
    change(folder, "greeting.txt", "other.txt")
    assert "Resources: 1 added" in terraform.apply()
    change(folder, "other.txt", "last.txt")
    assert "must be replaced" in terraform.apply()
    assert (folder / "last.txt").read_text() == "hello, bob!\n"
    assert not (folder / "other.txt").exists()

    assert "1 destroyed" in terraform.run("destroy", "-auto-approve")
    assert not (folder / "last.txt").exists()
    assert running(page) == []


@TERRAFORM
def test_a_value_that_is_wrong(terraform: Terraform, folder: Path) -> None:
    change(folder, "greeting.txt", "up/greeting.txt")
    printed = terraform.run("validate", status=1)
    assert "Error: Not a file name" in printed
    assert "'up/greeting.txt' has a folder." in printed


@pytest.fixture
def served(page: Path, folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The provider as a developer starts it, and the line that it prints."""
    command = [sys.executable, str(page / "provider.py"), "--debug"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline()
        finally:
            process.kill()


@TERRAFORM
def test_it_attaches(
    terraform: Terraform, folder: Path, served: tuple[subprocess.Popen[str], str]
) -> None:
    process, line = served
    terraform.variables["TF_REATTACH_PROVIDERS"] = line
    del terraform.variables["TF_CLI_CONFIG_FILE"]
    terraform.run("init")
    terraform.apply()
    assert (folder / "greeting.txt").read_text() == "hello, ada!\n"
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(TIMEOUT) == 0


async def test_a_host_of_ours_plans_and_applies(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(page)
    import tfplugin6_grpc  # type: ignore[import-not-found]
    import tfplugin6_pb2 as tf  # type: ignore[import-not-found]

    class ProviderPlugin(Plugin):
        def servicers(self, broker: object) -> list[Any]:
            raise NotImplementedError

        def stub(self, broker: object, channel: Any) -> Any:
            return tfplugin6_grpc.ProviderStub(channel)

    def encode(value: Any) -> Any:
        return tf.DynamicValue(msgpack=msgpack.packb(value))

    def decode(dynamic: Any) -> Any:
        return msgpack.unpackb(dynamic.msgpack)

    async def planned(prior: Any, proposed: Any) -> Any:
        return await provider.PlanResourceChange(
            tf.PlanResourceChange.Request(
                type_name="files_text",
                prior_state=encode(prior),
                proposed_new_state=encode(proposed),
            )
        )

    async def applied(prior: Any, plan: Any) -> Any:
        reply = await provider.ApplyResourceChange(
            tf.ApplyResourceChange.Request(
                type_name="files_text",
                prior_state=encode(prior),
                planned_state=plan.planned_state,
            )
        )
        assert not reply.diagnostics
        return decode(reply.new_state)

    cookie = KNOWN_HOSTS["terraform"].cookie
    config = ClientConfig(
        handshake_config=HandshakeConfig(6, *cookie),
        plugins={"provider": ProviderPlugin()},
        cmd=[str(page / "bin" / "terraform-provider-files")],
        cwd=str(tmp_path),
    )
    async with Client(config) as client:
        provider = client.dispense("provider")
        schema = await provider.GetProviderSchema(tf.GetProviderSchema.Request())
        assert list(schema.resource_schemas) == ["files_text"]
        folder = encode({"folder": "."})
        await provider.ConfigureProvider(tf.ConfigureProvider.Request(config=folder))
        wanted = {"name": "a", "content": msgpack.ExtType(0, b"\0"), "sha256": None}
        plan = await planned(None, wanted)
        assert isinstance(decode(plan.planned_state)["sha256"], msgpack.ExtType)
        plan = await planned(None, {**wanted, "content": "one"})
        state = await applied(None, plan)
        assert (tmp_path / "a").read_text() == "one"
        assert state == decode(plan.planned_state)
        (tmp_path / "a").write_text("two")
        read = await provider.ReadResource(
            tf.ReadResource.Request(type_name="files_text", current_state=encode(state))
        )
        assert decode(read.new_state)["content"] == "two"
        assert list((await planned(state, {**state, "name": "b"})).requires_replace)
        raw = tf.RawState(json=json.dumps(state).encode())
        upgraded = await provider.UpgradeResourceState(
            tf.UpgradeResourceState.Request(type_name="files_text", raw_state=raw)
        )
        assert decode(upgraded.upgraded_state) == state
        assert await applied(state, await planned(state, None)) is None
        assert not (tmp_path / "a").exists()
    assert await client.wait_exited() == 0
