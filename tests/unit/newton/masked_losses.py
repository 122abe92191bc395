"""Losses that take masks, in every form in which a loss may, each with the loss of one unpadded sample.

None looks at the place of an output, so that a sample without its padded outputs is a sample of fewer outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from nlcore import Traits, compose

from .losses import OldSine

MASKED = Traits(takes_mask=True)
MASKED_OLD = Traits(takes_mask=True, transforms="autograd")
MASKED_PLANE = Traits(takes_mask=True, event_ndim=2)


def hidden(values, mask):
    """Return [N, m] with zeros at padded outputs, and ones where an output counts."""
    flat = values.flatten(1)
    if mask is None:
        return flat, torch.ones_like(flat)
    mask = mask.flatten(1)
    return torch.where(mask, 0.0, flat), (~mask).to(flat.dtype)


def rolling(p, q, mask=None, sine=torch.sin):
    """Return Σ t sin y + 0.2 (Σ y)² + 0.1 Σ y Σ cos y over the outputs that count, [N]: Hessians of mixed signs."""
    y, keep = hidden(p, mask)
    t, _ = hidden(q, mask)
    total = y.sum(1)
    return (t * sine(y)).sum(1) + 0.2 * total.square() + 0.1 * total * (keep * y.cos()).sum(1)


def rolling_gradient(p, q, mask=None):
    """Return the gradient in closed form, [N, m]."""
    y, keep = hidden(p, mask)
    t, _ = hidden(q, mask)
    total = y.sum(1, keepdim=True)
    cosines = (keep * y.cos()).sum(1, keepdim=True)
    return keep * (t * y.cos() + 0.4 * total + 0.1 * cosines - 0.1 * total * y.sin())


def rolling_hessian(p, q, mask=None):
    """Return the Hessian in closed form, [N, m, m]."""
    y, keep = hidden(p, mask)
    t, _ = hidden(q, mask)
    total = y.sum(1, keepdim=True)
    sine = y.sin()
    both = 0.4 - 0.1 * (sine.unsqueeze(-1) + sine.unsqueeze(-2))
    blocks = both + torch.diag_embed(-t * sine - 0.1 * total * y.cos())
    return blocks * keep.unsqueeze(-1) * keep.unsqueeze(-2)


def many_features(p, mask=None):
    """Return two features for each output, zeros at padded ones, [N, m, 2]."""
    y, _ = hidden(p, mask)
    return torch.stack([y + 0.5 * y.tanh(), (y * y.sum(1, keepdim=True)).sin()], -1)


def log_cosh(gap):
    """Return log cosh, 0 at 0."""
    return gap + torch.nn.functional.softplus(-2 * gap) - math.log(2)


def many_outer(features, target, mask=None):
    """Return Σ log cosh of the first features' errors and half the squares of the second, [N]."""
    t, _ = hidden(target, mask)
    return log_cosh(features[..., 0] - t).sum(1) + features[..., 1].square().sum(1) / 2


def few_features(p, mask=None):
    """Return two features in all, [N, 2]."""
    y, _ = hidden(p, mask)
    return torch.stack([(y + 0.5 * y.tanh()).sum(1), y.sin().sum(1)], -1)


def few_outer(features, target, mask=None):
    """Return the loss of two features: log cosh of the first one's error and half the square of the second, [N]."""
    t, _ = hidden(target, mask)
    return log_cosh(features[..., 0] - t.sum(1)) + features[..., 1].square() / 2


@dataclass(frozen=True)
class Rolling:
    """An `AlgorithmicLoss` that takes a mask."""

    traits: Traits = MASKED

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return rolling(prediction, target, mask)

    def example(self, batch_size, *, generator, dtype, device):
        shape = (batch_size, *[2] * (self.traits.event_ndim - 1), 4)
        return tuple(torch.randn(2, *shape, generator=generator, dtype=dtype, device=device))


class RollingOld(Rolling):
    """Through an old-style Function."""

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return rolling(prediction, target, mask, OldSine.apply)


class RollingGradient(Rolling):
    """Supplies its gradient."""

    def gradient(self, prediction, target, *, generator=None, mask=None):
        return rolling_gradient(prediction, target, mask).reshape(prediction.shape)


class RollingHessian(Rolling):
    """Supplies its Hessian."""

    def hessian(self, prediction, target, *, generator=None, mask=None):
        return rolling_hessian(prediction, target, mask)


@dataclass(frozen=True)
class Splitting(Rolling):
    """Has a Gauss–Newton split whose parts take the mask.

    Attributes:
        features: `(prediction, mask) -> features`.
        criterion: `(features, target, mask) -> [N]`.
    """

    features: Callable[..., Any] = many_features
    criterion: Callable[..., Any] = many_outer

    def inner(self, prediction, mask=None):
        return self.features(prediction, mask)

    def outer(self, features, target, mask=None):
        return self.criterion(features, target, mask)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        return self.criterion(self.features(prediction, mask), target, mask)


def rolling_by_keyword(p, q, *, mask=None):
    """Return the rolling loss; the mask is a keyword."""
    return rolling(p, q, mask)


def rolling_by_position(p, q, mask=None):
    """Return the rolling loss; the mask may be positional."""
    return rolling(p, q, mask)


class RollingObject:
    """A plain callable object."""

    def __call__(self, p, q, mask=None):
        return rolling(p, q, mask)


@dataclass(frozen=True)
class Family:
    """A loss with the loss of one unpadded sample.

    Attributes:
        loss: As the engine gets it.
        alone: `([1, k], [1, k]) -> [1]`.
        inner: `[1, k] -> [1, *features]`, where it splits.
        outer: `([1, *features], [1, k]) -> [1]`.
        event_ndim: Number of dimensions of an event that it takes; `None` for any.
        backends: Which it can be differentiated with.
    """

    loss: Any
    alone: Callable[..., Any] = rolling
    inner: Callable[..., Any] | None = None
    outer: Callable[..., Any] | None = None
    event_ndim: int | None = 1
    backends: tuple[str, ...] = ("auto", "func", "autograd")


def split(loss, inner, outer, **options):
    """Return the family of a loss `outer(inner(y), t)`."""
    return Family(loss, lambda y, t: outer(inner(y), t), inner, outer, **options)


PROTOCOL = {
    "rolling": Family(Rolling()),
    "rolling in a plane": Family(Rolling(MASKED_PLANE), event_ndim=2),
    "rolling, old style": Family(RollingOld(MASKED_OLD), backends=("auto", "autograd")),
    "rolling with a gradient": Family(RollingGradient()),
    "rolling with a Hessian": Family(RollingHessian()),
    "many features": split(Splitting(), many_features, many_outer),
    "few features": split(Splitting(features=few_features, criterion=few_outer), few_features, few_outer),
}
"""Losses of the protocol whose traits say that they take a mask."""

CALLABLES = {
    "by keyword": Family(rolling_by_keyword, event_ndim=None),
    "by position": Family(rolling_by_position, event_ndim=None),
    "an object": Family(RollingObject(), event_ndim=None),
}
"""Plain callables with a parameter `mask`."""

COMPOSED = {
    "many features": split(compose(many_features, many_outer), many_features, many_outer),
    "few features": split(compose(few_features, few_outer), few_features, few_outer),
    "in a plane": split(
        compose(many_features, many_outer, traits=Traits(event_ndim=2)), many_features, many_outer, event_ndim=2
    ),
    "by autograd": split(
        compose(few_features, few_outer, traits=Traits(transforms="autograd")),
        few_features,
        few_outer,
        backends=("auto", "autograd"),
    ),
}
"""Composed losses whose `inner` and `outer` have a parameter `mask`."""
