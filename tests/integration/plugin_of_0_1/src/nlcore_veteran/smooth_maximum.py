"""The largest of some numbers: a small algorithm to begin with. Put yours in its place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore import Traits
from nlcore.config import Configured
from nlcore.inputs import check_inputs
from nlcore_veteran.config import SmoothMaximumConfig

__all__ = ["SmoothMaximum"]

_ID = "veteran/smooth_maximum"


@dataclass(frozen=True, kw_only=True, repr=False)
class SmoothMaximum(Configured):
    """Numbers supervised by their largest: ℓ(y, t) = ½(τ log Σ_k exp(y_k/τ) − t)².

    The smooth maximum lies between the maximum and the maximum + τ log n.

    Args:
        temperature: τ > 0, in units of the numbers.

    Shape:
        prediction: [batch, n]; target: [batch], the largest number; value: [batch].
    """

    temperature: float = 0.5

    config = SmoothMaximumConfig

    @property
    def traits(self) -> Traits:
        """Twice differentiable; not convex, since the square of a convex function need not be."""
        return Traits(event_ndim=1, order=2)

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]; the samples know nothing of each other."""
        return self.outer(self.inner(prediction), target)

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the smooth maximum of each sample, [batch].

        With `outer` this makes a Gauss-Newton split: the curvature is then positive semi-definite by construction and
        needs no second derivative of the algorithm. Leave both out where the loss has no such form.
        """
        check_inputs(_ID, prediction=(prediction, "[batch, n] floating"))
        return self.temperature * torch.logsumexp(prediction / self.temperature, dim=1)

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return half the squared distance, convex in the features, [batch]."""
        check_inputs(_ID, maximum=(features, "[batch] floating"), target=(target, "[batch] real"))
        return (features - target).square() / 2

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return a random valid `(prediction, target)`; every check of `nlcore check` runs on it."""
        prediction, numbers = torch.randn(2, batch_size, 5, generator=generator, dtype=dtype, device=device)
        return prediction, numbers.amax(dim=1)
