"""Whether a plugin's requirement on nlcore is met: the part of PEP 440 and PEP 508 that this needs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeAlias

__all__ = ["normalised", "unmet_requirement", "version_key"]

_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*\(?(?P<clauses>[^;@()]*)\)?\s*")
_CLAUSE = re.compile(r"(?P<operator>~=|===?|!=|<=|>=|<|>)\s*(?P<version>[^\s,]+)")
_VERSION = re.compile(
    r"v?(?P<release>\d+(?:\.\d+)*)"
    r"(?:[-_.]?(?P<pre>alpha|a|beta|b|preview|pre|c|rc)[-_.]?(?P<pre_number>\d*))?"
    r"(?:(?P<post>[-_.]?(?:post|rev|r)[-_.]?|-)(?P<post_number>\d*))?"
    r"(?:[-_.]?(?P<dev>dev)[-_.]?(?P<dev_number>\d*))?"
    r"(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?",
    re.IGNORECASE,
)
_LONG = re.compile(r"\d{19}")  # no version: Python itself refuses to read a number of some thousand digits
_PHASES = {"a": 0, "alpha": 0, "b": 1, "beta": 1, "c": 2, "rc": 2, "pre": 2, "preview": 2}
_LAST = (1_000_000, 0)

# release without trailing zeros, pre-release phase, post-release, development release: compares as PEP 440 orders.
_Key: TypeAlias = tuple[tuple[int, ...], tuple[int, int], int, int]


def unmet_requirement(requires: Iterable[str], name: str, version: str) -> str | None:
    """Return the first requirement on `name` that `version` does not meet.

    A requirement with an environment marker, with an address, or in a form that this does not know is left to the
    installer, which has seen it before.

    Args:
        requires: Requirements as `Requires-Dist` has them.
        name: The distribution to look for.
        version: The version of it that is there.
    """
    here = version_key(version)
    if here is None:
        return None
    for requirement in requires:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None or normalised(match["name"]) != normalised(name) or _LONG.search(requirement):
            continue
        if not all(_holds(clause, here) for clause in _CLAUSE.finditer(match["clauses"])):
            return requirement
    return None


def normalised(name: str) -> str:
    """Return a distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def version_key(version: str) -> _Key | None:
    """Return what orders versions as PEP 440 does, or `None` for what is not a version."""
    match = _VERSION.fullmatch(version.strip())
    if match is None or _LONG.search(version):
        return None
    release = _stripped(tuple(int(part) for part in match["release"].split(".")))
    pre = (_PHASES[match["pre"].lower()], int(match["pre_number"] or 0)) if match["pre"] else _LAST
    if match["pre"] is None and match["post"] is None and match["dev"]:
        pre = (-1, 0)  # 1.0.dev1 comes before 1.0a1
    post = int(match["post_number"] or 0) if match["post"] else -1
    dev = int(match["dev_number"] or 0) if match["dev"] else _LAST[0]
    return release, pre, post, dev


def _stripped(release: tuple[int, ...]) -> tuple[int, ...]:
    while release and release[-1] == 0:
        release = release[:-1]
    return release


def _holds(clause: re.Match[str], here: _Key) -> bool:
    operator, text = clause["operator"], clause["version"]
    if text.endswith(".*") and operator in {"==", "!="}:
        return _starts_with(here, text[:-2]) == (operator == "==")
    bound = version_key(text)
    if bound is None or operator == "===":
        return True
    same_release = here[0] == bound[0]
    answers = {
        ">=": here >= bound,
        "<=": here <= bound,
        "==": here == bound,
        "!=": here != bound,
        # 1.0rc1 does not satisfy < 1.0, nor 1.0.post1 > 1.0: each counts as a kind of 1.0.
        "<": here < bound and not (same_release and _is_early(here) and not _is_early(bound) and bound[2] < 0),
        ">": here > bound and not (same_release and here[1] == bound[1] and here[2] >= 0 > bound[2]),
        # ~= 1.4.2 means >= 1.4.2 and == 1.4.*
        "~=": here >= bound and _starts_with(here, re.findall(r"[\d.]*\d", text)[0].rpartition(".")[0]),
    }
    return answers[operator]


def _is_early(key: _Key) -> bool:
    return key[1] != _LAST or key[3] != _LAST[0]


def _starts_with(here: _Key, prefix: str) -> bool:
    wanted = tuple(int(part) for part in re.findall(r"\d+", prefix))
    return (here[0] + (0,) * len(wanted))[: len(wanted)] == wanted
