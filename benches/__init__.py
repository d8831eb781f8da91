"""Benchmarks; each module runs by ``python -m benches.NAME`` in the project's environment."""

import sys
from pathlib import Path

# The messages of the KV service, which the plugins that are measured talk.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples" / "kv"))
