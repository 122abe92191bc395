"""`nlcore plugins`: the installed plugins, their states and their faults."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from nlcore.cli.output import print_json, say, table, width
from nlcore.errors import fault_place
from nlcore.registry import PluginRecord, default
from nlcore.registry.messages import withheld

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore plugins", "all plugins and how long each took to load"),
    ("nlcore plugins --errors", "each fault, where it is, and its remedy"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument(
        "--errors",
        action="store_true",
        help="only plugins that do not work, and why; the exit code is 1 if there are any",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the plugins; with `--errors` return 1 when one is faulty."""
    records = default.registry.plugins()
    faulty = [record for record in records if record.state.faulty]
    if arguments.json:
        print_json([_as_json(record) for record in (faulty if arguments.errors else records)])
    elif arguments.errors:
        fine = "Every plugin loads. `nlcore doctor` looks whether their algorithms can be imported, too."
        say("\n\n".join(_explanation(record) for record in faulty) or fine)
    else:
        _print_table(records)
        if faulty:
            say(f"\n{len(faulty)} cannot be used; `nlcore plugins --errors` says why.")
    return 1 if arguments.errors and faulty else 0


def _as_json(record: PluginRecord) -> dict[str, Any]:
    return {
        "namespace": record.namespace,
        "distribution": record.distribution,
        "version": record.version,
        "state": str(record.state),
        "error": record.error,
        "seconds": record.seconds,
        "algorithms": [spec.id for spec in record.specs],
    }


def _print_table(records: Sequence[PluginRecord]) -> None:
    rows = [
        (
            record.namespace,
            record.distribution or "-",
            record.version or "-",
            str(record.state),
            str(len(record.specs)) if record.specs else "-",
            f"{1000 * record.seconds:.1f}" if record.seconds else "-",
        )
        for record in records
    ]
    say(table(("namespace", "distribution", "version", "state", "algorithms", "ms"), rows))


def _explanation(record: PluginRecord) -> str:
    """Return the fault of a plugin, where it is, and its remedy."""
    lines = [f"{record.namespace}  {record.origin}  {record.state}"]
    lines += textwrap.wrap(str(withheld(record)), width() - 4, break_on_hyphens=False, break_long_words=False)
    if record.cause is not None:
        if place := fault_place(record.cause):
            lines.append(f"at {place}")
        lines.append("NLCORE_TRACE_PLUGINS=1 prints the whole traceback.")
    return "\n    ".join(lines)
