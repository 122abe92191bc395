"""Per-sample values, gradients, Jacobian rows and curvature products of a batch-first loss.

Samples are independent, so the gradient of the summed loss holds every sample's gradient, and its pull-back of a
direction holds every sample's Hessian times that direction. One forward pass therefore serves value, gradient and
curvature: a stochastic loss sees one draw. The Gauss–Newton matrix JᵀHJ, with H the Hessian of the convex outer loss,
needs first derivatives of the algorithm alone: the rows of J are pull-backs of the unit vectors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ContractError, PerformanceWarning
from nlcore.evaluation import finite_rows, signs, transformed
from nlcore.newton.chunks import BUDGET, fitting_chunk
from nlcore.newton.failures import raise_nonfinite
from nlcore.newton.problem import Problem
from nlcore.newton.split import Split, split_with_autograd, split_with_func
from nlcore.protocol import CurvatureOperator
from nlcore.pullbacks import LinearMap, all_pulled_back, pulled_back, remedies

__all__ = ["FORMED", "SECOND", "Derivatives", "Kind", "differentiate", "operator_of"]

Kind: TypeAlias = Literal["gradient", "hessian", "gauss_newton"]

SECOND = {"hessian": "hessian", "gauss_newton": "outer"}
"""The second derivative behind a kind of curvature: that of the loss, or that of its outer loss."""

FORMED = 256
"""Outputs of a sample above which the default forms no m×m matrix."""


@dataclass(frozen=True, slots=True)
class Derivatives:
    """Value, gradient and, if asked for, curvature of a batch of losses at a prediction.

    Attributes:
        value: [N], the losses.
        gradient: [N, m], their gradients, zero at padded outputs.
        usable: [N] bool, which samples have a finite prediction, loss and gradient.
        hvp: Curvature times directions.
        jacobian: [N, F, m], the rows of J, where there are few features: then the curvature is Jᵀ·outer_hvp(J).
        outer_hvp: The Hessian of the outer loss times directions in the space of features.
        supplied: [N, m, m], the Hessians the loss supplies itself.
        features: F, for the Gauss–Newton matrix, or where the supplied Hessian is one.
        chunk: How many directions are pulled back at a time.
        jvp_sound: Whether J times a direction was found to agree with the rows of J; `None` where it is not needed.
        operator: The one curvature of all samples by its structure, where the loss supplies it and has many outputs.
    """

    value: Tensor
    gradient: Tensor
    usable: Tensor
    hvp: LinearMap | None = None
    jacobian: Tensor | None = None
    outer_hvp: LinearMap | None = None
    supplied: Tensor | None = None
    features: int | None = None
    chunk: int = 1
    jvp_sound: bool | None = None
    operator: CurvatureOperator | None = None

    @classmethod
    def of(cls, problem: Problem, value: Tensor, gradient: Tensor, **curvature: Any) -> Derivatives:
        """Return derivatives with padding cleared, and which samples are usable."""
        keep = problem.samples.keep
        flat = problem.prediction
        if keep is not None:
            flat, gradient = torch.where(keep, flat, 0.0), torch.where(keep, gradient, 0.0)
        usable = finite_rows(torch.cat([flat, gradient, value.unsqueeze(-1)], 1))
        return cls(value, gradient, usable, **curvature)

    def zeroed(self) -> Derivatives:
        """Return the derivatives with a gradient of zero for samples that are not usable."""
        return replace(self, gradient=torch.where(self.usable.unsqueeze(-1), self.gradient, 0.0))

    def exclude_unusable(self, problem: Problem) -> tuple[Problem, Derivatives]:
        """Return problem and derivatives in which samples that are not usable do not count.

        Raises:
            NonFiniteError: Such a sample has a weight, and failures raise; the message names all of them.
        """
        if problem.raising:
            if bool(self.usable.all()):
                return problem, self
            wrong = ~self.usable & (problem.samples.weight > 0)
            if bool(wrong.any()):
                raise_nonfinite(problem, ~wrong)
            return problem, self.zeroed()  # the others have no weight, so that the ranks have nothing to exchange
        return replace(problem, samples=problem.samples.where(self.usable)), self.zeroed()

    def apply(self, directions: Tensor) -> Tensor:
        """Return every sample's curvature times [r, N, m] directions, [r, N, m]."""
        if self.operator is not None:
            rows = directions.reshape(-1, directions.shape[-1])
            if not len(rows):
                return directions
            return self.operator.matvec(rows.double()).to(directions.dtype).view(directions.shape)
        if self.supplied is not None:
            return torch.einsum("nij,rnj->rni", self.supplied, directions)
        if self.jacobian is not None and self.outer_hvp is not None:
            features = torch.einsum("nfm,rnm->rnf", self.jacobian, directions)
            return torch.einsum("nfm,rnf->rnm", self.jacobian, self.outer_hvp(features))
        if self.hvp is None:
            raise ContractError("These derivatives were taken without curvature.")
        return self.hvp(directions)

    def outer_hessians(self) -> Tensor:
        """Return the Hessian of every sample's outer loss, [N, F, F]."""
        if self.jacobian is None or self.outer_hvp is None:
            raise ContractError("These derivatives were taken without the rows of a Jacobian.")
        count, features = self.jacobian.shape[:2]
        return self.outer_hvp(_basis(self.jacobian, features).expand(-1, count, -1)).transpose(0, 1)

    def blocks(self) -> Tensor:
        """Return every sample's curvature matrix, [N, m, m], symmetric to rounding."""
        if self.supplied is not None:
            return (self.supplied + self.supplied.mT) / 2
        if self.jacobian is not None:
            rows = self.jacobian.mT @ (self.outer_hessians() @ self.jacobian)
        else:
            count, size = self.gradient.shape
            pieces = _basis(self.gradient, size).expand(-1, count, -1).split(self.chunk)
            rows = torch.cat([self.apply(piece) for piece in pieces]).transpose(0, 1)
        return (rows + rows.mT) / 2


def differentiate(
    problem: Problem, kind: Kind, *, chunk_size: int | None = None, jvp_sound: bool | None = None
) -> Derivatives:
    """Return value, gradient and, if asked for, curvature of every sample's loss.

    Args:
        problem: The loss and what it is evaluated on; its prediction is not changed, nor part of the result's graph.
        kind: The derivatives to take; curvature costs nothing unless it is asked for.
        chunk_size: How many directions are pulled back at a time; `None` takes what fits a cache, or 128 MiB on a GPU.
        jvp_sound: Whether products with J may be trusted, as found by an earlier step; `None` checks them.

    Raises:
        ContractError: The loss, or what it supplies, breaks the protocol.
        UnsupportedCurvatureError: Torch cannot take a derivative of the loss.
    """
    if (known := _without_differentiation(problem, kind)) is not None:
        return known
    flat, backend = problem.prediction, problem.backend
    if backend == "auto":  # the same numbers; autograd differentiates more, and is unavailable under a transform
        backend = "func" if transformed(flat) and problem.loss.traits.transforms == "func" else "autograd"
    if kind == "gauss_newton":
        split = split_with_func(problem) if backend == "func" else split_with_autograd(problem)
        return _gauss_newton(problem, split, chunk_size or fitting_chunk(problem, split.features), jvp_sound)
    engine = _with_func if backend == "func" else _with_autograd
    return engine(problem, kind, chunk_size or (1 if kind == "gradient" else fitting_chunk(problem, flat.shape[1])))


def _without_differentiation(problem: Problem, kind: Kind) -> Derivatives | None:
    """Return what the loss supplies beside its gradient, or what an empty batch has; `None` where there is neither."""
    flat = problem.prediction
    operator = None if kind == "gradient" else operator_of(problem)
    if operator is not None:
        return replace(differentiate(problem, "gradient"), operator=operator, features=operator.features)
    if not flat.shape[0]:  # a rank without samples still takes part in the sums over the ranks
        nothing = flat.new_zeros(0, flat.shape[1], flat.shape[1])
        # 0: a Gauss–Newton matrix; the number of features is not known without samples.
        features = {"gauss_newton": 0, "hessian": _residuals(problem)}.get(kind)
        return Derivatives.of(problem, flat.new_zeros(0), flat, supplied=nothing, features=features)
    if kind == "hessian" and "hessian" in problem.loss.supplies:
        plain = differentiate(problem, "gradient")
        with torch.no_grad():
            supplied = problem.evaluation.supplied("hessian", flat, (*flat.shape, flat.shape[1]))
            return replace(plain, supplied=supplied, features=_residuals(problem))
    if kind == "gradient" and "gradient" in problem.loss.supplies:
        with torch.no_grad():
            value = problem.evaluation.value(flat).to(flat.dtype)
            return Derivatives.of(problem, value, problem.evaluation.supplied("gradient", flat, flat.shape))
    return None


def _residuals(problem: Problem) -> int | None:
    """Return of how many residuals a loss is known to be half the sum of squares; `None` if it is not, or masked."""
    if not problem.loss.traits.constant_curvature or "split" not in problem.loss.supplies:
        return None
    if problem.samples.keep is not None:
        return None
    return problem.evaluation.inner(problem.prediction)[0].numel() if len(problem.prediction) else 0


def operator_of(problem: Problem) -> CurvatureOperator | None:
    """Return the curvature by its structure, for a loss with many outputs and no mask that supplies it."""
    flat = problem.prediction
    if "operator" not in problem.loss.supplies or flat.shape[1] <= FORMED or problem.samples.keep is not None:
        return None
    shaped = flat.view(problem.evaluation.shape)
    operator: CurvatureOperator | None = problem.loss.function.curvature_operator(shaped)  # type: ignore[attr-defined]
    return operator


def _with_autograd(problem: Problem, kind: Kind, chunk: int) -> Derivatives:
    with torch.enable_grad():
        y = problem.prediction.detach().requires_grad_()
        value = problem.evaluation.value(y)
        if "gradient" in problem.loss.supplies:
            gradient = problem.evaluation.supplied("gradient", y, y.shape)
        else:
            with remedies(problem.loss, "gradient"):
                gradient = pulled_back(value, y, torch.ones_like(value), create_graph=kind == "hessian")
    plain = Derivatives.of(problem, value.detach(), gradient.detach().clone())
    if kind == "gradient":
        return plain

    def products(directions: Tensor) -> Tensor:
        with remedies(problem.loss, "hessian"):
            return all_pulled_back(gradient, y, directions)

    return replace(plain, hvp=products, chunk=chunk)


def _with_func(problem: Problem, kind: Kind, chunk: int) -> Derivatives:
    vjp: Any = torch.func.vjp  # its annotation lacks has_aux

    def gradient_and_value(y: Tensor) -> tuple[Tensor, Tensor]:
        if "gradient" in problem.loss.supplies:
            return problem.evaluation.supplied("gradient", y, y.shape), problem.evaluation.value(y)
        value, pull = vjp(problem.evaluation.value, y)
        return pull(torch.ones_like(value))[0], value

    with torch.no_grad(), remedies(problem.loss, kind, transform=True):
        if kind == "gradient":
            gradient, value = gradient_and_value(problem.prediction)
            return Derivatives.of(problem, value, gradient)
        gradient, pull, value = vjp(gradient_and_value, problem.prediction, has_aux=True)
    products = torch.func.vmap(lambda v: pull(v)[0])
    return Derivatives.of(problem, value, gradient, hvp=products, chunk=chunk)


def _gauss_newton(problem: Problem, split: Split, chunk: int, jvp_sound: bool | None) -> Derivatives:
    """Return derivatives with JᵀHJ: by the rows of J where features are few, else by products."""
    count, size = split.gradient.shape

    def rows() -> Iterator[Tensor]:
        units = _basis(split.gradient, split.features).expand(-1, count, -1).split(chunk)
        return (split.vjp(piece) for piece in units)

    plain = Derivatives.of(
        problem, split.value, split.gradient, outer_hvp=split.outer_hvp, features=split.features, chunk=chunk
    )
    fits = split.features * split.gradient.numel() <= BUDGET

    def by_rows() -> Derivatives:
        jacobian, keep = torch.cat(list(rows())).transpose(0, 1), problem.samples.keep
        return replace(plain, jacobian=jacobian if keep is None else torch.where(keep.unsqueeze(1), jacobian, 0.0))

    if split.features <= 2 * size and fits:
        return by_rows()
    push = None if jvp_sound is False else split.jvp()
    if push is not None and jvp_sound is None and not torch.compiler.is_compiling():
        push = _checked(problem, split, push)
    if push is None and fits:
        return replace(by_rows(), jvp_sound=False)

    def products(directions: Tensor) -> Tensor:
        if push is not None:
            return split.vjp(split.outer_hvp(push(directions)))
        pushed = [torch.einsum("fnm,rnm->rnf", piece, directions) for piece in rows()]
        return split.vjp(split.outer_hvp(torch.cat(pushed, -1)))

    return replace(plain, hvp=products, jvp_sound=push is not None)


def _checked(problem: Problem, split: Split, push: LinearMap) -> LinearMap | None:
    """Return the product with J where it agrees with the rows of J, u·(Jv) = (Jᵀu)·v, else nothing."""
    flat, features = problem.prediction, split.features
    u, v = signs(flat, (1, flat.shape[0], features)), signs(flat, (1, *flat.shape))
    try:
        pushed = push(v)
    except RuntimeError:  # a derivative of the derivative is missing
        pushed = torch.full_like(u, torch.inf)
    pulled = split.vjp(u)
    gap = ((u * pushed).sum(-1) - (v * pulled).sum(-1)).abs()
    size = torch.maximum(pushed.norm(dim=-1) * features**0.5, pulled.norm(dim=-1) * flat.shape[1] ** 0.5)
    if bool(((gap <= torch.finfo(flat.dtype).eps ** 0.5 * size) | ~finite_rows(pulled[0])).all()):
        return push
    warnings.warn(
        f"{problem.loss.name}: the product of the Jacobian with a direction is missing or wrong, as for a backward "
        f"that cannot be differentiated; it is taken from all {features} rows of the Jacobian instead, which is slow. "
        f"Make the backward differentiable, or use nlcore.EmpiricalFisher().",
        PerformanceWarning,
        stacklevel=2,
    )
    return None


def _basis(like: Tensor, size: int) -> Tensor:
    """Return the unit vectors, [size, 1, size]."""
    return torch.eye(size, dtype=like.dtype, device=like.device).unsqueeze(1)
