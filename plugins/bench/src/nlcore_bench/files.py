"""Atomic writes of result files, and locks on them."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import IO

from nlcore.errors import NlcoreError

__all__ = ["Appender", "ResultsError", "WriteError", "lock", "make_folder", "write_whole"]


class ResultsError(NlcoreError, ValueError):
    """A folder of results cannot be read or written, or belongs to another study."""


class WriteError(ResultsError, OSError):
    """A file or folder of results cannot be written; its previous content is unchanged."""


def make_folder(folder: Path) -> Path:
    """Return a folder that results can be written to, created if missing; an error thus comes before hours of work.

    Raises:
        WriteError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise WriteError(f"cannot make the folder {folder}: {error}. Choose another one with --out.") from error
    return folder


def write_whole(path: Path, content: str | bytes) -> None:
    """Write `content` to `path` atomically: a reader sees the old file or the new one.

    Raises:
        WriteError: The system refuses, for instance because the disk is full.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise WriteError(
                f"cannot write {path}: {error.strerror or error}. Nothing was changed; free some space, or choose "
                "another folder with --out."
            ) from error
        raise


class Appender:
    """Appends to an open file: `append` either writes all of its data to the disk, or raises and leaves none.

    Args:
        file: Opened unbuffered for appending; no other process appends to it.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._torn_at: int | None = None

    def append(self, data: bytes) -> None:
        """Write all of `data`, even if the system takes only a few bytes at a time.

        Raises:
            OSError: The system refuses. The bytes written so far are cut off again, at the latest by the next call.
        """
        self._cut()
        status = os.fstat(self._file.fileno())
        if status.st_nlink == 0:
            raise OSError("the file was deleted")
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except BaseException:
            self._torn_at = status.st_size
            with suppress(OSError):
                self._cut()
            raise

    def _cut(self) -> None:
        """Cut off the bytes of a failed write."""
        if self._torn_at is not None:
            self._file.truncate(self._torn_at)
            self._torn_at = None


def lock(file: IO[bytes]) -> bool:
    """Lock an open file until it is closed; return False if another process holds the lock.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks: two runs must not share a folder
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
