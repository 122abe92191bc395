"""Precision: the dtype that goes in comes out, and is used on the way."""

from __future__ import annotations

import torch

from nlcore.errors import ContractError, NumericalError
from nlcore.testing.check import BASE, InconclusiveError, check, fail
from nlcore.testing.subject import BATCH, Subject, leaves

__all__ = ["CHECKS"]


@check("dtype.example", requires=("shape.example",))
def example(subject: Subject) -> None:
    """`example` makes the prediction in the dtype that was asked for, and a target that is floating point too."""
    for dtype in subject.dtypes:
        prediction, target = subject.draw(BATCH, dtype=dtype)
        wrong = [leaf.dtype for leaf in leaves(target) if leaf.is_floating_point() and leaf.dtype != dtype]
        if prediction.dtype != dtype or wrong:
            found = prediction.dtype if prediction.dtype != dtype else wrong[0]
            fail(f"example(dtype={dtype}) returned {found}", "Hand dtype= on to the function that makes the tensors.")


@check("dtype.value", requires=(*BASE, "dtype.example"))
def value(subject: Subject) -> None:
    """The value, and what is supplied, have the dtype of the prediction."""
    for dtype in subject.dtypes:
        prediction, target = subject.draw(BATCH, dtype=dtype)
        for name, function in subject.functions():
            found = function(prediction, target).dtype
            if found != dtype:
                fail(
                    f"{name} returned {found} for a prediction of {dtype}",
                    "Make constants with dtype=prediction.dtype, and convert the result back.",
                )


@check("dtype.half", requires=(*BASE, "dtype.value"))
def half(subject: Subject) -> None:
    """Half precision keeps its dtype, or is refused by name."""
    for dtype in (torch.bfloat16, torch.float16):
        try:
            found = subject.value(*subject.draw(BATCH, dtype=dtype)).dtype
        except (ContractError, NumericalError, TypeError, NotImplementedError):
            continue
        except RuntimeError as error:
            if "not implemented for" in str(error) or "dtype" in str(error):
                continue
            raise
        if found != dtype:
            fail(f"a prediction of {dtype} gives a value of {found}", "Convert the result back to prediction.dtype.")


def _has_float64(subject: Subject) -> str:
    return "" if torch.float64 in subject.dtypes else "float64 was not asked for"


@check("dtype.precision", requires=(*BASE, "dtype.value"), when=_has_float64)
def precision(subject: Subject) -> None:
    """A float64 prediction is computed in float64, and not in float32 on the way."""
    found = subject.value(*subject.draw(8, dtype=torch.float64)).detach()
    coarse = found[found.isfinite() & (found * 1024 != (found * 1024).round())]
    if not coarse.numel():
        raise InconclusiveError("the values are round numbers")
    if bool((coarse == coarse.float().double()).all()):
        fail(
            f"all values of a float64 prediction are float32 numbers, such as {float(coarse[0])!r}",
            "Compute in prediction.dtype; take .float() out of the way.",
        )


CHECKS = (example, value, half, precision)
