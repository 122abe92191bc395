"""Elementary losses, batch first and unreduced, with their Hessians in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from nlcore.errors import ContractError, shorten
from nlcore.inputs import check_inputs, holds, working
from nlcore.protocol import Traits

__all__ = ["AbsoluteError", "BinaryCrossEntropy", "CrossEntropy", "SquaredError"]


@dataclass(frozen=True)
class _Elementary:
    """Base of the built-in losses: no options, one event dimension, a mask.

    A mask is True at padded outputs. Prediction and target are ignored there: loss, gradient and Hessian are those of
    the shorter sample, with zeros at the padded outputs. Half precision is computed in float32 and rounded at the end.
    """

    traits: ClassVar[Traits] = Traits(psd_hessian=True, takes_mask=True)
    _id: ClassVar[str]

    def __init_subclass__(cls, **options: Any) -> None:
        """Set `takes_mask=False` for a subclass whose own call has no `mask`."""
        super().__init_subclass__(**options)
        own = vars(cls)
        if "__call__" in own and "traits" not in own and "mask" not in signature(cls.__call__).parameters:
            cls.traits = replace(cls.traits, takes_mask=False)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return a random valid `(prediction, target)`, both [batch, 5]."""
        prediction, target = torch.randn(2, batch_size, 5, generator=generator, dtype=dtype, device=device)
        return prediction, target


@dataclass(frozen=True)
class SquaredError(_Elementary):
    r"""Half the squared distance of prediction and target.

    $$
    \ell(y, t) = \tfrac12 \lVert y - t \rVert^2.
    $$

    The Hessian is the identity; the Newton step with damping λ goes to y − (y − t)/(1 + λ), the target at λ = 0.

    Shape:
        - prediction: `[batch, m]`, the predicted numbers.
        - target: `[batch, m]`, the true numbers, in the dtype of the prediction.
        - mask: `[batch, m]` bool, True at padded outputs.
        - value: half the sum of the squared errors, not their mean.

    Cost:
        Time and memory O(m) per sample, O(m²) with the Hessian.

    When it fails:
        A Newton step only rescales the gradient, so curvature brings nothing.
    """

    _id = "core/squared_error"

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample, [batch]."""
        outputs, target = _values(self._id, prediction, target, mask)
        return ((outputs - target).square().sum(-1) / 2).to(prediction.dtype)

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the identity for each sample, [batch, m, m], with 0 at padded outputs."""
        check_inputs(self._id, prediction=(prediction, _FORM), mask=(mask, *_MASK))
        if mask is not None:
            return torch.diag_embed((~mask).to(prediction.dtype))
        size = prediction.shape[-1]
        identity = torch.eye(size, dtype=prediction.dtype, device=prediction.device)
        return identity.expand(prediction.shape[0], size, size)


@dataclass(frozen=True)
class AbsoluteError(_Elementary):
    r"""The sum of the absolute errors, of order 1: the second derivative is zero wherever it exists.

    $$
    \ell(y, t) = \lVert y - t \rVert_1.
    $$

    Shape:
        - prediction: `[batch, m]`, the predicted numbers.
        - target: `[batch, m]`, the true numbers, in the dtype of the prediction.
        - mask: `[batch, m]` bool, True at padded outputs.
        - value: the sum of the absolute errors, not their mean.

    Cost:
        Time and memory O(m) per sample.

    When it fails:
        The gradient has the same length near the target and far from it. There is no second derivative, so only the
        Fisher matrix applies.
    """

    traits = Traits(order=1, psd_hessian=True, takes_mask=True)
    _id = "core/absolute_error"

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample, [batch]."""
        outputs, target = _values(self._id, prediction, target, mask)
        return (outputs - target).abs().sum(-1).to(prediction.dtype)


@dataclass(frozen=True)
class BinaryCrossEntropy(_Elementary):
    r"""Cross-entropy of independent logits.

    $$
    \ell(y, t) = -\sum_k \left( t_k \log p_k + (1 - t_k) \log (1 - p_k) \right), \qquad p = \sigma(y).
    $$

    The Hessian is diag(p(1 − p)).

    Shape:
        - prediction: `[batch, m]`, logits.
        - target: `[batch, m]`, probabilities from 0 to 1, in the dtype of the prediction.
        - mask: `[batch, m]` bool, True at padded outputs.
        - value: nats, summed over the outputs; the smallest is the entropy of the target.

    Cost:
        Time and memory O(m) per sample, O(m²) with the Hessian.

    When it fails:
        Where a logit is large the Hessian vanishes, on the right side and on the wrong one: without damping a Newton
        step for a confidently wrong output is huge.
    """

    _id = "core/binary_cross_entropy"

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample, [batch]."""
        logits, target = _values(self._id, prediction, target, mask)
        # Both logarithms: 1 − σ in place of the second would round a small probability, and its gradient, to 0.
        terms = torch.lerp(F.logsigmoid(-logits), F.logsigmoid(logits), target)
        return -(terms if mask is None else terms.masked_fill(mask, 0.0)).sum(-1).to(prediction.dtype)

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return diag(p(1 − p)) for each sample, [batch, m, m], with 0 at padded outputs."""
        check_inputs(self._id, prediction=(prediction, _FORM), mask=(mask, *_MASK))
        logits = working(prediction)
        variance = (torch.sigmoid(logits) * torch.sigmoid(-logits)).to(prediction.dtype)
        return torch.diag_embed(variance if mask is None else variance.masked_fill(mask, 0.0))

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return random logits and probabilities, both [batch, 5]."""
        prediction, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return prediction, target.sigmoid()


@dataclass(frozen=True)
class CrossEntropy(_Elementary):
    r"""Softmax cross-entropy of logits.

    $$
    \ell(y, t) = -\sum_k t_k \log p_k, \qquad p = \operatorname{softmax}(y).
    $$

    The gradient is p − t and the Hessian diag(p) − ppᵀ, positive semi-definite and singular along the vector of
    ones, so that some damping is needed. Padded classes have p = 0: the softmax is over the others.

    Shape:
        - prediction: `[batch, classes]`, logits.
        - target: `[batch]` int64, the class, or `[batch, classes]` probabilities that sum to 1.
        - mask: `[batch, classes]` bool, True at classes that a sample does not have.
        - value: nats; for a class index it is minus the logarithm of its probability.

    Cost:
        Time and memory O(classes) per sample, O(classes²) with the Hessian.

    When it fails:
        Where one logit, right or wrong, is far above the others, the Hessian vanishes: with little damping, a Newton
        step for a confidently wrong sample is huge.
    """

    _id = "core/cross_entropy"

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sample, [batch].

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or a class is out of range or padded.
        """
        logits, target = self._checked(prediction, target, mask)
        if mask is None:
            return F.cross_entropy(logits, target, reduction="none").to(prediction.dtype)
        logs = _without(logits, mask).log_softmax(-1).masked_fill(mask, 0.0)
        if target.ndim == 1:
            return -logs.gather(-1, target.unsqueeze(-1)).squeeze(-1).to(prediction.dtype)
        return -(target * logs).sum(-1).to(prediction.dtype)

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return diag(p) − ppᵀ for each sample, [batch, classes, classes], with 0 at padded classes."""
        logits, _ = self._checked(prediction, target, mask)
        p = logits.softmax(-1) if mask is None else _without(logits, mask).softmax(-1).masked_fill(mask, 0.0)
        return (torch.diag_embed(p) - p.unsqueeze(-1) * p.unsqueeze(-2)).to(prediction.dtype)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return random logits [batch, 5] and classes [batch], never the last one, which may thus be padded."""
        prediction = torch.randn(batch_size, 5, generator=generator, dtype=dtype, device=device)
        return prediction, torch.randint(4, (batch_size,), generator=generator, device=device)

    def _checked(self, prediction: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return logits and target in working precision, with 0 at padded classes."""
        if not isinstance(target, Tensor) or (target.is_floating_point() and target.ndim != 1):
            return _values(self._id, prediction, target, mask)
        check_inputs(self._id, prediction=(prediction, _FORM), target=(target, *_CLASSES), mask=(mask, *_MASK))
        logits = working(prediction)
        if mask is not None:
            empty = mask.all(-1)
            logits, target = logits.masked_fill(mask, 0.0), target.masked_fill(empty, 0)
        classes = prediction.shape[-1]
        if not holds((target >= 0) & (target < classes)):
            raise ContractError(
                f"{self._id}: class indices must lie in 0 … {classes - 1}; the target's range is "
                f"{int(target.min())} … {int(target.max())}."
            )
        if mask is not None:
            _check_classes(self._id, target, mask.gather(-1, target.unsqueeze(-1)).squeeze(-1) & ~empty)
        return logits, target


_FORM = "[batch, m] floating"
_CLASSES = (
    "[batch] int64",
    "Give the class of each sample, [batch], with .long(), or probabilities, [batch, classes], with .float().",
)
_MASK = "[batch, m] bool or None", "It is True at padded outputs."


def _check_classes(name: str, target: Tensor, padded: Tensor) -> None:
    """Raise where the class of a sample, [batch], is padded."""
    if not holds(~padded):
        samples = padded.nonzero()[:, 0].tolist()
        raise ContractError(
            f"{name}: the class of samples {shorten(samples)} is padded; sample {samples[0]} has class "
            f"{int(target[samples[0]])}. A mask is True at classes that a sample does not have: the opposite of an "
            "attention mask."
        )


def _values(name: str, prediction: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return validated prediction and target in working precision, with 0 at padded outputs."""
    check_inputs(name, prediction=(prediction, _FORM), target=(target, _FORM), mask=(mask, *_MASK))
    outputs = working(prediction)
    target = target.to(outputs.dtype)
    if mask is None:
        return outputs, target
    return outputs.masked_fill(mask, 0.0), target.masked_fill(mask, 0.0)


def _without(logits: Tensor, mask: Tensor) -> Tensor:
    """Return the logits with −∞ at padded classes, except in samples of padding only, whose softmax would be 0/0."""
    return logits.masked_fill(mask & ~mask.all(-1, keepdim=True), -torch.inf)
