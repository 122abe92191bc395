"""Second derivatives of a loss by differentiating twice, and the central differences that they have to agree with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from nlcore.evaluation import Evaluation, signs

__all__ = ["gradient_of", "missing_curvature", "missing_share", "outer_gradient_of", "second_product"]

_STEPS = (1.0, 4.0, 64.0, 1024.0)
"""Steps of central differences, in units of the cube root of the rounding; one that agrees with the next is trusted."""

_SETTLED, _WRONG = 0.01, 0.02
"""Relative change up to which differences agree, and relative error above which a product is wrong."""


def missing_curvature(evaluation: Evaluation, flat: Tensor, along: Tensor | None = None) -> float:
    """Return the share of samples whose Hessian product misses a difference of gradients, at the worst output.

    Args:
        evaluation: The loss at its target.
        flat: [N, m], the prediction.
        along: [N, m], zero at outputs that are not to be moved; ones by default.
    """
    counts = torch.ones(flat.shape[0], dtype=torch.bool, device=flat.device)
    return missing_share(partial(gradient_of, evaluation), flat, counts, along)


def missing_share(gradient: Callable[..., Tensor], at: Tensor, counts: Tensor, along: Tensor | None = None) -> float:
    """Return the share of samples whose product is wrong, at the output where that is largest.

    The direction moves every output by signs in units of its own size. A difference counts where it agrees with that of
    the next longer step, which excludes kinks and rounding errors. A product within the rounding
    of the largest gradient of the batch does not count: a sample's own may have cancelled to zero.
    """
    size = at.abs().nan_to_num(posinf=0.0).mean(0)
    unit = size.clamp(min=max(1e-3 * float(size.mean()), 1e-3 if not bool(size.any()) else 0.0))
    direction = signs(at, tuple(at.shape)) * unit * (1.0 if along is None else along)
    exact = second_product(gradient, at, direction).double()
    settled, difference, before = torch.zeros_like(exact, dtype=torch.bool), torch.zeros_like(exact), None
    for factor in _STEPS:
        step = factor * torch.finfo(at.dtype).eps ** (1 / 3)
        up, down = (gradient(at + sign * step * direction).double() for sign in (1, -1))
        now = (up - down) / (2 * step)
        if before is not None:
            agree = ~settled & ((now - before).abs() <= _SETTLED * torch.maximum(now.abs(), before.abs()))
            settled, difference = settled | agree, torch.where(agree, before, difference)
        before = now
    size = torch.maximum(difference.abs(), exact.abs())
    rounding = 100 * torch.finfo(at.dtype).eps * gradient(at).double().abs().nan_to_num().amax()
    least = torch.maximum(1e-6 * size.nan_to_num().amax(1, keepdim=True), rounding)
    judged = settled & counts.unsqueeze(1) & (size > least)
    wrong = judged & ((difference - exact).abs() > _WRONG * size)
    share = wrong.sum(0) / judged.sum(0).clamp(min=1)
    return float(share.max()) if share.numel() else 0.0


def gradient_of(evaluation: Evaluation, flat: Tensor, *, graph: bool = False) -> Tensor:
    """Return the gradients at outputs [N, m], [N, m]; with a graph to `flat` if asked for."""
    with torch.enable_grad():
        y = flat if graph else flat.detach().requires_grad_()
        if "gradient" in evaluation.loss.supplies:
            supplied = evaluation.supplied("gradient", y, tuple(y.shape))
            return supplied if graph else supplied.detach()
        return _pulled(evaluation.value(y), y, graph=graph)


def outer_gradient_of(evaluation: Evaluation, features: Tensor, *, graph: bool = False) -> Tensor:
    """Return the gradients of the outer loss at features [N, F], [N, F]."""
    with torch.enable_grad():
        f = features if graph else features.detach().requires_grad_()
        return _pulled(evaluation.outer(f), f, graph=graph)


def _pulled(value: Tensor, source: Tensor, *, graph: bool) -> Tensor:
    if not value.requires_grad:
        return torch.zeros_like(source)
    gradient = torch.autograd.grad(value.sum(), source, create_graph=graph, allow_unused=True)[0]
    return torch.zeros_like(source) if gradient is None else gradient.clone()


def second_product(gradient: Callable[..., Tensor], at: Tensor, along: Tensor) -> Tensor:
    """Return every sample's second derivative times its direction, of the shape of `at`."""
    y = at.detach().requires_grad_()
    with torch.enable_grad():
        slope = gradient(y, graph=True)
    if not slope.requires_grad:
        return torch.zeros_like(at)
    product = torch.autograd.grad(slope, y, along.to(slope.dtype), allow_unused=True)[0]
    return torch.zeros_like(at) if product is None else product
