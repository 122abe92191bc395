"""`nlcore doctor`: what is installed here, and whether it fits together."""

from __future__ import annotations

import argparse

from nlcore.cli.diagnosis import Finding, diagnosis
from nlcore.cli.output import print_json, say, table
from nlcore.registry import default

__all__ = ["EXAMPLES", "add_arguments", "run"]

EXAMPLES = (
    ("nlcore doctor", "the exit code is 1 when something is wrong"),
    ("nlcore doctor --json", "for a bug report"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; return 1 when something is wrong."""
    findings = diagnosis(default.registry)
    wrong = [one for one in findings if one.level == "wrong"]
    if arguments.json:
        print_json(
            {
                "ok": not wrong,
                "findings": [{"level": one.level, "subject": one.subject, "text": one.text} for one in findings],
            }
        )
    else:
        say(table(None, [_row(one) for one in findings]))
        count = len(wrong)
        verdict = f"{count} thing{'s' * (count != 1)} to mend: {', '.join(one.subject for one in wrong)}"
        say(f"\n{verdict if wrong else 'All is well.'}")
    return 1 if wrong else 0


def _row(finding: Finding) -> tuple[str, str, str]:
    return (finding.level.upper() if finding.level == "wrong" else finding.level, finding.subject, finding.text)
