"""Long runs: what leaks, and what a death at any moment leaves behind."""

from __future__ import annotations

import sys
from pathlib import Path

AUTHOR = [sys.executable, str(Path(__file__).parents[1] / "fixtures" / "authors.py")]
