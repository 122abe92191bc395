"""`nlcore completion`: a script that lets a shell complete commands, options and ids."""

from __future__ import annotations

import argparse

from nlcore.cli.shells import SHELLS, script

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ('eval "$(nlcore completion bash)"', "in ~/.bashrc"),
    ('eval "$(nlcore completion zsh)"', "in ~/.zshrc, after compinit"),
    ("nlcore completion fish | source", "in ~/.config/fish/config.fish"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def run(arguments: argparse.Namespace) -> int:
    """Print the script."""
    print(script(arguments.shell))
    return 0
