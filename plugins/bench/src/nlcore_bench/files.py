"""Folders and files of results: a file is written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from nlcore.errors import ConfigError

__all__ = ["made", "write_whole"]


def made(folder: Path) -> Path:
    """Return a folder that results can be written to, made if it is not there; before hours of work, not after.

    Raises:
        ConfigError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}. Choose another folder with --out.") from error
    return folder


def write_whole(path: Path, content: str | bytes) -> None:
    """Put `content` into `path` so that a reader sees the old file or the new one, never half of either."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
