"""Where inputs lie that a decoder reads from a file: in memory, as far as there is such a place."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made in it
FOLDER = Path(tempfile.mkdtemp(prefix="onepass-", dir=_MEMORY if _MEMORY.is_dir() else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def put(content: bytes, name: str = "data") -> Path:
    """Write a file, over the one that was there."""
    path = FOLDER / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
