"""Writes the generated modules: the package's own, and those of the examples.

    python scripts/gen_protos.py            write them
    python scripts/gen_protos.py --check    fail when a checked-in file differs

The package's messages are loaded from a descriptor set into a descriptor pool of their own, not by
protoc's Python code: that refuses protobuf runtimes older than itself, and puts the symbols of
package ``plugin`` into the process-wide pool, where they collide with every other go-plugin port.
"""

from __future__ import annotations

import argparse
import importlib.resources
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

if TYPE_CHECKING:
    from google.protobuf.descriptor_pb2 import ServiceDescriptorProto

ROOT = Path(__file__).resolve().parents[1]
PACKAGE_PROTOS = ROOT / "python" / "pyplugin" / "proto"
GENERATED = ROOT / "python" / "pyplugin" / "_generated"
HEADER = "# Made by scripts/gen_protos.py. Do not edit.\n"
CARDINALITY = {
    (False, False): ("UNARY_UNARY", "UnaryUnaryMethod"),
    (False, True): ("UNARY_STREAM", "UnaryStreamMethod"),
    (True, False): ("STREAM_UNARY", "StreamUnaryMethod"),
    (True, True): ("STREAM_STREAM", "StreamStreamMethod"),
}


def protoc(include: Path, arguments: list[str]) -> None:
    well_known = importlib.resources.files("grpc_tools") / "_proto"
    names = sorted(path.name for path in include.glob("*.proto"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "grpc_tools.protoc",
            f"-I{include}",
            f"-I{well_known}",
            *arguments,
            *names,
        ],
        check=True,
    )


def descriptor_set(include: Path) -> list[FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "set"
        protoc(include, ["--include_imports", f"--descriptor_set_out={path}"])
        files = FileDescriptorSet.FromString(path.read_bytes()).file
    for file in files:
        file.ClearField("options")
    return list(files)


def stubs(include: Path) -> dict[str, str]:
    """What ``protoc --pyi_out`` says of the messages, by file name."""
    with tempfile.TemporaryDirectory() as folder:
        protoc(include, [f"--pyi_out={folder}"])
        return {path.name: complete(path.read_text()) for path in Path(folder).iterdir()}


def complete(pyi: str) -> str:
    """With the arguments that protoc leaves out of a type: without them it is not known."""
    if "_Mapping]" not in pyi:
        return pyi
    pyi = pyi.replace("from typing import ", "from typing import Any as _Any, ")
    return pyi.replace("_Mapping]", "_Mapping[str, _Any]]")


def literal(data: bytes) -> str:
    lines = [f"    {data[start : start + 60]!r}" for start in range(0, len(data), 60)]
    return "(\n" + "\n".join(lines) + "\n)"


def pool_module(files: list[FileDescriptorProto]) -> str:
    text = HEADER + (
        '"""The descriptor pool of this package alone."""\n\n'
        "from google.protobuf import descriptor_pool, message_factory\n\n"
        "POOL = descriptor_pool.DescriptorPool()\n"
    )
    for file in files:
        text += f"# {file.name}\nPOOL.AddSerializedFile({literal(file.SerializeToString())})\n"
    text += (
        "\n\ndef message_class(name):\n"
        "    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))\n"
    )
    return text


def message_module(file: FileDescriptorProto) -> str:
    text = HEADER + "from ._pool import message_class\n\n"
    for message in file.message_type:
        text += f'{message.name} = message_class("{file.package}.{message.name}")\n'
    return text


def python_type(name: str, package: str, module: str) -> str:
    if name == ".google.protobuf.Empty":
        return "empty_pb2.Empty"
    return f"{module}.{name.removeprefix(f'.{package}.')}"


def service_module(file: FileDescriptorProto, *, in_package: bool) -> str:
    """The grpclib base class and stub of every service in ``file``, typed."""
    module = file.name.removesuffix(".proto") + "_pb2"
    body = "".join(service_classes(file, service, module) for service in file.service)
    imports = f"from . import {module}\n" if in_package else f"import {module}\n"
    if "empty_pb2" in body:
        imports = f"from {'.' if in_package else 'google.protobuf'} import empty_pb2\n" + imports
    return (
        HEADER
        + "from __future__ import annotations\n\nimport abc\nfrom typing import TYPE_CHECKING\n\n"
        + "import grpclib.const\n\n"
        + imports
        + "\nif TYPE_CHECKING:\n    import grpclib.client\n    import grpclib.server\n"
        + body
    )


def service_classes(file: FileDescriptorProto, service: ServiceDescriptorProto, module: str) -> str:
    base, mapping, stub = "", "", ""
    for method in service.method:
        request = python_type(method.input_type, file.package, module)
        reply = python_type(method.output_type, file.package, module)
        cardinality, kind = CARDINALITY[method.client_streaming, method.server_streaming]
        path = f"/{file.package}.{service.name}/{method.name}"
        base += (
            "\n    @abc.abstractmethod\n"
            f"    async def {method.name}(\n"
            f"        self, stream: grpclib.server.Stream[{request}, {reply}]\n"
            "    ) -> None: ...\n"
        )
        mapping += (
            f'            "{path}": grpclib.const.Handler(\n'
            f"                self.{method.name},\n"
            f"                grpclib.const.Cardinality.{cardinality},\n"
            f"                {request},\n"
            f"                {reply},\n"
            "            ),\n"
        )
        stub += (
            f"        self.{method.name} = grpclib.client.{kind}(\n"
            f'            channel, "{path}", {request}, {reply}\n'
            "        )\n"
        )
    return (
        f"\n\nclass {service.name}Base(abc.ABC):\n{base.lstrip(chr(10))}\n"
        "    def __mapping__(self) -> dict[str, grpclib.const.Handler]:\n"
        f"        return {{\n{mapping}        }}\n"
        f"\n\nclass {service.name}Stub:\n"
        "    def __init__(self, channel: grpclib.client.Channel) -> None:\n"
        f"        import grpclib.client\n\n{stub}"
    )


def package_files() -> dict[Path, str]:
    files = descriptor_set(PACKAGE_PROTOS)
    pyi = stubs(PACKAGE_PROTOS)
    made = {
        GENERATED / "__init__.py": HEADER,
        GENERATED / "_pool.py": pool_module(files),
        GENERATED / "_pool.pyi": HEADER
        + "from google.protobuf.descriptor_pool import DescriptorPool\n"
        + "from google.protobuf.message import Message\n\nPOOL: DescriptorPool\n\n"
        + "def message_class(name: str) -> type[Message]: ...\n",
    }
    for file in files:
        if file.package == "google.protobuf":
            made[GENERATED / "empty_pb2.py"] = message_module(file)
            made[GENERATED / "empty_pb2.pyi"] = (
                HEADER + "from google.protobuf.empty_pb2 import Empty as Empty\n"
            )
            continue
        module = file.name.removesuffix(".proto")
        made[GENERATED / f"{module}_pb2.py"] = message_module(file)
        made[GENERATED / f"{module}_pb2.pyi"] = HEADER + pyi[f"{module}_pb2.pyi"]
        made[GENERATED / f"{module}_grpc.py"] = service_module(file, in_package=True)
    return made


def example_files(folder: Path) -> dict[Path, str]:
    """An example's messages by plain protoc, as a user of the package would make them."""
    with tempfile.TemporaryDirectory() as scratch:
        protoc(folder / "proto", [f"--python_out={scratch}", f"--pyi_out={scratch}"])
        made = {folder / path.name: path.read_text() for path in Path(scratch).iterdir()}
    for file in descriptor_set(folder / "proto"):
        if file.service:
            name = file.name.removesuffix(".proto") + "_grpc.py"
            made[folder / name] = service_module(file, in_package=False)
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = package_files()
    for proto in sorted(ROOT.glob("examples/*/proto")):
        made.update(example_files(proto.parent))
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(made[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
