"""Prints the changelog of the version that Cargo.toml names, the text of its release.

    python scripts/release_notes.py v0.2.0

Fails unless the tag is that version's and the changelog has a part for it with a date.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Compares the tag, then prints."""
    manifest = (ROOT / "Cargo.toml").read_text()
    found = re.search(r'^version = "(.+)"$', manifest, re.MULTILINE)
    version = found[1] if found else ""
    if sys.argv[1:] != [f"v{version}"]:
        sys.exit(f"the tag is {sys.argv[1:]}, the version in Cargo.toml {version!r}")
    changelog = (ROOT / "CHANGELOG.md").read_text()
    head = rf"^## {re.escape(version)} \(\d{{4}}-\d\d-\d\d\)$"
    part = re.search(rf"{head}\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    if not part:
        sys.exit(f"CHANGELOG.md has no part '## {version} (year-month-day)'")
    print(part[1].strip())


if __name__ == "__main__":
    main()
