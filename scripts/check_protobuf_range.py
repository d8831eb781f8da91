"""Loads the package on each end of every major version of protobuf that pyproject.toml allows.

Each version is installed into a folder of its own, put before the installed one, and the modules of
a plugin and of a host are imported and their messages used.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

# The floor, and the newest of each major version.
VERSIONS = ("==4.25.0", "==4.*", "==5.26.0", "==5.*", "==6.30.0", "==6.*", "==7.*")
CODE = """
import google.protobuf
from pyplugin import Client, serve
from pyplugin._generated.grpc_broker_pb2 import ConnInfo
from pyplugin._generated.grpc_stdio_pb2 import StdioData
from pyplugin.serving.reflection import ReflectionServicer, _files, _find_symbol
info = ConnInfo(service_id=1, network="unix", knock=ConnInfo.Knock(ack=True))
assert ConnInfo.FromString(info.SerializeToString()) == info
assert StdioData(channel=StdioData.STDERR).channel == 2
assert len(list(_files(_find_symbol("plugin.GRPCStdio.StreamStdio"), set()))) == 2
print("protobuf", google.protobuf.__version__, "works")
"""


def main() -> int:
    failed = 0
    for version in VERSIONS:
        with tempfile.TemporaryDirectory() as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            subprocess.run([*pip, "--target", folder, f"protobuf{version}"], check=True)
            env = {**os.environ, "PYTHONPATH": folder}
            failed += subprocess.run([sys.executable, "-c", CODE], env=env).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
