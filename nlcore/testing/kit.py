"""The kit: all checks of one algorithm, each run once and after those it builds on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar, final

import torch

from nlcore.errors import ConformanceError, attempted
from nlcore.testing.check import Check, CheckFailedError, InconclusiveError
from nlcore.testing.checks import CATALOGUE
from nlcore.testing.report import Outcome, Report, Status
from nlcore.testing.subject import Subject

__all__ = ["NOTHING", "BoundCheck", "Kit", "Progress", "algorithm_checks", "bound_checks", "check_algorithm"]

NOTHING: Mapping[str, str] = MappingProxyType({})

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is called before a check with its name, its number from 1, and how many there are."""

_DTYPES = (torch.float32, torch.float64)


_Bound = TypeVar("_Bound", bound="BoundCheck")


@final
class Kit:
    """All checks of one algorithm; each runs once, and first those it builds on.

    Args:
        subject: The algorithm.
    """

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self._checks = {one.name: one for one in CATALOGUE}
        self._outcomes: dict[str, Outcome] = {}

    def outcome(self, name: str) -> Outcome:
        """Return the outcome of a check, which is run at the first request."""
        if name not in self._outcomes:
            self._outcomes[name] = self._run(self._checks[name])
        return self._outcomes[name]

    def report(self, before: Progress | None = None) -> Report:
        """Run what has not run yet.

        Args:
            before: Called before each check with its name, its number from 1, and how many there are.
        """
        outcomes = []
        for number, name in enumerate(self._checks, 1):
            if before is not None:
                before(name, number, len(self._checks))
            outcomes.append(self.outcome(name))
        return Report(self.subject.name, tuple(outcomes))

    def _run(self, check: Check) -> Outcome:
        if reason := inapplicable(check, self.subject):
            return Outcome(check.name, Status.SKIPPED, reason)
        ends = [self.outcome(name) for name in check.requires]
        broken = [one.name for one in ends if one.status in (Status.FAILED, Status.BLOCKED)]
        if broken:
            return Outcome(check.name, Status.BLOCKED, f"builds on {', '.join(dict.fromkeys(broken))}")
        status, message, started = Status.PASSED, "", time.perf_counter()
        try:
            check.run(self.subject)
        except CheckFailedError as finding:
            status, message = Status.FAILED, str(finding)
        except InconclusiveError as cause:
            status, message = Status.SKIPPED, f"no result: {cause}"
        return Outcome(check.name, status, message, time.perf_counter() - started)


class BoundCheck:
    """A check of one algorithm, to be called: `check()` raises `ConformanceError` or returns its outcome.

    Attributes:
        name: `group.name`.
        summary: Its requirement.
        group: The part of the name before the dot.
        algorithm: The loss under test.
    """

    def __init__(self, check: Check, kit: Kit) -> None:
        self._kit = kit
        self.name, self.summary, self.group = check.name, check.summary, check.group
        self.algorithm = kit.subject.algorithm

    def __call__(self) -> Outcome:
        """Run the check, after those it builds on.

        Returns:
            How it ended, unless it failed: passed, skipped, or blocked.

        Raises:
            ConformanceError: The fault and its remedy.
        """
        outcome = self._kit.outcome(self.name)
        if outcome.status is Status.FAILED:
            raise ConformanceError(f"{self._kit.subject.name} fails {self.name}: {outcome.message}")
        return outcome

    def __repr__(self) -> str:
        return f"{self._kit.subject.name}-{self.name}"


def algorithm_checks(algorithm: Any, **about: Any) -> list[BoundCheck]:
    """Return the checks that apply to an algorithm, by its traits and capabilities.

    Args:
        algorithm: An `AlgorithmicLoss`.
        **about: As for `check_algorithm`: config, options, dtypes, device, seed.

    Returns:
        Each with `name`, `group`, `summary`; a call runs it.
    """
    return bound_checks(Subject(algorithm, **about), BoundCheck)


def bound_checks(subject: Subject, kind: type[_Bound]) -> list[_Bound]:
    """Return the checks that apply to a subject, of a class of bound checks."""
    kit = Kit(subject)
    return [kind(one, kit) for one in CATALOGUE if not inapplicable(one, subject)]


def check_algorithm(
    algorithm: Any,
    *,
    expected_failures: Mapping[str, str] = NOTHING,
    config: type[Any] | None = None,
    factory: Callable[..., Any] | None = None,
    options: Mapping[str, Any] | None = None,
    dtypes: Sequence[torch.dtype] = _DTYPES,
    device: torch.device | str = "cpu",
    seed: int = 0,
    raise_on_failure: bool = True,
) -> Report:
    """Run every check that applies to an algorithm, on the examples that it makes itself.

    Args:
        algorithm: An `AlgorithmicLoss`.
        expected_failures: Checks that are known to fail, each with the reason. They are strict: one that passes is a
            failure.
        config: The class of its options; without it those checks are left out.
        factory: The callable that takes the options, if it is not the class of the algorithm.
        options: The options that the algorithm was made with, where they are not the defaults.
        dtypes: Those it has to work in; derivatives are checked in the widest, best in float64.
        device: That of the examples.
        seed: Of the examples.
        raise_on_failure: Whether to raise; else look at `report.failed`.

    Returns:
        The outcome of every check.

    Raises:
        ConformanceError: A check failed. The message names each, with the values and the remedy.
        ConfigError: `expected_failures` has an unknown check, or gives no reason.

    Example:
        >>> from nlcore.builtin.losses import SquaredError
        >>> check_algorithm(SquaredError()).ok
        True
    """
    subject = Subject(
        algorithm, config=config, factory=factory, options=options, dtypes=dtypes, device=device, seed=seed
    )
    report = Kit(subject).report().announced(expected_failures)
    if raise_on_failure:
        report.raise_for_failures()
    return report


def inapplicable(check: Check, subject: Subject) -> str:
    """Return why a check does not apply, as far as that follows from the traits, or an empty text."""
    return attempted(lambda: check.condition(subject), "")  # a fault shows when the check runs
