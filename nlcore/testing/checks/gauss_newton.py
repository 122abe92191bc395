"""Checks of the Gauss–Newton split: it composes to the loss, and its outer part is convex."""

from __future__ import annotations

import torch

from nlcore.pullbacks import pulled_back
from nlcore.testing.check import SOUND, check, ensure, only_if
from nlcore.testing.checks.hessian import lowest_eigenvalue
from nlcore.testing.comparison import compare
from nlcore.testing.subject import BATCH, Subject

_LARGEST = 64
"""Features whose Hessian is formed; of more, as many directions are tried."""

_SPLITS = only_if(lambda subject: "split" in subject.supplies, "it has no inner and outer")


@check("gauss_newton.split", requires=(*SOUND, "shape.supplied"), when=_SPLITS)
def split(subject: Subject) -> None:
    """`outer(inner(prediction), target)` is the loss."""
    for example in subject.draws(3):
        compare(
            subject,
            subject.composed(*example),
            subject.value(*example),
            "outer(inner(prediction), target) is another number than the loss",
            "Let __call__ return self.outer(self.inner(prediction), target).",
            tolerance=subject.tolerance * 1e-2,
        )


@check("gauss_newton.convex", requires=("gauss_newton.split",), when=_SPLITS)
def convex(subject: Subject) -> None:
    """`outer` is convex in the features."""
    for prediction, target in subject.draws(3):
        leaf = subject.call("inner", prediction, target).detach().requires_grad_()
        slope = pulled_back(subject.call("outer", leaf, target).sum(), leaf, create_graph=True)
        size = leaf[0].numel()
        basis = torch.eye(size, dtype=leaf.dtype, device=leaf.device)
        if size > _LARGEST:
            spread = torch.linspace(1, size, _LARGEST * size, dtype=leaf.dtype, device=leaf.device).sin()
            basis = torch.linalg.qr(spread.reshape(size, _LARGEST))[0].mT
        vectors = basis.reshape(len(basis), *leaf.shape[1:])
        rows = [pulled_back(slope, leaf, one.expand_as(leaf), retain_graph=True) for one in vectors]
        matrix = torch.einsum("rnk,sk->nrs", torch.stack(rows).reshape(len(basis), BATCH, size), basis)
        _, low, high = lowest_eigenvalue(matrix)
        ensure(
            low >= -max(subject.rounding, 1e-7) * max(high, 1e-300),
            f"the Hessian of outer in the features has the eigenvalue {low:.3g} (the largest is {high:.3g})",
            "Move the part that is not convex into inner, or leave the split out.",
        )
