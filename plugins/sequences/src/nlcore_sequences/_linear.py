"""Base class of the linear losses ½‖Ay − t‖²: call, masks, split and curvature operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from nlcore.evaluation import full_precision
from nlcore.inputs import check_inputs, working
from nlcore.protocol import CurvatureOperator, Traits

__all__ = ["LinearLoss"]

_MASK, _ADVICE = "[batch, m] bool or None", "It is True at padded elements."
_SIZES = "hijklm"


class LinearLoss(ABC):
    """Base of the losses ½‖Ay − t‖² of a fixed linear A: numbers in, and a target for their image.

    Elements where `mask` is True do not exist: their numbers are ignored, and so are the targets at their positions.
    A sequence of padding only has loss 0. Half precision is computed in float32.

    Objects are immutable and serve every m.
    """

    id: ClassVar[str]
    _features: ClassVar[str] = "m"  # as many as numbers
    _event_ndim: ClassVar[int] = 1

    if TYPE_CHECKING:

        @property
        def traits(self) -> Traits:
            """Linear under a quadratic criterion: one curvature matrix for all samples and predictions."""
            ...

    def __call__(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the loss of each sequence.

        Args:
            prediction: [batch, m], the numbers.
            target: Their image, with the dtype and device of `prediction`.
            mask: Of the shape of `prediction`, bool, True at padded elements.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`; not finite for a sequence that is not.

        Raises:
            ShapeError: A shape does not fit, or the kernel is longer than the sequence.
            ContractError: An input is not a tensor.
            DtypeError: `prediction` is not floating point, `target` has another dtype, or `mask` is not bool.
            DeviceError: The tensors are on different devices.
        """
        self._check(prediction, target=target, mask=mask)
        numbers = working(prediction)
        with full_precision(prediction.device):
            value = self._distance(self._image(numbers, mask), target.to(numbers.dtype), mask)
        return value.to(prediction.dtype)

    def inner(self, prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return A times the numbers of each sequence, 0 at padded elements."""
        self._check(prediction, mask=mask)
        with full_precision(prediction.device):
            return self._image(working(prediction), mask).to(prediction.dtype)

    def outer(self, features: Tensor, target: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return half the squared distance between features and target, [batch]."""
        return self._distance(features, target, mask)

    def curvature_operator(self, prediction: Tensor) -> CurvatureOperator | None:
        """Return AᵀA by its structure; `None` where there is none that helps.

        Args:
            prediction: [batch, m], for size and device.
        """
        return self._operator(prediction.shape[1:], prediction.device)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random numbers and the noisy image of others."""
        shape = (batch_size, *self._example_event())
        prediction, truth = (torch.randn(shape, generator=generator, dtype=dtype, device=device) for _ in range(2))
        image = self.inner(truth)
        noise = torch.randn(image.shape, generator=generator, dtype=dtype, device=device)
        return prediction, image + 0.1 * noise

    @abstractmethod
    def _image(self, numbers: Tensor, mask: Tensor | None) -> Tensor:
        """Return A times the numbers, zero at padded elements where features are elements."""

    @abstractmethod
    def _operator(self, event: torch.Size, device: torch.device) -> CurvatureOperator | None:
        """Return AᵀA by its structure."""

    def _example_event(self) -> tuple[int, ...]:
        return (6,)

    def _check(self, prediction: Tensor, *, target: Tensor | None = None, mask: Tensor | None = None) -> None:
        sizes = ", ".join(["batch", *_SIZES[-self._event_ndim :]])
        given: dict[str, tuple[object, str] | tuple[object, str, str]] = {
            "prediction": (prediction, f"[{sizes}] floating")
        }
        if target is not None:
            features = sizes if self._features == "m" else f"batch, {self._features}"
            given["target"] = (target, f"[{features}] same")
        check_inputs(self.id, **given, mask=(mask, f"[{sizes}] bool or None", _ADVICE))

    def _distance(self, features: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
        check_inputs(self.id, features=(features, "[...] floating"), target=(target, "[...] same"))
        errors = features - target
        if mask is not None:
            errors = errors.masked_fill(mask, 0.0)
        return 0.5 * errors.square().flatten(1).sum(1)
