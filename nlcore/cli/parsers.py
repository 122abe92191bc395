"""The parsers of all commands, those of the core and those of plugins: to run them, to explain and to complete them."""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from nlcore.cli.commands import COMMANDS
from nlcore.errors import RegistryError, error_text, shorten
from nlcore.registry import default
from nlcore.registry.isolation import PluginFault, describe, isolated, standard_output

__all__ = ["CommandParser", "PluginCommand", "core_command", "plugin_commands"]

_WORD = re.compile(r"\w[\w.-]*")


class CommandParser(argparse.ArgumentParser):
    """A parser that prints its help as an answer, and records its arguments, which argparse stores under private names.

    Attributes:
        arguments: In the order of their addition, `--help` among them.
        commands: The parsers of its commands, by name, if it has any.
        helps: One line about each command.
    """

    def __init__(self, **keywords: Any) -> None:
        self.arguments: list[argparse.Action] = []
        self.commands: dict[str, argparse.ArgumentParser] = {}
        self.helps: dict[str, str] = {}
        super().__init__(**keywords)

    def print_help(self, file: Any = None) -> None:
        """Print the help, by default on standard output; argparse is silent when it cannot be written."""
        if file is None:
            standard_output.write(self.format_help())
        else:
            super().print_help(file)

    def add_argument(self, *names: Any, **keywords: Any) -> argparse.Action:
        """Add an argument as argparse does."""
        action = super().add_argument(*names, **keywords)
        self.arguments.append(action)
        return action

    def add_argument_group(self, *words: Any, **keywords: Any) -> Any:
        """Add a group as argparse does."""
        return self._kept(super().add_argument_group(*words, **keywords))

    def add_mutually_exclusive_group(self, **keywords: Any) -> Any:
        """Add a group as argparse does."""
        return self._kept(super().add_mutually_exclusive_group(**keywords))

    def _kept(self, group: Any) -> Any:
        add = group.add_argument

        def add_argument(*names: Any, **keywords: Any) -> Any:
            self.arguments.append(action := add(*names, **keywords))
            return action

        group.add_argument = add_argument
        return group

    def add_subparsers(self, **keywords: Any) -> Any:
        """Let the parser have commands as argparse does."""
        subparsers: Any = super().add_subparsers(**keywords)
        add = subparsers.add_parser

        def add_parser(name: str, **keywords: Any) -> Any:
            self.helps[name] = keywords.get("help") or ""
            return add(name, **keywords)

        self.arguments.append(subparsers)
        self.commands, subparsers.add_parser = subparsers.choices, add_parser
        return subparsers


def core_command(name: str) -> tuple[CommandParser, Callable[[argparse.Namespace], int]]:
    """Return the parser of a command of the core, and the function that runs it.

    The command's module may have `EXAMPLES`, pairs of a command line and its effect, which its help shows.
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
    if COMMANDS[name].json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser, module.run


@dataclass(frozen=True, slots=True)
class PluginCommand:
    """A command of a plugin.

    Attributes:
        name: The first word after `nlcore`.
        help: One line for the overview; empty for an alias.
        parser: The parser of the words after the name.
        origin: The distribution and its version.
    """

    name: str
    help: str
    parser: CommandParser
    origin: str


class _Collector:
    """A substitute for argparse's `add_subparsers()` object for one plugin, which records the commands it adds.

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
    commands: dict[str, PluginCommand] = {}
    for name, claimed in sorted(claims.items()):
        if name in COMMANDS:
            faults.append(f"the command {name!r} of {claimed[0].origin} is left out: nlcore has one of that name")
        elif len(claimed) > 1:
            origins = shorten([command.origin for command in claimed])
            faults.append(f"the command {name!r} is left out, since several add it: {origins}")
        else:
            commands[name] = claimed[0]
    return commands, faults
