"""The commands that plugins add, gathered one plugin at a time."""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nlcore.cli.commands import COMMANDS
from nlcore.cli.parsers import CommandParser
from nlcore.errors import RegistryError, error_text, shorten
from nlcore.registry import default
from nlcore.registry.isolation import PluginFault, describe, isolated

__all__ = ["PluginCommand", "plugin_commands"]

_WORD = re.compile(r"\w[\w.-]*")


@dataclass(frozen=True, slots=True)
class PluginCommand:
    """A command of a plugin.

    Attributes:
        name: The first word after `nlcore`.
        help: One line for the overview; empty for an alias.
        parser: Reads what follows the name.
        origin: The distribution and its version.
    """

    name: str
    help: str
    parser: argparse.ArgumentParser
    origin: str


class _Collector:
    """Takes the place of argparse's `add_subparsers()` object for one plugin, and keeps what it adds.

    Since every plugin has its own, one that fails half-way leaves nothing behind.
    """

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self.commands: list[PluginCommand] = []

    def add_parser(
        self, name: str, *, help: str | None = "", aliases: Sequence[str] = (), **keywords: Any
    ) -> argparse.ArgumentParser:
        """Add a command and return its parser.

        Raises:
            RegistryError: A name is not one word, or the help is not a string.
        """
        name, *others = (_checked_name(one) for one in (name, *aliases))
        if not isinstance(help, str | None):
            raise RegistryError(f"the help of the command {name!r} is {describe(help)}, not a string")
        parser = CommandParser(**{"prog": f"nlcore {name}", **keywords})
        self.commands.append(PluginCommand(name, str.__str__(help or name), parser, self._origin))
        self.commands += [PluginCommand(alias, "", parser, self._origin) for alias in others]
        return parser


def _checked_name(name: object) -> str:
    """Return the name of a command, if it is one word that can be typed after `nlcore`."""
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        raise RegistryError(f"the name of a command is one word of letters, digits, _ and -, not {describe(name)}")
    return str.__str__(name)


def plugin_commands() -> tuple[dict[str, PluginCommand], list[str]]:
    """Return the commands of all plugins that work, and a line about each that does not.

    A name that the core has is refused. One that two plugins add goes to neither of them.
    """
    claims: dict[str, list[PluginCommand]] = defaultdict(list)
    faults: list[str] = []
    for record, add_commands in default.registry.commands():
        collector = _Collector(record.origin)
        try:
            with isolated():
                add_commands(collector)
        except PluginFault as fault:
            faults.append(f"the commands of {record.origin} are left out: {error_text(fault.cause)}")
            continue
        for command in collector.commands:
            claims[command.name].append(command)
    found: dict[str, PluginCommand] = {}
    for name, commands in sorted(claims.items()):
        if name in COMMANDS:
            faults.append(f"the command {name!r} of {commands[0].origin} is left out: nlcore has one of that name")
        elif len(commands) > 1:
            origins = shorten([command.origin for command in commands])
            faults.append(f"the command {name!r} is left out, since several add it: {origins}")
        else:
            found[name] = commands[0]
    return found, faults
