"""`nlcore check`: runs the conformance kit on one algorithm, or on all of a plugin."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nlcore.cli.arguments import add_option_argument, parsed_options
from nlcore.cli.output import print_json, say, table
from nlcore.errors import ConfigError
from nlcore.registry import AlgorithmSpec, default

if TYPE_CHECKING:
    from nlcore.testing import Case, Report

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore check sorting/neuralsort", "one algorithm with its defaults"),
    ("nlcore check sorting/neuralsort -o objective=entries", "with an option"),
    ("nlcore check sorting", "all algorithms of a plugin, each choice of an option"),
    ("nlcore check sorting/softsort --verbose", "the requirement and the result of each check"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("target", help="an id, or a namespace for all that its plugin registers")
    add_option_argument(parser)
    parser.add_argument(
        "--every-choice",
        action="store_true",
        help="also with each further value of an option that is a choice among some; a namespace implies it",
    )
    parser.add_argument("--verbose", "-v", action="store_true", help="list every check with its requirement")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings of the checks; return 1 when one failed."""
    specs, options = _wanted(arguments)
    from nlcore.testing import cases

    todo = [
        case
        for spec in specs
        for case in cases(spec, [options], every_choice=arguments.every_choice or "/" not in arguments.target)
    ]
    if arguments.json:
        reports = [case.report() for case in todo]
        print_json([report.as_json() for report in reports])
    else:
        reports = list(_printed(todo, verbose=arguments.verbose))
        _print_verdict(reports)
    return 0 if all(report.ok for report in reports) else 1


def _wanted(arguments: argparse.Namespace) -> tuple[list[AlgorithmSpec], dict[str, object]]:
    """Return the algorithms to check and the options that were given; wrong ones are refused before torch loads."""
    options = parsed_options(arguments.option)
    if "/" in arguments.target:
        spec = default.registry.spec(arguments.target)
        config = default.registry.config(spec.id)
        if config is None and options:
            raise ConfigError(f"{spec.id} has no options, but was given {', '.join(options)}.")
        if config is not None and (options or all(not one.is_required() for one in config.model_fields.values())):
            config(**options)
        return [spec], options
    if options:
        raise ConfigError(f"--option needs an id: {arguments.target!r} is a namespace, and options differ.")
    return [default.registry.spec(name) for name in default.registry.names(arguments.target)], options


def _printed(todo: Sequence[Case], *, verbose: bool) -> Iterator[Report]:
    """Print each report as soon as it is there."""
    from nlcore.testing import Status

    for case in todo:
        report = case.report()
        counts = {status: len(report.named(status)) for status in Status}
        text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        say(f"{'ok    ' if report.ok else 'FAILED'}  {report.algorithm}: {text}")
        shown = [one for one in report.outcomes if verbose or one.status is Status.FAILED]
        if shown:
            rows = [
                (f"  {one.name}", str(one.status) if verbose else "", _text(one.name, one.message)) for one in shown
            ]
            say(table(None, rows))
        yield report


def _text(name: str, message: str) -> str:
    """Return the finding, or the requirement of the check."""
    from nlcore.testing.checks import CATALOGUE

    return message or next((one.summary for one in CATALOGUE if one.name == name), "It can be made.")


def _print_verdict(reports: Sequence[Report]) -> None:
    failed = [report for report in reports if not report.ok]
    if not failed:
        count = len(reports)
        say(f"passed: {count} configuration{'s' * (count != 1)}" if reports else "passed: it registers no algorithm")
    elif len(reports) == 1:
        say(f"failed: {', '.join(failed[0].failed)}")
    else:
        say("failed: " + "; ".join(f"{report.algorithm}: {', '.join(report.failed)}" for report in failed))
