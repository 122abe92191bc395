"""The object: copied, sent to other processes, used from several threads."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject, clone

__all__ = ["CHECKS"]

_THREADS, _ROUNDS = 8, 8


@check("object.pickle", requires=SOUND)
def pickled(subject: Subject) -> None:
    """It can be pickled, and the copy gives the same values."""
    _compare_copy(
        subject,
        # What is read here is what was written in the same line.
        lambda algorithm: pickle.loads(pickle.dumps(algorithm)),
        "pickled",
        "Workers and DDP need it: keep no lambdas, open files or local classes in the object.",
    )


@check("object.copy", requires=SOUND)
def copied(subject: Subject) -> None:
    """It can be copied deeply, and the copy gives the same values."""
    _compare_copy(subject, copy.deepcopy, "copied", "Keep no locks or open files in the object.")


@check("object.repr", requires=("protocol.members",))
def shown(subject: Subject) -> None:
    """`repr` names the class and the options, and no address in memory."""
    text = repr(subject.algorithm)
    if f"{type(subject.algorithm).__name__} object at 0x" in text:
        fail(f"repr is {text!r}", "Make the class a dataclass, or define __repr__ with the options.")
    fields: dict[str, Any] = getattr(subject.config, "model_fields", {})
    missing = [name for name in fields if f"{name}=" not in text]
    if missing:
        fail(f"repr is {text!r} and leaves out {', '.join(missing)}", "Show every option, as a dataclass does.")


@check("object.equality", requires=("object.copy",))
def equality(subject: Subject) -> None:
    """It can be hashed; where equality is defined, a copy is equal and has the same hash."""
    algorithm = subject.algorithm
    try:
        before = hash(algorithm)
    except TypeError as error:
        fail(f"it cannot be hashed: {error}", "Make the class a @dataclass(frozen=True), with options that are tuples.")
    subject.value(*subject.draw(BATCH))
    if hash(algorithm) != before:
        fail("its hash changes with a call", "Hash the options alone.")
    defined: Any = type(algorithm).__eq__
    if defined is not object.__eq__:
        twin = copy.deepcopy(algorithm)
        if not (twin == algorithm and hash(twin) == before):
            fail("a copy is not equal to it, or has another hash", "Compare and hash the options alone.")


@check("object.threads", requires=SOUND)
def threads(subject: Subject) -> None:
    """Calls from several threads at once give what they give one after the other."""
    examples = [subject.draw(BATCH, seed=seed) for seed in range(_THREADS)]
    wanted = [subject.value(*example).detach() for example in examples]
    with ThreadPoolExecutor(_THREADS) as pool:
        found: list[list[Tensor]] = list(
            pool.map(lambda example: [subject.value(*example).detach() for _ in range(_ROUNDS)], examples)
        )
    for values, right in zip(found, wanted, strict=True):
        for one in values:
            what = "calls from several threads at once give other values"
            compare(subject, one, right, what, "Keep nothing in the object while a call runs.")


def _compare_copy(subject: Subject, duplicate: Callable[[Any], Any], verb: str, remedy: str) -> None:
    try:
        twin = duplicate(subject.algorithm)
    except Exception as error:
        fail(f"it cannot be {verb}: {type(error).__name__}: {error}", remedy)
    if type(twin) is not type(subject.algorithm):
        fail(f"it comes back as a {type(twin).__name__}", remedy)
    prediction, target = subject.draw(BATCH)
    wanted = clone(subject.value(prediction, target))
    found = Subject(twin, device=subject.device, dtypes=subject.dtypes, seed=subject.seed).value(prediction, target)
    compare(subject, found, wanted, f"a {verb} copy gives other values", remedy)


CHECKS = (pickled, copied, shown, equality, threads)
