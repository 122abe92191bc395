"""Commands that measure an algorithm on the example that it makes itself: their arguments and their answer."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nlcore.cli.arguments import add_option_argument, whole_number
from nlcore.cli.files import new_file
from nlcore.cli.output import print_json, say

__all__ = ["add_example_arguments", "answer"]


def add_example_arguments(parser: argparse.ArgumentParser, command: str, *, batch: int, most: int, plot: str) -> None:
    """Define the arguments: id, size and seed of the example, options, and the file of a picture.

    Args:
        parser: The parser of the command.
        command: Its name.
        batch: The number of samples by default.
        most: The largest; more would change no figure and exhaust the memory.
        plot: Help for the picture.
    """
    parser.add_argument("id", help=f"namespace/name or namespace/name-vN, as in: nlcore {command} sorting/neuralsort")
    size = whole_number(1, most, f"at least one sample is needed, and at most {most} are taken")
    parser.add_argument("--batch", type=size, default=batch, metavar="N", help=f"samples of the example ({batch})")
    seed = whole_number(-(2**63), 2**64 - 1)
    parser.add_argument("--seed", type=seed, default=0, metavar="S", help="seed of the example (0)")
    add_option_argument(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help=plot)


def answer(arguments: argparse.Namespace, id: str, options: Mapping[str, Any], result: Any, text: str) -> int:
    """Draw and print a diagnosis or a tuning, as JSON or as text, and return the exit code.

    Args:
        arguments: Those of the command line.
        id: The full id of the algorithm.
        options: Its options.
        result: The diagnosis or tuning, with the methods `as_dict` and `plot`.
        text: The same in words.
    """
    if arguments.plot:
        with new_file(arguments.plot) as picture:
            result.plot(picture)
    if arguments.json:
        print_json({"id": id, "options": options, "seed": arguments.seed, **result.as_dict()})
    else:
        say(text)
        if arguments.plot:
            say(f"\n{arguments.plot} written")
    return 0
