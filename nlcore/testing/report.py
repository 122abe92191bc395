"""Reports: the outcomes of the checks of an algorithm and of a plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from nlcore.errors import ConfigError, ConformanceError, nearest, shorten

__all__ = ["Outcome", "PluginReport", "Report", "Status", "known_names"]


class Status(StrEnum):
    """How one check ended.

    Attributes:
        PASSED: The algorithm meets the requirement of the check.
        FAILED: It does not, or it passes although a failure was announced.
        EXPECTED: It fails, as was announced with a reason.
        BLOCKED: Not run, since a check that it builds on fails.
        SKIPPED: It does not apply to this algorithm, or has no result.
    """

    PASSED = "passed"
    FAILED = "failed"
    EXPECTED = "expected"
    BLOCKED = "blocked"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one check.

    Attributes:
        name: `group.name` of the check.
        status: How it ended.
        message: The fault and its remedy, or why it was not run; empty when it passed.
        seconds: How long it took, without the checks it builds on.
    """

    name: str
    status: Status
    message: str = ""
    seconds: float = field(default=0.0, compare=False)

    @property
    def group(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcomes of all checks of one algorithm.

    Attributes:
        algorithm: Its name in messages.
        outcomes: One for each check, in the order of the catalogue.
    """

    algorithm: str
    outcomes: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return self.named(Status.FAILED)

    def named(self, status: Status) -> tuple[str, ...]:
        """Return the names of the checks that ended in a certain way."""
        return tuple(one.name for one in self.outcomes if one.status is status)

    def announced(self, expected: Mapping[str, str]) -> Report:
        """Return the report with the failures that were announced set apart.

        Args:
            expected: The reason for each check that is to fail. One that passes, or does not apply, counts as failed:
                the announcement is out of date.

        Raises:
            ConfigError: A name is not that of a check, or a reason is empty.
        """
        known_names(expected, [one.name for one in self.outcomes])
        return Report(self.algorithm, tuple(_announced(one, expected) for one in self.outcomes))

    def raise_for_failures(self) -> None:
        """Raise unless all is well.

        Raises:
            ConformanceError: A check failed; the message names each with its fault.
        """
        if not self.ok:
            raise ConformanceError(self.message())

    def message(self) -> str:
        """Return which checks fail, each with its fault."""
        lines = [f"  {one.name}: {one.message}" for one in self.outcomes if one.status is Status.FAILED]
        count = len(lines)
        blocked = self.named(Status.BLOCKED)
        tail = f"\n{len(blocked)} that build on them were not run: {shorten(blocked)}." if blocked else ""
        checks = f"{count} check{'s' * (count != 1)} of {len(self.outcomes)}"
        return f"{self.algorithm} fails {checks}:\n" + "\n".join(lines) + tail

    def as_json(self) -> dict[str, Any]:
        """Return the report in JSON values."""
        outcomes = [{"name": one.name, "status": str(one.status), "message": one.message} for one in self.outcomes]
        return {"algorithm": self.algorithm, "ok": self.ok, "failed": list(self.failed), "checks": outcomes}


@dataclass(frozen=True, slots=True)
class PluginReport:
    """The reports of all algorithms of a plugin, in the order in which it names them."""

    reports: tuple[Report, ...]

    @property
    def ok(self) -> bool:
        """Whether no check of any algorithm failed."""
        return all(report.ok for report in self.reports)

    def raise_for_failures(self) -> None:
        """Raise unless all is well.

        Raises:
            ConformanceError: With the failing checks of each algorithm.
        """
        if not self.ok:
            raise ConformanceError("\n\n".join(report.message() for report in self.reports if not report.ok))


def known_names(expected: Mapping[str, str], names: list[str]) -> None:
    """Refuse announcements for unknown checks, or without a reason.

    Raises:
        ConfigError: An announcement has no reason, or names no check; the message then suggests the nearest name.
    """
    for name, reason in expected.items():
        if name not in names:
            raise ConfigError(
                f"expected_failures: there is no check {name!r}{nearest(name, names)}. "
                "nlcore.testing.algorithm_checks(algorithm) lists them."
            )
        if not isinstance(reason, str) or not reason.strip():
            raise ConfigError(f"expected_failures: {name!r} needs a reason, and was given {reason!r}.")


def _announced(outcome: Outcome, expected: Mapping[str, str]) -> Outcome:
    reason = expected.get(outcome.name)
    if reason is None or outcome.status is Status.BLOCKED:
        return outcome
    if outcome.status is Status.FAILED:
        return replace(outcome, status=Status.EXPECTED, message=f"{reason} ({outcome.message})")
    what = "passes" if outcome.status is Status.PASSED else f"does not apply ({outcome.message})"
    message = f"a failure was announced ({reason}), but it {what}; take it out of expected_failures"
    return replace(outcome, status=Status.FAILED, message=message)
