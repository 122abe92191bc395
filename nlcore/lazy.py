"""Public names of a package that are imported when they are first used, so that listing algorithms imports no torch."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_exports", "moved_names"]


def lazy_exports(
    package: str, homes: Mapping[str, Iterable[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a package (PEP 562).

    Args:
        package: Its `__name__`.
        homes: The public names, by the module below the package that defines them.

    Example:
        In a package's `__init__.py`:

            __getattr__, __dir__ = lazy_exports(__name__, {"config": ["BlurConfig"], "blur": ["Blur"]})
    """
    home = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(sorted(home))}")
        value = getattr(import_module(f"{package}.{home[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted(home)


def moved_names(module: str, home: str, names: Iterable[str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module whose names have moved to another one, until 0.3; it warns.

    Args:
        module: The module, `__name__`.
        home: The module that has the names now.
        names: The names.
    """

    def load(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        text = f"{module}.{name} is deprecated and will be removed in 0.3; import {home}.{name}."
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return getattr(import_module(home), name)

    return load
