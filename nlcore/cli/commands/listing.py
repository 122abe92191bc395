"""`nlcore list`: the algorithms that are installed."""

from __future__ import annotations

import argparse

from nlcore.cli.output import print_json, say, table
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore list", "everything that is installed"),
    ("nlcore list sorting", "one namespace"),
    ("nlcore list --ids", "the ids alone, for a script"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("namespace", nargs="?", help="only those of one namespace, as in: nlcore list sorting")
    parser.add_argument("--ids", action="store_true", help="print the ids alone, one a line")


def run(arguments: argparse.Namespace) -> int:
    """Print the algorithms, sorted by id."""
    specs = [default.registry.spec(name) for name in default.registry.names(arguments.namespace)]
    if arguments.json:
        print_json(
            [
                {
                    "id": spec.id,
                    "summary": spec.summary,
                    "distribution": default.registry.plugin(spec.namespace).distribution,
                    "deprecated": spec.deprecated,
                }
                for spec in specs
            ]
        )
    elif arguments.ids:
        for spec in specs:
            say(spec.id)
    elif specs:
        rows = [(spec.id, f"(deprecated) {spec.summary}" if spec.deprecated else spec.summary) for spec in specs]
        say(table(("id", "summary"), rows))
    else:
        say("No algorithms are installed.")
    return 0
