"""`nlcore show`: one algorithm, its options, and the line of Python that makes it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from nlcore.cli.arguments import Option, add_option_argument, options_of, parsed_options, python_call
from nlcore.cli.files import new_file
from nlcore.cli.output import print_json, say, table, width
from nlcore.errors import ConfigError
from nlcore.registry import AlgorithmSpec, PluginRecord, default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore show sorting/neuralsort", "the newest version"),
    ("nlcore show sorting/neuralsort-v1 --json", "for a program"),
    ("nlcore show sorting/neuralsort --plot it.png -o temperature=0.1", "draw it, with an option"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("id", help="namespace/name or namespace/name-vN, as in: nlcore show sorting/neuralsort")
    parser.add_argument(
        "--plot",
        metavar="FILE",
        type=Path,
        help="draw its relaxation and its gradient along one moving output into a .png, .svg or .pdf",
    )
    add_option_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the entry of an algorithm, without importing it; with `--plot` import and draw it."""
    registry = default.registry
    spec = registry.spec(arguments.id)
    if arguments.plot is not None:
        _plot(spec, arguments.plot, arguments.option)
        if not arguments.json:
            say(f"{arguments.plot} written")
        return 0
    if arguments.option:
        raise ConfigError("--option is for what --plot draws: nlcore show ID --plot FILE --option NAME=VALUE.")
    record = registry.plugin(spec.namespace)
    options = options_of(registry.config(spec.id))
    if arguments.json:
        print_json(
            {
                **asdict(spec),
                "distribution": record.distribution,
                "version": record.version,
                "options": [asdict(option) for option in options],
                "python": python_call(spec.id, options),
            }
        )
    else:
        _print_text(spec, record, options)
    return 0


def _plot(spec: AlgorithmSpec, file: Path, given: Sequence[Sequence[str]]) -> None:
    from nlcore.plotting import check_drawing, draw, sweep

    format = file.suffix.lstrip(".").lower()
    check_drawing(format)
    loss = default.registry.make(spec.id, **parsed_options(given))
    title = ", ".join([spec.id, *(word for words in given for word in words)])
    with new_file(file) as temporary:
        temporary.write_bytes(draw(sweep(loss), title=title, format=format))


def _print_text(spec: AlgorithmSpec, record: PluginRecord, options: Sequence[Option]) -> None:
    say(spec.id)
    if spec.summary:
        say(textwrap.indent(textwrap.fill(spec.summary, width() - 2), "  "))
    others = [one.id for one in record.specs if one.name == spec.name and one.id != spec.id]
    facts = (
        ("deprecated", spec.deprecated),
        ("reference", spec.reference),
        ("since", spec.since),
        ("distribution", record.origin),
        ("factory", spec.factory),
        ("config", spec.config),
        ("versions", ", ".join(others)),
        ("python", python_call(spec.id, options)),
    )
    say("\n" + table(None, [(name, text) for name, text in facts if text]))
    if not options:
        say("\nIt has no options.")
        return
    rows = [
        (one.name, one.type, "(required)" if one.required else one.default_text, one.range, one.description)
        for one in options
    ]
    say("\n" + table(("option", "type", "default", "range", "description"), rows))
