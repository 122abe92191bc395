"""What a plugin can be asked for: the hook specifications and the names that belong to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

import pluggy

from nlcore.registry.spec import AlgorithmSpec

if TYPE_CHECKING:
    from argparse import ArgumentParser

__all__ = [
    "GROUP",
    "GROUP_PREFIX",
    "PROJECT",
    "SPECIFICATIONS",
    "Subparsers",
    "hookimpl",
    "nlcore_algorithms",
    "nlcore_commands",
]

PROJECT = "nlcore"
GROUP_PREFIX = "nlcore.plugins"
GROUP = f"{GROUP_PREFIX}.v1"

hookimpl = pluggy.HookimplMarker(PROJECT)
_hookspec = pluggy.HookspecMarker(PROJECT)


class Subparsers(Protocol):
    """The part of argparse's `add_subparsers()` object that a plugin may use."""

    def add_parser(self, name: str, *, help: str = "", **keywords: Any) -> ArgumentParser:
        """Add a command and return its parser; the keywords go to `argparse.ArgumentParser`."""
        ...


@_hookspec
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:  # type: ignore[empty-body]
    """Return the algorithms of this plugin.

    All ids lie in the namespace that the entry point names. One bad specification fails the whole plugin,
    so that nothing half-registered exists.
    """


@_hookspec
def nlcore_commands(subparsers: Subparsers) -> None:
    """Add commands to the command line.

    Each command's parser sets the function that runs it: `parser.set_defaults(run=function)`, where
    `function(arguments: argparse.Namespace) -> int | None` returns the exit code, `None` for 0.

    Args:
        subparsers: Has `add_parser(name, *, help="", **keywords)`, as argparse has it.
    """


class _Specifications:
    """The hook specifications alone: pluggy looks at every name of what it is given, once for each plugin."""

    nlcore_algorithms = staticmethod(nlcore_algorithms)
    nlcore_commands = staticmethod(nlcore_commands)

    def __dir__(self) -> list[str]:
        return ["nlcore_algorithms", "nlcore_commands"]


SPECIFICATIONS: Any = _Specifications()
