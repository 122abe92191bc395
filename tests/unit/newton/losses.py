"""Losses for the tests: indefinite, split, supplied by hand, old-style, random, padded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore import Traits, compose

PLAIN = Traits(takes_mask=True)
OLD = Traits(transforms="autograd", takes_mask=True)
STOCHASTIC = Traits(stochastic=True)
TAKES_MASK = Traits(takes_mask=True)


@dataclass(frozen=True)
class Wavy:
    """Σ t sin y + 0.3 Σ y_k² y_{k+1} + 0.2 (Σ y)²: coupled, with Hessians of mixed signs.

    It takes a mask and reads padded outputs like the others, as the reference does: padding is the engine's affair.
    """

    traits: Traits = PLAIN

    def __call__(self, prediction, target, *, generator=None, mask=None):
        y, t = prediction.flatten(1), target.flatten(1)
        return (t * y.sin()).sum(1) + 0.3 * (y[:, :-1].square() * y[:, 1:]).sum(1) + 0.2 * y.sum(1).square()

    def example(self, batch_size, *, generator, dtype, device):
        shape = (batch_size, *[2] * (self.traits.event_ndim - 1), 4)
        return tuple(torch.randn(2, *shape, generator=generator, dtype=dtype, device=device))


def wavy_gradient(prediction, target):
    """Return [N, m]."""
    y, t = prediction.flatten(1), target.flatten(1)
    g = t * y.cos() + 0.4 * y.sum(1, keepdim=True)
    ahead = torch.nn.functional.pad(0.6 * y[:, :-1] * y[:, 1:], (0, 1))
    behind = torch.nn.functional.pad(0.3 * y[:, :-1].square(), (1, 0))
    return g + ahead + behind


def wavy_hessian(prediction, target):
    """Return [N, m, m]."""
    y, t = prediction.flatten(1), target.flatten(1)
    size = y.shape[1]
    diagonal = -t * y.sin() + torch.nn.functional.pad(0.6 * y[:, 1:], (0, 1))
    beside = torch.diag_embed(0.6 * y[:, :-1], offset=1)
    return torch.diag_embed(diagonal) + beside + beside.mT + 0.4 * torch.ones(size, size, dtype=y.dtype)


class WavyGradient(Wavy):
    """Supplies its gradient."""

    def gradient(self, prediction, target, *, generator=None, mask=None):
        return wavy_gradient(prediction, target).reshape(prediction.shape)


class WavyHessian(Wavy):
    """Supplies its Hessian."""

    def hessian(self, prediction, target, *, generator=None, mask=None):
        return wavy_hessian(prediction, target)


class WavySupplied(WavyGradient, WavyHessian):
    """Supplies both."""


class OldSine(torch.autograd.Function):
    """The sine as a Function that torch.func refuses: no setup_context."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.sin()

    @staticmethod
    def backward(ctx, incoming):
        (y,) = ctx.saved_tensors
        return incoming * y.cos()


@dataclass(frozen=True)
class WavyOld(Wavy):
    """Wavy through an old-style Function."""

    traits: Traits = OLD

    def __call__(self, prediction, target, *, generator=None, mask=None):
        y, t = prediction.flatten(1), target.flatten(1)
        sine = OldSine.apply(y)
        return (t * sine).sum(1) + 0.3 * (y[:, :-1].square() * y[:, 1:]).sum(1) + 0.2 * y.sum(1).square()


@dataclass(frozen=True)
class Counting:
    """Wraps a loss and counts its calls in a list."""

    loss: Wavy
    calls: list

    @property
    def traits(self):
        return self.loss.traits

    def example(self, batch_size, *, generator, dtype, device):
        return self.loss.example(batch_size, generator=generator, dtype=dtype, device=device)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        self.calls.append(torch.is_grad_enabled())
        return self.loss(prediction, target)


def features(prediction: Tensor, *, mask: Tensor | None = None) -> Tensor:
    """Return [N, 2m − 1] features, not linear in y, with a Jacobian of full rank."""
    y = prediction.flatten(1)
    return torch.cat([y + 0.5 * y.tanh(), (y[:, :-1] * y[:, 1:]).sin()], dim=1)


def convex_outer(found: Tensor, target: Tensor) -> Tensor:
    """Return Σ log cosh(found − target), convex and not quadratic; target [N, 2m − 1]."""
    gap = found - target
    return (gap + torch.nn.functional.softplus(-2 * gap)).sum(1)


SPLIT = compose(features, convex_outer)


@dataclass(frozen=True)
class Noisy:
    """Σ ((y + σε) − t)⁴: the noise is in value, gradient and Hessian."""

    sigma: float = 0.5
    traits: Traits = STOCHASTIC

    def __call__(self, prediction, target, *, generator=None):
        noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype)
        return self.with_noise(prediction, target, noise)

    def with_noise(self, prediction, target, noise):
        return (prediction + self.sigma * noise - target).pow(4).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 4, generator=generator, dtype=dtype, device=device))


class NoisyHessian(Noisy):
    """Noisy, with a Hessian from the same draw."""

    def hessian(self, prediction, target, *, generator=None):
        noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype)
        return torch.diag_embed(12 * (prediction + self.sigma * noise - target).square())


@dataclass(frozen=True)
class MaskedMean:
    """The mean over the outputs that count of log cosh, coupled by the square of their mean; takes a mask."""

    traits: Traits = TAKES_MASK

    def __call__(self, prediction, target, *, generator=None, mask=None):
        keep = torch.ones_like(prediction) if mask is None else (~mask).to(prediction.dtype)
        count = keep.sum(1).clamp(min=1.0)
        gap = (prediction - target) * keep
        each = (gap.cosh().log() * keep).sum(1) / count
        return each + 0.5 * ((prediction * keep).sum(1) / count).square()

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 4, generator=generator, dtype=dtype, device=device))


def half_square(prediction, target, mask=None):
    """Return ½‖y − t‖² of each sample, as a plain callable."""
    return (prediction - target).flatten(1).square().sum(1) / 2


def data(count=5, size=4, dtype=torch.float64, seed=0, event=None):
    """Return a random (prediction, target), each [count, *event] or [count, size]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, *event) if event is not None else (count, size)
    prediction, target = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return prediction.to(dtype), target.to(dtype)
