"""The parsers of the core's commands, for running them, for their help and for completion."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import Any

from nlcore.cli.commands import COMMANDS
from nlcore.registry.isolation import standard_output

__all__ = ["CommandParser", "core_command"]


class CommandParser(argparse.ArgumentParser):
    """A parser whose help is an answer: argparse says nothing when it cannot be written."""

    def print_help(self, file: Any = None) -> None:
        """Print the help, by default on standard output."""
        if file is None:
            standard_output.write(self.format_help())
        else:
            super().print_help(file)


def core_command(name: str) -> tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], int]]:
    """Return the parser of a command of the core, and the function that runs it.

    The command's module may have `EXAMPLES`, pairs of a command line and what it does, which its help shows.
    """
    module = import_module(COMMANDS[name].module)
    examples = getattr(module, "EXAMPLES", ())
    width = max((len(line) for line, _ in examples), default=0)
    lines = [f"  {line.ljust(width)}  {what}" for line, what in examples]
    parser = CommandParser(
        prog=f"nlcore {name}",
        description=f"{COMMANDS[name].help}.".capitalize(),
        epilog="\n".join(["examples:", *lines]) if lines else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser, module.run
