"""A convex loss that promises so by the name of 0.1, with what a plugin of 0.1 could import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from nlcore import SuppliesHessian, Traits
from nlcore.config import AlgorithmConfig, Configured
from nlcore.inputs import check_inputs, holds, working

__all__ = ["Bowl"]


class BowlConfig(AlgorithmConfig):
    """No options."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Bowl(Configured, SuppliesHessian):
    """Σ cosh(y − t) − 1.

    Shape:
        prediction, target: [batch, m]; value: [batch].
    """

    config = BowlConfig
    traits: ClassVar[Traits] = Traits(convex=True)

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        check_inputs("veteran/bowl", prediction=(prediction, "[batch, m] floating"), target=(target, "[batch, m] same"))
        assert holds(torch.isfinite(target))
        return (working(prediction) - working(target)).cosh().sub(1).sum(1).to(prediction.dtype)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return diag(cosh(y − t)) of each sample, [batch, m, m]."""
        return torch.diag_embed((prediction - target).cosh())

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return a random valid `(prediction, target)`."""
        prediction, target = torch.randn(2, batch_size, 4, generator=generator, dtype=dtype, device=device)
        return prediction, target
