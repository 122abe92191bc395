"""Checks of shapes: of the example, of the value and of the supplied derivatives, for every batch size."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from nlcore.testing.check import BASE, SOUND, check, ensure, fail, only_if
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject, context_of, leaves

_SIZES = (1, 2, 5)


@check("shape.example", requires=("protocol.members", "protocol.traits"))
def example(subject: Subject) -> None:
    """`example(batch_size)` returns a prediction [batch, *event] and a target with the batch in front."""
    dimensions = 1 + subject.traits.event_ndim
    for size in _SIZES:
        made = {"generator": subject.generator(), "dtype": subject.widest, "device": subject.device}
        found: Any = subject.algorithm.example(size, **made)
        if not isinstance(found, tuple | list) or len(found) != 2 or not isinstance(found[0], Tensor):
            fail(f"example({size}) returned {_described(found)}", "Return a tuple (prediction, target).")
        shape = list(found[0].shape)
        ensure(
            len(shape) == dimensions and shape[0] == size,
            f"example({size}) returned a prediction of shape {shape}, and traits.event_ndim is "
            f"{subject.traits.event_ndim}",
            "Return [batch_size, *event], and set event_ndim to the number of dimensions of one sample.",
        )
        context = context_of(subject.draw(size)[1])
        for name, one in {"example": found[1], "example_context": context}.items():
            shapes = [list(leaf.shape) for leaf in leaves(one) if leaf.ndim == 0 or leaf.shape[0] != size]
            ensure(
                not shapes,
                f"{name}({size}) returned a tensor of shape {shapes[:1]} that is not the prediction",
                "Put the batch in front of every tensor of target and context.",
            )


@check("shape.value", requires=("shape.example",))
def value(subject: Subject) -> None:
    """The call returns one number per sample, [batch], with and without a generator."""
    for size in _SIZES:
        prediction, target = subject.draw(size)
        found = [subject.value(prediction, target)]
        if not subject.traits.stochastic:
            found.append(subject.call("__call__", *subject.draw(size)))
        for one in found:
            ensure(
                isinstance(one, Tensor) and one.shape == (size,),
                f"for a prediction of shape {list(prediction.shape)} the loss returned {_described(one)}",
                f"Return shape [{size}]: sum over the event, and leave out the reduction over the batch.",
            )


@check("shape.empty_batch", requires=(*BASE, "purity.inputs", "purity.settings"))
def empty_batch(subject: Subject) -> None:
    """A batch of 0 gives a value of shape [0], and a gradient where there is one."""
    prediction, target = subject.draw(0)
    leaf = prediction.requires_grad_()
    found = subject.value(leaf, target)
    right = isinstance(found, Tensor) and found.shape == (0,)
    ensure(right, f"for an empty batch the loss returned {_described(found)}", "Return shape [0].")
    if found.requires_grad:
        torch.autograd.grad(found.sum(), leaf, allow_unused=True)


@check("shape.supplied", requires=BASE, when=only_if(lambda subject: bool(subject.supplies), "it supplies nothing"))
def supplied(subject: Subject) -> None:
    """`gradient` is [batch, *event], `hessian` [batch, m, m], `inner` and `outer` have the batch in front."""
    for size in _SIZES:
        prediction, target = subject.draw(size)
        m = math.prod(prediction.shape[1:])
        expected = {"the call": (size,), "gradient": tuple(prediction.shape), "hessian": (size, m, m), "outer": (size,)}
        for name, function in subject.functions():
            found = function(prediction, target)
            shape = tuple(found.shape) if isinstance(found, Tensor) else ()
            wanted = expected.get(name, (size, *shape[1:]))  # inner may return any features
            ensure(
                isinstance(found, Tensor) and shape == wanted,
                f"for a prediction of shape {list(prediction.shape)} {name} returned {_described(found)}",
                f"Return shape {list(wanted)}.",
            )


@check(
    "shape.strides",
    requires=SOUND,
    when=only_if(lambda subject: subject.traits.event_ndim > 0, "an event without dimensions has one layout"),
)
def strides(subject: Subject) -> None:
    """A prediction that is not contiguous gives the same value as its copy."""
    prediction, target = subject.draw(BATCH)
    order = list(reversed(range(prediction.ndim)))
    turned = prediction.permute(order).contiguous().permute(order)
    try:
        found = subject.value(turned, target)
    except RuntimeError as error:
        fail(f"a prediction that is not contiguous raised: {error}", "Use reshape in place of view.")
    compare(
        subject,
        found,
        subject.value(prediction, target),
        "a prediction that is not contiguous has another value than its contiguous copy",
        "Use reshape, and read no memory by hand.",
    )


def _described(found: object) -> str:
    if isinstance(found, Tensor):
        return f"shape {list(found.shape)}"
    return "None" if found is None else f"a {type(found).__name__}"
