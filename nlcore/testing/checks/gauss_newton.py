"""The Gauss–Newton split: it composes to the loss, and its outer part is convex."""

from __future__ import annotations

import torch

from nlcore.testing.check import SOUND, check, fail
from nlcore.testing.checks.comparison import compare
from nlcore.testing.subject import BATCH, Subject, pulled_back

__all__ = ["CHECKS"]

_LARGEST = 64
"""Features whose Hessian is formed; of more, as many directions are tried."""


def _splits(subject: Subject) -> str:
    return "" if subject.splits else "it has no inner and outer"


@check("gauss_newton.split", requires=(*SOUND, "shape.supplied"), when=_splits)
def split(subject: Subject) -> None:
    """`outer(inner(prediction), target)` is the loss."""
    for seed in range(3):
        prediction, target = subject.draw(BATCH, seed=seed)
        compare(
            subject,
            subject.algorithm.outer(subject.algorithm.inner(prediction), target),
            subject.value(prediction, target),
            "outer(inner(prediction), target) is another number than the loss",
            "Let __call__ return self.outer(self.inner(prediction), target).",
            tolerance=subject.tolerance * 1e-2,
        )


@check("gauss_newton.convex", requires=("gauss_newton.split",), when=_splits)
def convex(subject: Subject) -> None:
    """`outer` is convex in the features."""
    for seed in range(3):
        prediction, target = subject.draw(BATCH, seed=seed)
        leaf = subject.algorithm.inner(prediction).detach().requires_grad_()
        slope = pulled_back(subject.algorithm.outer(leaf, target).sum(), leaf, create_graph=True)
        size = leaf[0].numel()
        basis = torch.eye(size, dtype=leaf.dtype, device=leaf.device)
        if size > _LARGEST:
            spread = torch.linspace(1, size, _LARGEST * size, dtype=leaf.dtype, device=leaf.device).sin()
            basis = torch.linalg.qr(spread.reshape(size, _LARGEST))[0].mT
        vectors = basis.reshape(len(basis), *leaf.shape[1:])
        rows = [pulled_back(slope, leaf, one.expand_as(leaf), retain_graph=True) for one in vectors]
        matrix = torch.einsum("rnk,sk->nrs", torch.stack(rows).reshape(len(basis), BATCH, size), basis)
        values = torch.linalg.eigvalsh(((matrix + matrix.mT) / 2).detach().double())
        low, high = float(values.min()), float(values.abs().max())
        if low < -max(subject.rounding, 1e-7) * max(high, 1e-300):
            fail(
                f"the Hessian of outer in the features has the eigenvalue {low:.3g} (the largest is {high:.3g})",
                "Move what is not convex into inner, or leave the split out.",
            )


CHECKS = (split, convex)
