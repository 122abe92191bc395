"""Checks of the documentation: it says what the loss is, and the shapes of its inputs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from nlcore.testing.check import check, ensure, only_if
from nlcore.testing.subject import Subject

_FOREIGN = {"abc", "builtins", "torch", "typing"}
_SHAPE = re.compile(r"\[(batch|B|N|n)\b")


@check("docs.summary", requires=("protocol.members",))
def summary(subject: Subject) -> None:
    """The class has a docstring whose first line says what the loss is."""
    first = next(_docstrings(subject), "").strip().partition("\n")[0]
    ensure(
        len(first.split()) >= 3,
        f"the docstring of {type(subject.algorithm).__name__} starts with {first!r}",
        "Begin it with one line that says what the loss is.",
    )


@check("docs.shapes", requires=("docs.summary",))
def shapes(subject: Subject) -> None:
    """The docstring of the class or of its call gives the shapes, as in `prediction: [batch, n]`."""
    call = getattr(type(subject.algorithm).__call__, "__doc__", None) or ""
    given = any(_SHAPE.search(text) for text in (*_docstrings(subject), call))
    ensure(
        given,
        "neither docstring gives a shape",
        "Write the shapes of inputs and result, as in: prediction: [batch, n].",
    )


@check(
    "docs.listed",
    when=only_if(lambda subject: subject.summary is not None, "it was not made from a specification"),
)
def listed(subject: Subject) -> None:
    """The specification has a summary of one line for `nlcore list`."""
    text = (subject.summary or "").strip()
    ensure(
        bool(text) and "\n" not in text,
        f"the summary of the specification is {subject.summary!r}",
        "Write one line: AlgorithmSpec(summary=…).",
    )


def _docstrings(subject: Subject) -> Iterator[str]:
    """Yield the docstrings of the class and its bases, without those that Python and torch write."""
    for base in type(subject.algorithm).__mro__:
        text = vars(base).get("__doc__") or ""
        foreign = base.__module__.partition(".")[0] in _FOREIGN or text.startswith(f"{base.__name__}(")
        if text and not foreign:
            yield text
