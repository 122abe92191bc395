"""Elementary losses, batch first and unreduced, with their Hessians in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from nlcore.errors import ContractError
from nlcore.inputs import check_inputs, holds
from nlcore.protocol import Traits

__all__ = ["AbsoluteError", "BinaryCrossEntropy", "CrossEntropy", "SquaredError"]


@dataclass(frozen=True)
class _Elementary:
    """What the built-in losses share: no options, one event dimension."""

    traits: ClassVar[Traits] = Traits(psd_hessian=True)
    _id: ClassVar[str]

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return a random valid `(prediction, target)`, both [batch, 5]."""
        prediction, target = torch.randn(2, batch_size, 5, generator=generator, dtype=dtype, device=device)
        return prediction, target


@dataclass(frozen=True)
class SquaredError(_Elementary):
    """½‖prediction − target‖².

    The Hessian is the identity; the Newton step with damping λ goes to y − (y − t)/(1 + λ), the target at λ = 0.

    Shape:
        prediction, target: [batch, m].
    """

    _id = "core/squared_error"

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        return (prediction - _values(self._id, prediction, target)).square().sum(-1) / 2

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the identity for each sample, [batch, m, m]."""
        size = prediction.shape[-1]
        identity = torch.eye(size, dtype=prediction.dtype, device=prediction.device)
        return identity.expand(prediction.shape[0], size, size)


@dataclass(frozen=True)
class AbsoluteError(_Elementary):
    """‖prediction − target‖₁, of order 1: the second derivative is zero wherever it exists.

    Shape:
        prediction, target: [batch, m].
    """

    traits = Traits(order=1, psd_hessian=True)
    _id = "core/absolute_error"

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        return (prediction - _values(self._id, prediction, target)).abs().sum(-1)


@dataclass(frozen=True)
class BinaryCrossEntropy(_Elementary):
    """Σ_k −t_k log p_k − (1 − t_k) log(1 − p_k) with p = σ(prediction).

    The Hessian is diag(p(1 − p)).

    Shape:
        prediction: [batch, m], logits; target: [batch, m], probabilities in [0, 1].
    """

    _id = "core/binary_cross_entropy"

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        target = _values(self._id, prediction, target)
        return F.binary_cross_entropy_with_logits(prediction, target, reduction="none").sum(-1)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return diag(p(1 − p)) for each sample, [batch, m, m]."""
        return torch.diag_embed(torch.sigmoid(prediction) * torch.sigmoid(-prediction))

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return random logits and probabilities, both [batch, 5]."""
        prediction, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return prediction, target.sigmoid()


@dataclass(frozen=True)
class CrossEntropy(_Elementary):
    """−Σ_k t_k log p_k with p = softmax(prediction).

    The gradient is p − t and the Hessian diag(p) − ppᵀ, positive semi-definite and singular along the vector of
    ones, so that some damping is needed.

    Shape:
        prediction: [batch, classes], logits; target: [batch] int64 class indices, or [batch, classes]
        probabilities that sum to 1.
    """

    _id = "core/cross_entropy"

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample, [batch]."""
        target = self._checked(prediction, target)
        return F.cross_entropy(prediction, target, reduction="none")

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return diag(p) − ppᵀ for each sample, [batch, classes, classes]."""
        self._checked(prediction, target)
        p = prediction.softmax(-1)
        return torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return random logits [batch, 5] and classes [batch]."""
        prediction = torch.randn(batch_size, 5, generator=generator, dtype=dtype, device=device)
        return prediction, torch.randint(5, (batch_size,), generator=generator, device=device)

    def _checked(self, prediction: Tensor, target: Tensor) -> Tensor:
        if not isinstance(target, Tensor) or target.dtype != torch.int64:
            return _values(self._id, prediction, target)
        check_inputs(self._id, prediction=(prediction, _LOGITS), target=(target, "[batch] int64"))
        classes = prediction.shape[-1]
        if not holds((target >= 0) & (target < classes)):
            raise ContractError(
                f"{self._id}: class indices must lie in 0 … {classes - 1}; the target's range is "
                f"{int(target.min())} … {int(target.max())}."
            )
        return target


_LOGITS = "[batch, m] floating"


def _values(name: str, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the target in the prediction's dtype, after a check of both."""
    check_inputs(name, prediction=(prediction, _LOGITS), target=(target, _LOGITS))
    return target.to(prediction.dtype)
