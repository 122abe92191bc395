"""Files and folders that a command writes: whole, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nlcore.errors import ConfigError

__all__ = ["new_file", "new_folder"]

_KEPT = 40  # characters of a name that the temporary name repeats


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; its file replaces that at `path` when the block ends.

    An existing file stays unchanged until then, and also if the block raises. A device or a pipe is written to
    directly.

    Raises:
        ConfigError: The file cannot be written there; raised before the block runs where that can be checked.
    """
    temporary = None
    try:
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise ConfigError(f"{path} is a folder. Name a file.")
        if target.exists() and not target.is_file():
            yield target
            return
        temporary = _neighbour(target)
        temporary.touch()
        yield temporary
        temporary.replace(target)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror or error}. Name another file.") from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`, whose content is moved to `path` when the block ends.

    Raises:
        ConfigError: The folder is not empty, or cannot be written.
    """
    temporary = None
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError(
                f"{path} is there already, and not empty. Give another one with --dir; nothing was changed."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _neighbour(path.resolve())
        temporary.mkdir()
        yield temporary
        if path.exists():  # it may be the current folder of the shell
            for item in temporary.iterdir():
                item.rename(path / item.name)
        else:
            temporary.rename(path)
    except OSError as error:
        text = f"{path} cannot be written: {error.strerror or error}. Give another one with --dir."
        raise ConfigError(text) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _neighbour(path: Path) -> Path:
    """Return an unused path in the same folder, with the same ending."""
    return path.with_name(f".{path.stem[:_KEPT]}-{secrets.token_hex(4)}{path.suffix[:_KEPT]}")
