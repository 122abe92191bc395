"""A loss that splits into features and an outer loss, linearised at a prediction."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import DtypeError
from nlcore.newton.problem import Problem
from nlcore.pullbacks import LinearMap, all_pulled_back, pulled_back, remedies

__all__ = ["Split", "split_with_autograd", "split_with_func"]


@dataclass(frozen=True, slots=True)
class Split:
    """A loss that splits, linearised at a prediction.

    Attributes:
        value: [N], the losses.
        gradient: [N, m], their gradients.
        features: F, how many features a sample has.
        vjp: Jᵀ times cotangents.
        jvp: J times directions; made when needed, since it costs a graph, and `None` where torch lacks it.
        outer_hvp: The Hessian of the outer loss times directions.
    """

    value: Tensor
    gradient: Tensor
    features: int
    vjp: LinearMap
    jvp: Callable[[], LinearMap | None]
    outer_hvp: LinearMap


def split_with_autograd(problem: Problem) -> Split:
    """Return a loss that splits, its features and the outer loss each differentiated by their graph."""
    dtype = problem.prediction.dtype
    with torch.enable_grad():
        y = problem.prediction.detach().requires_grad_()
        features, restore = _real(problem, problem.evaluation.inner(y))
        leaf = features.detach().requires_grad_()
        with remedies(problem.loss, "outer_gradient"):
            value = problem.evaluation.outer(restore(leaf))
            slope = pulled_back(value, leaf, torch.ones_like(value), create_graph=True)
    shape = features.shape
    count, size = shape[0], math.prod(shape[1:])

    def pull(cotangents: Tensor) -> Tensor:
        with remedies(problem.loss, "gradient"):
            return all_pulled_back(features, y, cotangents.reshape(-1, *shape)).to(dtype)

    def bend(directions: Tensor) -> Tensor:  # which does not keep the graph of the features
        with remedies(problem.loss, "outer"):
            bent = all_pulled_back(slope, leaf, directions.reshape(-1, *shape))
        return bent.reshape(-1, count, size).to(dtype)

    def push() -> LinearMap | None:
        with torch.enable_grad():
            dual = torch.ones_like(features, requires_grad=True)  # any value but 0, where some rules fail
            try:
                transposed = pulled_back(features, y, dual, create_graph=True)
            except RuntimeError:
                return None
        return lambda directions: all_pulled_back(transposed, dual, directions).reshape(-1, count, size).to(dtype)

    gradient = pull(slope.detach().unsqueeze(0))[0]
    return Split(value.detach().to(dtype), gradient, size, pull, push, bend)


def split_with_func(problem: Problem) -> Split:
    """Return the same by `torch.func`."""
    vjp: Any = torch.func.vjp
    vmap = torch.func.vmap
    with torch.no_grad(), remedies(problem.loss, "gauss_newton", transform=True):
        features, transpose = vjp(problem.evaluation.inner, problem.prediction)

        def outer_gradient(f: Tensor) -> tuple[Tensor, Tensor]:
            value, pull = vjp(problem.evaluation.outer, f)
            return pull(torch.ones_like(value))[0], value

        slope, pull_outer, value = vjp(outer_gradient, features, has_aux=True)
        gradient = transpose(slope)[0]
    count, size = features.shape[0], math.prod(features.shape[1:])

    def push() -> LinearMap | None:
        again = vjp(lambda u: transpose(u)[0], torch.ones_like(features))[1]
        return lambda directions: vmap(lambda v: again(v)[0])(directions).reshape(-1, count, size)

    def pull(cotangents: Tensor) -> Tensor:
        with remedies(problem.loss, "gauss_newton", transform=True):
            return vmap(lambda u: transpose(u)[0])(cotangents.reshape(-1, *features.shape))

    def bend(directions: Tensor) -> Tensor:
        with remedies(problem.loss, "outer", transform=True):
            bent = vmap(lambda u: pull_outer(u)[0])(directions.reshape(-1, *features.shape))
        return bent.reshape(-1, count, size)

    return Split(value, gradient, size, pull, push, bend)


def _real(problem: Problem, features: Tensor) -> tuple[Tensor, LinearMap]:
    """Return features as real numbers, and the map back to what the outer loss takes.

    Raises:
        DtypeError: They are integers or booleans.
    """
    if features.is_complex():
        return torch.view_as_real(features), torch.view_as_complex
    if not features.is_floating_point():
        raise DtypeError(
            f"{problem.loss.name}.inner must return floating-point features, and returned {features.dtype}: integers "
            f"have no derivative."
        )
    return features, lambda same: same
