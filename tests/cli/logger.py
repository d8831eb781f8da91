"""A plugin that logs a line of each kind, and ends as a line of the FIFO in LOGGER_FIFO says."""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "kv"))

from kv import HANDSHAKE, KVPlugin

from pyplugin import ServeConfig, serve

REAL_STDERR = os.dup(2)
TIMESTAMP = "2024-01-02T03:04:05.000006Z"


def log(level: str, module: str, message: str, **fields: Any) -> None:
    line = {"@level": level, "@module": module, "@message": message, "@timestamp": TIMESTAMP}
    os.write(REAL_STDERR, json.dumps({**line, **fields}).encode() + b"\n")


def end() -> None:
    status = Path(os.environ["LOGGER_FIFO"]).read_text()
    log("info", "kv", "last words")
    os._exit(int(status))


if __name__ == "__main__":
    log("trace", "kv", "begin", pid=os.getpid())
    log("debug", "kv.store", "opened", path="a b", empty="")
    log("info", "web", "ready\x1b[2J", port=80)
    os.write(REAL_STDERR, b"plain\n")
    log("warn", "kv.store", "slow", seconds=1.5)
    log("error", "web", "lost", who="ü")
    if "LOGGER_FIFO" in os.environ:
        threading.Thread(target=end, daemon=True).start()
    serve(ServeConfig(HANDSHAKE, {"kv": KVPlugin()}))
