"""One check: its name, when it applies, what it builds on, and what it does."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import torch

from nlcore.errors import error_text
from nlcore.testing.subject import Subject

__all__ = ["BASE", "SOUND", "Check", "CheckFailedError", "Condition", "InconclusiveError", "check", "fail"]

Condition: TypeAlias = Callable[[Subject], str]
"""Returns why a check does not apply to an algorithm, and an empty text when it does."""

BASE = ("protocol.members", "shape.example", "shape.value")
"""What must hold for a call to mean anything."""

SOUND = (*BASE, "purity.inputs", "purity.settings", "purity.repeatable", "stochastic.reproducible")
"""What must hold for two calls to be comparable."""


class CheckFailedError(Exception):
    """What a check has found wrong."""


class InconclusiveError(Exception):
    """Why a check could not tell."""


def fail(what: str, remedy: str) -> NoReturn:
    """End a check with a finding.

    Args:
        what: What happened, with the values.
        remedy: What to do.
    """
    raise CheckFailedError(f"{what.rstrip('.')}. {remedy}")


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the catalogue.

    Attributes:
        name: `group.name`.
        summary: What it asks for, in one line.
        requires: The checks it builds on; where one of them fails this one is not run.
        condition: Why it does not apply, or nothing.
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
        """Try an algorithm, and leave torch's settings as they were whatever it does to them.

        Raises:
            CheckFailedError: Something is wrong.
            InconclusiveError: The check could not tell.
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
    """Return what the algorithm raised at an input of its own, and where."""
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
