"""What this distribution registers: the command `nlcore bench`, without importing what it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import hookimpl
from nlcore_bench.cli import add_bench

if TYPE_CHECKING:
    from nlcore.plugin import Subparsers

__all__ = ["nlcore_commands"]


@hookimpl
def nlcore_commands(subparsers: Subparsers) -> None:
    """Add `nlcore bench`."""
    add_bench(subparsers)
