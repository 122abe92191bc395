"""Checks of precision: results have the dtype of the prediction, and are computed in it."""

from __future__ import annotations

import torch

from nlcore.errors import ContractError, NumericalError
from nlcore.testing.check import BASE, InconclusiveError, check, ensure, only_if
from nlcore.testing.subject import BATCH, Subject, leaves


@check("dtype.example", requires=("shape.example",))
def example(subject: Subject) -> None:
    """`example` makes the prediction in the dtype that was asked for, and a target that is floating point too."""
    for dtype in subject.dtypes:
        prediction, target = subject.draw(BATCH, dtype=dtype)
        found = [prediction.dtype, *(leaf.dtype for leaf in leaves(target) if leaf.is_floating_point())]
        wrong = [one for one in found if one != dtype]
        ensure(
            not wrong,
            f"example(dtype={dtype}) returned {wrong[:1]}",
            "Pass dtype= on to the function that makes the tensors.",
        )


@check("dtype.value", requires=(*BASE, "dtype.example"))
def value(subject: Subject) -> None:
    """The value and the supplied derivatives have the dtype of the prediction."""
    for dtype in subject.dtypes:
        prediction, target = subject.draw(BATCH, dtype=dtype)
        for name, function in subject.functions():
            found = function(prediction, target).dtype
            ensure(
                found == dtype,
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
        ensure(
            found == dtype,
            f"a prediction of {dtype} gives a value of {found}",
            "Convert the result back to prediction.dtype.",
        )


@check(
    "dtype.precision",
    requires=(*BASE, "dtype.value"),
    when=only_if(lambda subject: torch.float64 in subject.dtypes, "float64 was not asked for"),
)
def precision(subject: Subject) -> None:
    """A float64 prediction is computed in float64, and not in float32 on the way."""
    found = subject.value(*subject.draw(8, dtype=torch.float64)).detach()
    coarse = found[found.isfinite() & (found * 1024 != (found * 1024).round())]
    if not coarse.numel():
        raise InconclusiveError("the values are round numbers")
    ensure(
        (coarse != coarse.float().double()).any(),
        f"all values of a float64 prediction are float32 numbers, such as {float(coarse[0])!r}",
        "Compute in prediction.dtype; take .float() out of the way.",
    )
