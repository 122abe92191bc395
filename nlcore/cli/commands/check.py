"""`nlcore check`: runs the conformance kit on one algorithm, or on all of a plugin."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nlcore.cli.arguments import add_option_argument, parsed_options
from nlcore.cli.installed import check_installation
from nlcore.cli.output import print_json, say, table
from nlcore.cli.progress import ProgressLine
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


_SLOW = 5
"""Seconds from which it is said what took them."""

_OF_PLUGIN = {
    "plugin.makes": "It can be made.",
    "plugin.torch_free": "Listing its algorithms imports no torch.",
    "plugin.quick": "Its import takes less than 0.3 s of processor time.",
    "plugin.requirements": "The requirements in its metadata are met, and one on nlcore is there.",
}


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
    whole = "/" not in arguments.target
    with ProgressLine.on_terminal() as line:
        reports = []
        for report in _reports(specs, options, arguments, line):
            reports.append(report)
            if not arguments.json:
                line.clear()
                _print_report(report, verbose=arguments.verbose)
    if arguments.json:
        print_json([report.as_json() for report in reports])
    else:
        _print_skipped([report for report in reports if report.outcomes])
        _print_times(reports)
        _print_verdict(reports, configurations=len(reports) - whole)
    return 0 if all(report.ok for report in reports) else 1


def _reports(
    specs: Sequence[AlgorithmSpec], options: dict[str, object], arguments: argparse.Namespace, line: ProgressLine
) -> Iterator[Report]:
    """Yield each report as soon as it is there: on the plugin itself, if it is the target, and on each algorithm."""
    line.show("torch is being imported")
    from nlcore.testing import Outcome, Report, Status, cases

    whole = "/" not in arguments.target
    if whole:
        line.show(f"plugin {arguments.target}")
        record = default.registry.plugin(arguments.target)
        found = check_installation(record) if record.value else []  # else it is registered in this process
        outcomes = tuple(Outcome(name, Status(status), text) for name, status, text in found)
        yield Report(f"plugin {record.namespace}", outcomes)
    every_choice = arguments.every_choice or whole
    todo = [case for spec in specs for case in cases(spec, [options], every_choice=every_choice)]
    for place, case in enumerate(todo, 1):
        of = f"{place} of {len(todo)}, " if len(todo) > 1 else ""
        line.show(f"{case.name} ({of}is being made)")

        def before(name: str, number: int, count: int, case: Case = case, of: str = of) -> None:
            line.show(f"{case.name} ({of}check {number} of {count}): {name}")

        yield case.report(before)


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


def _print_report(report: Report, *, verbose: bool) -> None:
    from nlcore.testing import Status

    counts = {status: len(report.named(status)) for status in Status}
    text = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    say(f"{'ok    ' if report.ok else 'FAILED'}  {report.algorithm}: {text}")
    shown = [one for one in report.outcomes if verbose or one.status is Status.FAILED]
    if shown:
        rows = [(f"  {one.name}", str(one.status) if verbose else "", _text(one.name, one.message)) for one in shown]
        say(table(None, rows))


def _text(name: str, message: str) -> str:
    """Return the finding, or the requirement of the check."""
    from nlcore.testing.checks import CATALOGUE

    return message or next((one.summary for one in CATALOGUE if one.name == name), _OF_PLUGIN.get(name, ""))


def _print_skipped(reports: Sequence[Report]) -> None:
    """Print which checks were skipped, by reason: a group whose checks were all skipped by its name alone."""
    from nlcore.testing import Status

    reasons: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    groups: dict[str, set[str]] = defaultdict(set)
    for report in reports:
        for one in report.outcomes:
            groups[one.group].add(one.name)
            if one.status is Status.SKIPPED:
                reasons[one.message][report.algorithm].add(one.name)
    algorithms = [report.algorithm for report in reports if not report.algorithm.startswith("plugin ")]
    rows = []
    for reason, by_algorithm in reasons.items():
        names = set[str]().union(*by_algorithm.values())
        whole = {group for group, members in groups.items() if members <= names}
        shown = [*(f"{group}.*" for group in whole), *(one for one in names if one.partition(".")[0] not in whole)]
        some = set(by_algorithm) < set(algorithms)
        rows.append(
            (f"  {', '.join(sorted(shown))}{f' ({len(by_algorithm)} of {len(algorithms)})' if some else ''}", reason)
        )
    if rows:
        say(f"\nskipped:\n{table(None, rows)}")


def _print_times(reports: Sequence[Report]) -> None:
    """Print which groups of checks took how long, if the whole was slow."""
    seconds: dict[str, float] = {}
    for report in reports:
        for one in report.outcomes:
            seconds[one.group] = seconds.get(one.group, 0.0) + one.seconds
    total = sum(seconds.values())
    if total < _SLOW:
        return
    slow = sorted(((taken, group) for group, taken in seconds.items() if taken > total / 10), reverse=True)
    rest = total - sum(taken for taken, _ in slow)
    text = ", ".join(f"{group} {taken:.0f} s" for taken, group in slow)
    say(f"\ntime: {total:.0f} s, of which {text}, the others {rest:.0f} s")


def _print_verdict(reports: Sequence[Report], *, configurations: int) -> None:
    failed = [report for report in reports if not report.ok]
    say()
    if not failed:
        count = f"{configurations} configuration{'s' * (configurations != 1)}"
        say(f"passed: {count if configurations else 'it registers no algorithm'}")
    elif len(reports) == 1:
        say(f"failed: {', '.join(failed[0].failed)}")
    else:
        say("failed: " + "; ".join(f"{report.algorithm}: {', '.join(report.failed)}" for report in failed))
