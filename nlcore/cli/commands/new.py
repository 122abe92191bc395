"""`nlcore new`: a plugin of one's own, complete and working, to be changed step by step."""

from __future__ import annotations

import argparse
from pathlib import Path

from nlcore.cli.output import print_json, say
from nlcore.cli.scaffold import Names, checked_name, write_plugin
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore new my_losses", "a plugin in ./nlcore-my-losses"),
    ("nlcore new my_losses --dir plugins/mine", "in another folder"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("name", help="the namespace: the part of an id before the slash, in lower snake case")
    parser.add_argument("--dir", type=Path, metavar="DIR", help="where to write it; nlcore-NAME when left out")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Write the plugin, and say what to do next."""
    names = Names(checked_name(arguments.name, default.registry.plugins()))
    folder = arguments.dir or Path(names.distribution)
    files = write_plugin(names, folder)
    if arguments.json:
        print_json(
            {
                "namespace": names.name,
                "distribution": names.distribution,
                "folder": str(folder),
                "files": [str(one.relative_to(folder)) for one in files],
            }
        )
        return 0
    say(f"{folder}: the plugin {names.distribution}, with the algorithm {names.name}/smooth_maximum")
    say(f"\n  pip install -e '{folder}[dev]'\n  nlcore check {names.name}\n  pytest {folder}\n")
    say(f"Then change {folder / 'src' / names.package / 'smooth_maximum.py'} into your algorithm.")
    return 0
