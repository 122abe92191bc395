"""`nlcore completion`: a script that lets a shell complete commands, options and ids.

The script calls this command at each press of the Tab key. The candidates are read from the parsers of the commands; of
these only that of the typed command is built.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from nlcore.cli.arguments import options_of
from nlcore.cli.commands import COMMANDS
from nlcore.cli.output import say
from nlcore.cli.parsers import CommandParser, core_command, plugin_commands
from nlcore.errors import NlcoreError
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ('eval "$(nlcore completion bash)"', "in ~/.bashrc"),
    ('eval "$(nlcore completion zsh)"', "in ~/.zshrc, after compinit"),
    ("nlcore completion fish | source", "in ~/.config/fish/config.fish"),
)

_BASH = """# Completes nlcore in bash: eval "$(nlcore completion bash)"
_nlcore() {
  local IFS=$'\\n' found
  COMPREPLY=()
  found=$(nlcore completion bash --words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
  case "$found" in
    :files) compopt -o default 2>/dev/null || : ;;
    *=) compopt -o nospace 2>/dev/null || : ; COMPREPLY=($found) ;;
    *) COMPREPLY=($found) ;;
  esac
}
complete -F _nlcore nlcore"""

_ZSH = """#compdef nlcore
# Completes nlcore in zsh: eval "$(nlcore completion zsh)"
_nlcore() {
  local -a found
  found=("${(@f)$(nlcore completion zsh --words "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  case "$found[1]" in
    :files) _files ;;
    *=:*) _describe nlcore found -S '' ;;
    ?*) _describe nlcore found ;;
  esac
}
compdef _nlcore nlcore"""

_FISH = """# Completes nlcore in fish: nlcore completion fish | source
function __nlcore_candidates
  set -l words (commandline -opc)
  set -l found (nlcore completion fish --words $words[2..] "$(commandline -ct)" 2>/dev/null)
  if test "$found[1]" = :files
    __fish_complete_path (commandline -ct)
  else
    printf '%s\\n' $found
  end
end
complete -c nlcore -f -a '(__nlcore_candidates)'"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_FILES = ":files"

Candidate: TypeAlias = tuple[str, str]
"""A word, and a line about it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("shell", choices=_SCRIPTS, help="the shell that reads the script")
    parser.add_argument(
        "--words",
        nargs=argparse.REMAINDER,
        help="the words after nlcore, of which the last is completed; the script passes them when Tab is pressed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script, or the completions of a word."""
    if arguments.words is None:
        say(_SCRIPTS[arguments.shell])
    elif answer := _answer(arguments.shell, arguments.words):
        say(answer)
    return 0


def _answer(shell: str, words: Sequence[str]) -> str:
    """Return the candidates in the form that the script of a shell takes, one a line."""
    *before, current = (_joined(words) if shell == "bash" else words) or [""]
    candidates = _candidates(before, current)
    if candidates is None:
        return _FILES
    lines = [(word, " ".join(text.split())) for word, text in candidates if word.startswith(current)]
    if shell == "bash":
        return "\n".join(word for word, _ in lines)
    if shell == "zsh":
        return "\n".join(word.replace(":", "\\:") + f":{text}" for word, text in lines)
    return "\n".join(f"{word}\t{text}" for word, text in lines)


def _joined(words: Sequence[str]) -> list[str]:
    """Return the words as they were typed: bash takes them apart at every `=`."""
    joined: list[str] = []
    for previous, word in zip(["", *words], words, strict=False):
        if joined and "=" in (word, previous):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _candidates(before: Sequence[str], current: str) -> list[Candidate] | None:
    """Return the candidates for the word after `before`; `None` where it is the name of a file."""
    first = before[0] if before else ""
    if first in COMMANDS:
        return _read(core_command(first)[0], before[1:], current)
    commands = plugin_commands()[0]
    if first in commands:
        return _read(commands[first].parser, before[1:], current)
    if before:
        return []
    core = [(name, one.help) for name, one in COMMANDS.items()]
    others = [(name, one.help) for name, one in commands.items() if one.help]
    return [*core, *others, ("--help", "list the commands"), ("--version", "print the version")]


def _read(parser: CommandParser, words: Sequence[str], current: str) -> list[Candidate] | None:
    """Follow the words of a command as argparse does, and return the candidates for the next one."""
    given: list[str] = []
    used: set[str] = set()
    awaited: argparse.Action | None = None
    for index, word in enumerate(words):
        if word.startswith("-"):
            name, equals, _ = word.partition("=")
            action = next((one for one in parser.arguments if name in one.option_strings), None)
            used.update(action.option_strings if action else ())
            awaited = action if action is not None and action.nargs != 0 and not equals else None
        elif awaited is not None:
            awaited = awaited if awaited.nargs in {"+", "*"} else None
        elif isinstance(inner := parser.commands.get(word), CommandParser):
            return _read(inner, words[index + 1 :], current)
        else:
            given.append(word)
    if current.startswith("-"):
        return _options(parser, used)
    if awaited is not None:
        return _values(parser, awaited, given)
    positional = [one for one in parser.arguments if not one.option_strings][len(given) :]
    values = _values(parser, positional[0], given) if positional else []
    return None if values is None else [*values, *_options(parser, used)]


def _options(parser: CommandParser, used: set[str]) -> list[Candidate]:
    return [
        (max(action.option_strings, key=len), action.help or "")
        for action in parser.arguments
        if action.option_strings and action.help != argparse.SUPPRESS and not used & {*action.option_strings}
    ]


def _values(parser: CommandParser, action: argparse.Action, given: Sequence[str]) -> list[Candidate] | None:
    if action.choices is not None:
        helps = parser.helps if action.choices is parser.commands else {}
        return [(str(choice), helps.get(choice, "")) for choice in action.choices]
    if action.type is Path:
        return None
    if action.dest == "option":
        return _option_names(given)
    ids = default.registry.names() if action.dest in {"id", "namespace", "target"} else []
    namespaces = dict.fromkeys(name.partition("/")[0] for name in ids) if action.dest != "id" else ()
    described = [(name, default.registry.spec(name).summary) for name in ids if action.dest != "namespace"]
    return [*((name, "") for name in namespaces), *described]


def _option_names(given: Sequence[str]) -> list[Candidate]:
    try:
        return [(f"{one.name}=", one.description) for one in options_of(default.registry.config(given[0]))]
    except (IndexError, NlcoreError):
        return []
