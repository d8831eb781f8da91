from __future__ import annotations

import re
from pathlib import Path

import pyplugin

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def test_the_reference_has_every_public_name() -> None:
    text = "".join(page.read_text() for page in REFERENCE.glob("*.md"))
    names = set(re.findall(r"^::: pyplugin\.(\w+)$", text, re.M))
    (members,) = re.findall(r"^::: pyplugin\.errors\n.*?members: \[(.+?)\]", text, re.M | re.S)
    names |= {*members.split(", "), "__version__"}
    assert sorted(set(pyplugin.__all__) - names) == []
