"""The Go programs are those of the tests of interoperation."""

from __future__ import annotations

from tests.interop.conftest import peers

__all__ = ["peers"]
