"""The data of the tasks: digits, tables and files of queries, maps."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from nlcore.errors import ConfigError

__all__ = ["package_folder"]


def package_folder(name: str, missing: str) -> Path:
    """Return the folder of an installed package, which is not imported.

    Args:
        name: The package.
        missing: The message if it is not installed.

    Raises:
        ConfigError: It is not installed.
    """
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ConfigError(missing)
    return Path(found.origin).parent
