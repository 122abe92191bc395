"""The checks as parametrised tests; pytest is imported when they are made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from nlcore.errors import ConformanceError
from nlcore.testing.checks import CATALOGUE
from nlcore.testing.kit import NOTHING, BoundCheck, bound_checks
from nlcore.testing.plugins import Case
from nlcore.testing.report import Outcome, Status, known_names
from nlcore.testing.subject import Subject

__all__ = ["parametrize_with_checks"]

ExpectedFailures: TypeAlias = Mapping[str, str] | Callable[[Any], Mapping[str, str]]


def parametrize_with_checks(algorithms: Iterable[Any], *, expected_failures: ExpectedFailures = NOTHING) -> Any:
    """Return a pytest decorator that runs every check on every algorithm, each as a test of its own.

    Args:
        algorithms: Instances, or `nlcore.testing.Case`s, which hold the options too.
        expected_failures: For each check that is known to fail the reason; or a function that returns them for an
            algorithm. They become strict xfails: one that passes is a failure.

    Returns:
        A decorator for a test with the one argument `check`.

    Raises:
        ConfigError: `expected_failures` has an unknown check, or gives no reason.

    Example:
        >>> from nlcore.builtin.losses import SquaredError
        >>> @parametrize_with_checks([SquaredError()])
        ... def test_conforms(check):
        ...     check()
    """
    import pytest

    names = [one.name for one in CATALOGUE]
    parameters = []
    for algorithm in algorithms:
        announced = expected_failures(algorithm) if callable(expected_failures) else expected_failures
        known_names(announced, names)
        subject = algorithm.subject() if isinstance(algorithm, Case) else Subject(algorithm)
        for check in bound_checks(subject, _Test):
            marks = []
            if check.name in announced:
                marks = [pytest.mark.xfail(reason=announced[check.name], strict=True, raises=ConformanceError)]
            parameters.append(pytest.param(check, id=repr(check), marks=marks))
    return pytest.mark.parametrize("check", parameters)


class _Test(BoundCheck):
    """A check that is a skipped test when it was not run."""

    def __call__(self) -> Outcome:
        import pytest

        outcome = super().__call__()
        if outcome.status in (Status.BLOCKED, Status.SKIPPED):
            pytest.skip(outcome.message)
        return outcome
