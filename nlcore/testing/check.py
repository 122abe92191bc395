"""Definition of a check: its name, when it applies, the checks it builds on, and its function."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import error_text
from nlcore.testing.subject import Subject

__all__ = [
    "BASE",
    "SOUND",
    "Check",
    "CheckFailedError",
    "Condition",
    "InconclusiveError",
    "check",
    "deterministic",
    "ensure",
    "fail",
    "only_if",
    "trainable",
]

Condition: TypeAlias = Callable[[Subject], str]
"""Returns why a check does not apply to an algorithm, and an empty text when it does."""

BASE = ("protocol.members", "shape.example", "shape.value")
"""Checks without which the result of a call is meaningless."""

SOUND = (*BASE, "purity.inputs", "purity.settings", "purity.repeatable", "stochastic.reproducible")
"""Checks without which two calls cannot be compared."""


class CheckFailedError(Exception):
    """A finding: the fault and its remedy."""


class InconclusiveError(Exception):
    """The reason why a check has no result."""


def fail(what: str, remedy: str) -> NoReturn:
    """End a check with a finding.

    Args:
        what: The fault, with the values.
        remedy: How to fix it.
    """
    raise CheckFailedError(f"{what.rstrip('.')}. {remedy}")


def ensure(holds: bool | Tensor, what: str, remedy: str) -> None:
    """End a check with a finding unless a condition holds."""
    if not bool(holds):
        fail(what, remedy)


def only_if(holds: Callable[[Subject], bool], reason: str) -> Condition:
    """Return the condition that `holds`; `reason` says why the check does not apply otherwise."""
    return lambda subject: "" if holds(subject) else reason


deterministic = only_if(lambda subject: not subject.traits.stochastic, "it is stochastic")
trainable = only_if(lambda subject: subject.traits.order >= 1 or "gradient" in subject.supplies, "it has no gradient")


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the catalogue.

    Attributes:
        name: `group.name`.
        summary: Its requirement, in one line.
        requires: The checks it builds on; where one of them fails this one is not run.
        condition: Why it does not apply, or an empty text.
        function: Raises `CheckFailedError`.
    """

    name: str
    summary: str
    requires: tuple[str, ...]
    condition: Condition
    function: Callable[[Subject], None]

    @property
    def group(self) -> str:
        """The part of the name before the dot."""
        return self.name.partition(".")[0]

    def run(self, subject: Subject) -> None:
        """Try an algorithm, and restore torch's settings afterwards.

        Raises:
            CheckFailedError: Something is wrong.
            InconclusiveError: The check has no result.
        """
        dtype, threads, grad = torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled()
        try:
            with torch.enable_grad():
                self.function(subject)
        except (CheckFailedError, InconclusiveError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise CheckFailedError(_raised(error)) from error
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            if torch.get_num_threads() != threads:
                torch.set_num_threads(threads)


def _raised(error: BaseException) -> str:
    """Return the error that the algorithm raised at an input of its own, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {frames[-1].filename}, line {frames[-1].lineno}" if frames else ""
    text = " ".join(error_text(error).split()).rstrip(".")
    return f"an input made by its example() raised {text}{where}. It must work there."


def check(
    name: str, *, requires: tuple[str, ...] = (), when: Condition = lambda subject: ""
) -> Callable[[Callable[[Subject], None]], Check]:
    """Make a check of a function; the first line of its docstring becomes the summary.

    Args:
        name: `group.name`.
        requires: The checks it builds on.
        when: Returns why it does not apply, or an empty text.
    """

    def made(function: Callable[[Subject], None]) -> Check:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        return Check(name, summary, requires, when, function)

    return made
