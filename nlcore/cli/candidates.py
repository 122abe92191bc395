"""What may stand at the end of a command line, read from the parsers of all commands."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from nlcore.cli.commands import COMMANDS
from nlcore.cli.parsers import core_command
from nlcore.errors import NlcoreError
from nlcore.registry import default

__all__ = ["Candidate", "candidates"]

Candidate = tuple[str, str]
"""A word, and a line about it."""


def candidates(words: Sequence[str]) -> list[Candidate] | None:
    """Return what the last word can become.

    Args:
        words: What follows `nlcore`; the last one, which may be empty, is being typed.

    Returns:
        Words that begin with the last one, or `None` where the name of a file is wanted.
    """
    *before, current = words or [""]
    found = _after(before, current)
    return None if found is None else [one for one in found if one[0].startswith(current)]


def _after(before: Sequence[str], current: str) -> list[Candidate] | None:
    if not before:
        general = [("--help", "list the commands"), ("--version", "print the version")]
        return [*((name, one.help) for name, one in COMMANDS.items()), *_plugin_helps(), *general]
    parser = _parser(before[0])
    return [] if parser is None else _Line(parser).read(before[1:]).next(current)


def _plugin_helps() -> Iterable[Candidate]:
    from nlcore.cli.extensions import plugin_commands

    return [(name, command.help) for name, command in plugin_commands()[0].items() if command.help]


def _parser(name: str) -> argparse.ArgumentParser | None:
    if name in COMMANDS:
        return core_command(name)[0]
    from nlcore.cli.extensions import plugin_commands

    command = plugin_commands()[0].get(name)
    return None if command is None else command.parser


class _Line:
    """The words of a command that are typed, as far as argparse would have read them.

    Attributes:
        parser: Of the innermost command.
        given: Its positional words.
        used: Its options.
        awaited: The option whose value comes next.
    """

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self.parser = parser
        self.given: list[str] = []
        self.used: set[str] = set()
        self.awaited: argparse.Action | None = None

    def read(self, words: Sequence[str]) -> _Line:
        """Take in words that are finished."""
        for word in words:
            if word.startswith("-"):
                name, equals, _ = word.partition("=")
                action = self.parser._option_string_actions.get(name)
                self.used.update(action.option_strings if action else ())
                self.awaited = action if action is not None and action.nargs != 0 and not equals else None
            elif self.awaited is not None:
                self.awaited = self.awaited if self.awaited.nargs in {"+", "*"} else None
            elif word in (inner := self._commands()):
                self.parser, self.given, self.used = inner[word], [], set()
            else:
                self.given.append(word)
        return self

    def next(self, current: str) -> list[Candidate] | None:
        """Return what may come now."""
        if self.awaited is not None and not current.startswith("-"):
            return self._values(self.awaited)
        found: list[Candidate] | None = []
        if not current.startswith("-"):
            found = self._positional()
        return None if found is None else [*found, *self._options()]

    def _commands(self) -> dict[str, argparse.ArgumentParser]:
        inner = (one for one in self.parser._actions if isinstance(one, argparse._SubParsersAction))
        return next((one.choices for one in inner), {})

    def _options(self) -> list[Candidate]:
        return [
            (max(action.option_strings, key=len), _line(action))
            for action in self.parser._actions
            if action.option_strings and action.help != argparse.SUPPRESS and not self.used & {*action.option_strings}
        ]

    def _positional(self) -> list[Candidate] | None:
        actions = [action for action in self.parser._actions if not action.option_strings]
        return self._values(actions[len(self.given)]) if len(self.given) < len(actions) else []

    def _values(self, action: argparse.Action) -> list[Candidate] | None:
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: _line(one) for one in action._choices_actions}
            return [(name, helps.get(name, "")) for name in action.choices]
        if action.choices is not None:
            return [(str(choice), "") for choice in action.choices]
        if action.type is Path:
            return None
        return [one for kind in _KINDS.get(action.dest, ()) for one in kind(self.given)]


def _line(action: argparse.Action) -> str:
    return " ".join((action.help or "").split())


def _ids(given: Sequence[str]) -> list[Candidate]:
    return [(name, default.registry.spec(name).summary) for name in default.registry.names()]


def _namespaces(given: Sequence[str]) -> list[Candidate]:
    return [(namespace, "") for namespace in dict.fromkeys(name.partition("/")[0] for name in default.registry.names())]


def _option_names(given: Sequence[str]) -> list[Candidate]:
    from nlcore.cli.options import options_of

    try:
        return [(f"{one.name}=", one.description) for one in options_of(default.registry.config(given[0]))]
    except (IndexError, NlcoreError):
        return []


_KINDS = {"id": (_ids,), "namespace": (_namespaces,), "target": (_namespaces, _ids), "option": (_option_names,)}
"""What an argument of this name takes, from the words given before it."""
