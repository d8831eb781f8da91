"""Running only the executable that one means to run (go-plugin ``client.go`` ``SecureConfig``)."""

from __future__ import annotations

import hashlib
import hmac
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ChecksumMismatch, PluginNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SecureConfig"]

_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class SecureConfig:
    """The checksum that the plugin's executable must have.

    Attributes:
        checksum: The digest, as bytes.
        hash: Name of the algorithm, any of ``hashlib`` whose digests have one length.

    Raises:
        ValueError: The checksum is empty or of another length than the algorithm's, or there is no
            such algorithm.
    """

    checksum: bytes
    hash: str = "sha256"

    def __post_init__(self) -> None:
        if not self.checksum:
            raise ValueError("`checksum` is empty: it must be the digest of the executable")
        try:
            size = hashlib.new(self.hash).digest_size
        except ValueError as error:
            raise ValueError(f"`hash`: {error}; hashlib.algorithms_available are known") from error
        if len(self.checksum) != size:
            raise ValueError(
                f"`checksum` has {len(self.checksum)} bytes, a digest of {self.hash} has {size}"
            )

    def check(self, program: str, env: Mapping[str, str], cwd: str | None) -> str:
        """Compares the checksum with that of the file that ``program`` names.

        Args:
            program: A path, or a name to look for in the ``PATH`` of ``env``.
            env: The environment of the plugin.
            cwd: Its working directory; a relative path begins there.

        Returns:
            The absolute path of the file, which is the one to run.

        Raises:
            ChecksumMismatch: It is another file.
            PluginNotFound: There is none that can be read.
        """
        is_path = len(Path(program).parts) > 1
        # Without PATH the system searches its default folders, not those of this process.
        path = program if is_path else shutil.which(program, path=env.get("PATH", os.defpath))
        try:
            if path is None:
                raise FileNotFoundError(program)
            # Symbolic links are left in: a virtual environment's Python is one.
            file = Path(cwd or "", path).absolute()
            digest = self._digest(file)
        except OSError as error:
            raise PluginNotFound(
                f"its executable {program!r} cannot be read for its checksum: "
                f"{error.strerror or 'there is none in PATH'}"
            ) from error
        if not hmac.compare_digest(digest, self.checksum):
            raise ChecksumMismatch(
                f"its executable {str(file)!r} is not the one it should be: its {self.hash} is "
                f"{digest.hex()}, secure_config says {self.checksum.hex()}: install the right one, "
                "or correct secure_config"
            )
        return str(file)

    def _digest(self, file: Path) -> bytes:
        digest = hashlib.new(self.hash)
        with file.open("rb") as opened:
            while data := opened.read(_READ_BYTES):
                digest.update(data)
        return digest.digest()
