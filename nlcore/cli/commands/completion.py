"""`nlcore completion`: a script that lets a shell complete commands, options and ids."""

from __future__ import annotations

import argparse

from nlcore.cli.output import say
from nlcore.cli.shells import SHELLS, answer, script

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ('eval "$(nlcore completion bash)"', "in ~/.bashrc"),
    ('eval "$(nlcore completion zsh)"', "in ~/.zshrc, after compinit"),
    ("nlcore completion fish | source", "in ~/.config/fish/config.fish"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")
    parser.add_argument(
        "--words",
        nargs=argparse.REMAINDER,
        help="print what the last of these words, which follow nlcore, can become; the script asks this at every press",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the script, or what a word can become."""
    if arguments.words is None:
        say(script(arguments.shell))
        return 0
    from nlcore.cli.candidates import candidates

    words = _joined(arguments.words) if arguments.shell == "bash" else arguments.words
    if text := answer(arguments.shell, candidates(words)):
        say(text)
    return 0


def _joined(words: list[str]) -> list[str]:
    """Return the words as they were typed: bash takes them apart at every `=`."""
    joined: list[str] = []
    for place, word in enumerate(words):
        apart = joined and (word == "=" or words[place - 1] == "=")
        if apart:
            joined[-1] += word
        else:
            joined.append(word)
    return joined
