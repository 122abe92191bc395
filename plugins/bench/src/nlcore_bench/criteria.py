"""Criteria of training: curvatures by name, the mean of a loss, flattened predictions, normalised gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

import nlcore
from nlcore.errors import ConfigError, nearest
from nlcore_bench.parts import TASK, LossPart, MethodPart
from nlcore_bench.tasks.base import Task

__all__ = ["Criterion", "MeanLoss", "make_criterion", "make_curvature", "make_loss"]


def make_curvature(given: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return a curvature of nlcore by the name of its class, with its options.

    Args:
        given: One name with its options, as a study has it. An option that is a table with one name, such as
            `{relative = 0.1}` or `{bounded = {limit = 2.0}}`, is the rule of nlcore of that name.

    Raises:
        ConfigError: The class or an option is unknown, or a value is wrong.
    """
    ((name, options),) = given.items()
    return _made(name, {key: _value(value) for key, value in options.items()})


def _value(value: Any) -> Any:
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((name, options),) = value.items()
    return _made(f"{name[:1].upper()}{name[1:]}", options)


def _made(name: str, options: Any) -> Any:
    cls: Any = getattr(nlcore, name) if name in nlcore.__all__ else None
    if not inspect.isclass(cls):
        raise ConfigError(f"nlcore has no {name!r}{nearest(name, nlcore.__all__)}.")
    make: Callable[..., Any] = cls
    if not isinstance(options, Mapping):
        return make(options)
    known = inspect.signature(make).parameters
    for option in options:
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}{nearest(option, known)}: {', '.join(known)}.")
    return make(**options)


def make_loss(task: Task, part: LossPart | None) -> Any:
    """Return a loss of a study, or that of the task for `None`.

    Raises:
        NlcoreError: The algorithm is unknown, or an option is wrong.
    """
    if part is None:
        return task.loss
    if part.id != TASK:
        return nlcore.make(part.id, **part.options)
    if not hasattr(task, "make_loss"):
        raise ConfigError(f"{type(task).__name__} has no loss that takes options; name an algorithm, not {TASK!r}.")
    return task.make_loss(part.options)


def make_criterion(loss: Any, method: MethodPart, *, flat: bool = False, damping: float | None = None) -> Criterion:
    """Return the criterion `(prediction, target) -> scalar` of a method.

    Args:
        loss: The loss.
        method: The method.
        flat: Whether prediction and target are flattened to [batch, m].
        damping: A relative damping instead of the curvature's own.

    Raises:
        ConfigError: The curvature or one of its options is unknown.
    """
    if method.curvature is None:
        return Criterion(MeanLoss(loss), method.normalize, flat=flat)
    ((name, options),) = method.curvature.items()
    chosen = options if damping is None else {**options, "damping": {"relative": damping}}
    return Criterion(nlcore.NewtonLoss(loss, make_curvature({name: chosen})), method.normalize, flat=flat)


class MeanLoss(nn.Module):
    """The mean of a loss over the batch, for methods without curvature.

    Args:
        loss: `(prediction, target) -> [batch]`.
    """

    def __init__(self, loss: Any) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prediction: Tensor, target: Any, **options: Any) -> Tensor:
        """Return the mean loss, a scalar."""
        losses: Tensor = self.loss(prediction, target, **options)
        return losses.mean()


class Criterion(nn.Module):
    """The criterion of a method.

    Args:
        mean: `(prediction, target) -> scalar`.
        normalize: `"sample"` divides the gradient with respect to the prediction of every sample by its norm, `"batch"`
            the whole gradient by its root mean square.
        flat: Whether prediction and target are flattened to [batch, m].
    """

    def __init__(self, mean: nn.Module, normalize: str | None = None, *, flat: bool = False) -> None:
        super().__init__()
        self.mean, self.normalize, self.flat = mean, normalize, flat

    def forward(self, prediction: Tensor, target: Any, **options: Any) -> Tensor:
        """Return the criterion of prediction and target, [batch, *event] each."""
        if self.normalize and prediction.requires_grad:
            prediction.register_hook(self._normalized)  # type: ignore[no-untyped-call]
        if self.flat:
            prediction, target = prediction.flatten(1), target.flatten(1)
        value: Tensor = self.mean(prediction, target, **options)
        return value

    def _normalized(self, gradient: Tensor) -> Tensor:
        if self.normalize == "batch":
            norms = gradient.square().mean().sqrt()
        else:
            norms = torch.linalg.vector_norm(gradient.flatten(1), dim=1).view(-1, *[1] * (gradient.ndim - 1))
        return gradient / norms.clamp_min(1e-30) / len(gradient)
