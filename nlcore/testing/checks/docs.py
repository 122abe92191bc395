"""Documentation: a reader learns what it is and what to hand it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nlcore.testing.check import check, fail
from nlcore.testing.subject import Subject

__all__ = ["CHECKS"]

_FOREIGN = {"abc", "builtins", "torch", "typing"}
_SHAPE = re.compile(r"\[(batch|B|N|n)\b")


@check("docs.summary", requires=("protocol.members",))
def summary(subject: Subject) -> None:
    """The class has a docstring whose first line says what the loss is."""
    text = next(_docstrings(subject), "")
    first = text.strip().partition("\n")[0]
    if len(first.split()) < 3:
        fail(
            f"the docstring of {type(subject.algorithm).__name__} starts with {first!r}",
            "Begin it with one line that says what the loss is.",
        )


@check("docs.shapes", requires=("docs.summary",))
def shapes(subject: Subject) -> None:
    """The docstring of the class or of its call tells the shapes, as in `prediction: [batch, n]`."""
    call = getattr(type(subject.algorithm).__call__, "__doc__", None) or ""
    if not any(_SHAPE.search(text) for text in (*_docstrings(subject), call)):
        fail("neither docstring tells a shape", "Write what goes in and comes out, as in: prediction: [batch, n].")


def _registered(subject: Subject) -> str:
    return "" if subject.summary is not None else "it was not made from a specification"


@check("docs.listed", when=_registered)
def listed(subject: Subject) -> None:
    """The specification has a summary of one line for `nlcore list`."""
    text = subject.summary or ""
    if not text.strip() or "\n" in text.strip():
        fail(f"the summary of the specification is {text!r}", "Write one line: AlgorithmSpec(summary=…).")


def _docstrings(subject: Subject) -> Iterator[str]:
    """Yield the docstrings of the class and its bases, but for those that Python and torch write."""
    for base in type(subject.algorithm).__mro__:
        text = vars(base).get("__doc__") or ""
        if base.__module__.partition(".")[0] in _FOREIGN or text.startswith(f"{base.__name__}("):
            continue
        if text:
            yield text


CHECKS = (summary, shapes, listed)
