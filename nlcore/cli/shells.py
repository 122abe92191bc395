"""Completion scripts, written from the parsers of all commands, so that they know what those know."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nlcore.cli.commands import COMMANDS
from nlcore.cli.parsers import core_command

__all__ = ["SHELLS", "script"]

SHELLS = ("bash", "zsh", "fish")
_IDS = "nlcore list --ids 2>/dev/null"
_TAKES_ID = {"id", "target"}


@dataclass(frozen=True, slots=True)
class _Place:
    """A command, as far as it is typed.

    Attributes:
        words: The commands that lead to it, none for the first word.
        options: What may follow it, each with a line of help.
        ids: Whether an id may follow, too.
    """

    words: tuple[str, ...]
    options: tuple[tuple[str, str], ...]
    ids: bool = False


def script(shell: str) -> str:
    """Return the script for a shell.

    Args:
        shell: One of `SHELLS`.
    """
    places = list(_places())
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](places)


def _places() -> Iterator[_Place]:
    from nlcore.cli.extensions import plugin_commands

    parsers = {name: core_command(name)[0] for name in COMMANDS}
    helps = {name: command.help for name, command in COMMANDS.items()}
    for name, command in plugin_commands()[0].items():
        parsers[name], helps[name] = command.parser, command.help
    general = (("--help", "list the commands"), ("--version", "print the version"))
    yield _Place((), (*helps.items(), *general))
    for name, parser in parsers.items():
        yield from _within((name,), parser)


def _within(words: tuple[str, ...], parser: argparse.ArgumentParser) -> Iterator[_Place]:
    options: list[tuple[str, str]] = []
    ids = False
    for action in parser._actions:
        text = " ".join((action.help or "").split())
        if isinstance(action, argparse._SubParsersAction):
            helps = {one.dest: one.help or "" for one in action._choices_actions}
            options += [(name, helps.get(name, "")) for name in action.choices]
            for name, inner in action.choices.items():
                yield from _within((*words, name), inner)
        elif action.option_strings:
            options.append((max(action.option_strings, key=len), text))
        else:
            options += [(str(choice), "") for choice in action.choices or ()]
            ids = ids or action.dest in _TAKES_ID
    yield _Place(words, tuple(options), ids)


def _branches(places: Sequence[_Place], body: str) -> str:
    """Return the branches of a `case` over the words before the cursor, the longest first."""
    lines = []
    for place in sorted(places, key=lambda one: -len(one.words)):
        ids = f" $({_IDS})" if place.ids else ""
        words = " ".join(name for name, _ in place.options)
        pattern = f'"{" ".join(place.words)} "*' if place.words else '""'
        lines.append(f"    {pattern}) {body.format(words=words + ids)} ;;")
    return "\n".join(lines)


def _bash(places: Sequence[_Place]) -> str:
    branches = _branches(places, 'words="{words}"')
    return f"""# Completes nlcore in bash: eval "$(nlcore completion bash)"
_nlcore() {{
  local words="" before="${{COMP_WORDS[*]:1:COMP_CWORD-1}}"
  [ -n "$before" ] && before="$before "
  case "$before" in
{branches}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}" || :))
}}
complete -o default -F _nlcore nlcore"""


def _zsh(places: Sequence[_Place]) -> str:
    branches = _branches(places, "found=({words})")
    return f"""#compdef nlcore
# Completes nlcore in zsh: eval "$(nlcore completion zsh)"
_nlcore() {{
  local -a found
  local before="${{(j: :)words[2,CURRENT-1]}}"
  [ -n "$before" ] && before="$before "
  case "$before" in
{branches}
  esac
  compadd -- $found || _files
}}
compdef _nlcore nlcore"""


def _fish(places: Sequence[_Place]) -> str:
    lines = ["# Completes nlcore in fish: nlcore completion fish | source", "complete -c nlcore -f"]
    for place in places:
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in place.words)
        when = f"-n '{seen or '__fish_use_subcommand'}'"
        for name, text in place.options:
            described = f" -d {_quoted(text)}" if text else ""
            what = f"-l {name[2:]}" if name.startswith("--") else f"-a {_quoted(name)}"
            lines.append(f"complete -c nlcore {when} {what}{described}")
        if place.ids:
            lines.append(f"complete -c nlcore {when} -a '({_IDS})'")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
