"""Checks of the object: it can be copied, sent to other processes, and used from several threads."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch import Tensor

from nlcore.testing.check import SOUND, check, ensure, fail
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, clone

_THREADS, _ROUNDS = 8, 8


@check("object.pickle", requires=SOUND)
def pickled(subject: Subject) -> None:
    """It can be pickled, and the copy gives the same values."""
    # The bytes that are read were written in the same line.
    _compare_copy(
        subject,
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
    named = f"{type(subject.algorithm).__name__} object at 0x" not in text
    ensure(named, f"repr is {text!r}", "Make the class a dataclass, or define __repr__ with the options.")
    missing = [name for name in getattr(subject.config, "model_fields", {}) if f"{name}=" not in text]
    ensure(
        not missing, f"repr is {text!r} and leaves out {', '.join(missing)}", "Show every option, as a dataclass does."
    )


@check("object.equality", requires=("object.copy",))
def equality(subject: Subject) -> None:
    """It can be hashed; where equality is defined, a copy is equal and has the same hash."""
    algorithm = subject.algorithm
    try:
        before = hash(algorithm)
    except TypeError as error:
        fail(f"it cannot be hashed: {error}", "Make the class a @dataclass(frozen=True), with options that are tuples.")
    subject.value(*subject.draw(BATCH))
    ensure(hash(algorithm) == before, "its hash changes with a call", "Hash the options alone.")
    twin, defined = copy.deepcopy(algorithm), any("__eq__" in vars(one) for one in type(algorithm).__mro__[:-1])
    equal = not defined or (twin == algorithm and hash(twin) == before)
    ensure(equal, "a copy is not equal to it, or has another hash", "Compare and hash the options alone.")


@check("object.threads", requires=SOUND)
def threads(subject: Subject) -> None:
    """Calls from several threads at once give the values of calls one after the other."""
    examples = list(subject.draws(_THREADS))
    wanted = [subject.value(*example).detach() for example in examples]

    def values(example: tuple[Tensor, Any]) -> list[Tensor]:
        return [subject.value(*example).detach() for _ in range(_ROUNDS)]

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(values, examples))
    what = "calls from several threads at once give other values"
    for several, right in zip(found, wanted, strict=True):
        for one in several:
            compare(subject, one, right, what, "Keep nothing in the object while a call runs.")


def _compare_copy(subject: Subject, duplicate: Callable[[Any], Any], verb: str, remedy: str) -> None:
    try:
        twin = duplicate(subject.algorithm)
    except Exception as error:
        fail(f"it cannot be {verb}: {type(error).__name__}: {error}", remedy)
    ensure(type(twin) is type(subject.algorithm), f"it comes back as a {type(twin).__name__}", remedy)
    prediction, target = subject.draw(BATCH)
    wanted = clone(subject.value(prediction, target))
    compare(subject, subject.twin(twin).value(prediction, target), wanted, f"a {verb} copy gives other values", remedy)
