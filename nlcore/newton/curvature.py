"""The curvature matrices of a Newton loss: frozen options that turn derivatives into directions (C + λI)⁻¹∇ℓ."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, get_args

import torch
from torch import Tensor

from nlcore.errors import ConfigError, UnsupportedCurvatureError, nearest
from nlcore.newton.adapt import LossInfo
from nlcore.newton.assemble import Psd, Recipe, Scope, curved_step
from nlcore.newton.batch import Batch
from nlcore.newton.damping import Bounded, Damping, DampingMemory, Relative, check_damping, concise, damping_strength
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.solve import Solution, Solver, solve_dense, solve_kernel
from nlcore.newton.taken import CurvatureStep, capped

__all__ = ["Curvature", "EmpiricalFisher", "GaussNewton", "Hessian"]


class Curvature(ABC):
    """What all curvatures have in common."""

    kind: ClassVar[Kind]
    damping: Damping

    def __repr__(self) -> str:
        return concise(self)

    @abstractmethod
    def check(self, info: LossInfo) -> None:
        """Refuse a loss that has no such curvature.

        Raises:
            UnsupportedCurvatureError: The loss cannot supply it; the message names one that it can.
        """

    @abstractmethod
    def step(
        self,
        info: LossInfo,
        derivatives: Derivatives,
        batch: Batch,
        *,
        memory: DampingMemory | None = None,
        wait: bool = False,
    ) -> CurvatureStep:
        """Return the damped Newton direction of every sample.

        Args:
            info: The loss.
            derivatives: Of the kind that this curvature names.
            batch: Which samples and outputs count.
            memory: Damping remembered from earlier steps.
            wait: Whether waiting for the device is allowed, for an early end of an iteration.
        """


@dataclass(frozen=True, slots=True, repr=False)
class Hessian(Curvature):
    """The mean of the samples' Hessians, Definition 1 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j |∇²ℓ_j| + λI )⁻¹ ∇ℓ_i. A non-convex loss has negative curvature, with which a Newton step
    climbs; by default the negative eigenvalues of every sample are therefore flipped before the mean.

    Args:
        damping: λ as a number, `Relative(ρ)`, or `Bounded()`.
        psd: `"abs"` flips negative eigenvalues, `"clip"` sets them to zero, `"none"` leaves them: with a number
            as damping that is the paper's definition, and an indefinite result is recorded, not repaired.
        psd_scope: Whether they are repaired sample by sample, or once in the mean.
        aggregate: `"batch"` takes one matrix for all samples, `"sample"` each sample's own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step.
        solver: `"cholesky"`, `"eigen"`, or `"cg"`, conjugate gradients that never form an m×m matrix; `"auto"` is
            Cholesky.
        normalize: Whether the directions of a batch are scaled to a root mean square of one, in units of the
            prediction. A Newton step shrinks with the residual, and an optimiser such as Adam, which remembers
            earlier and larger steps, then shrinks its own; a normalised one leaves the length to the learning rate.
        chunk_size: How many directions are pulled back at a time; when `None` what suits a cache, on a GPU 128 MiB.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "hessian"

    damping: Damping = field(default_factory=lambda: Relative(0.1))
    psd: Psd = "abs"
    psd_scope: Scope = "sample"
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    normalize: bool = False
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "Hessian")
        _check_choice("Hessian", "psd", self.psd, get_args(Psd))
        _check_choice("Hessian", "psd_scope", self.psd_scope, get_args(Scope))
        _check_second_order("Hessian", self)
        if isinstance(self.damping, Bounded) and self.psd == "none":
            raise ConfigError(
                "Hessian(damping=Bounded(), psd='none'): a bound on the amplification means something for a positive "
                "semi-definite matrix only. Use psd='abs'."
            )

    def check(self, info: LossInfo) -> None:
        """Refuse a loss whose second derivative does not exist or says nothing."""
        if info.traits.order < 2 and not info.supplies_hessian:
            other = "nlcore.GaussNewton() or nlcore.EmpiricalFisher()" if info.splits else "nlcore.EmpiricalFisher()"
            raise UnsupportedCurvatureError(
                f"{info.name} has derivatives of order {info.traits.order}: its Hessian is zero or missing and a "
                f"Newton step with it would mean nothing. Use {other} instead."
            )
        if self.solver == "cg" and self.psd != "none" and not info.traits.convex:
            raise UnsupportedCurvatureError(
                f"{info.name}: psd={self.psd!r} needs the eigenvalues of a formed matrix, and solver='cg' forms none. "
                f"Use Hessian(psd='none', solver='cg'), which stops at negative curvature and records it."
            )

    def step(
        self,
        info: LossInfo,
        derivatives: Derivatives,
        batch: Batch,
        *,
        memory: DampingMemory | None = None,
        wait: bool = False,
    ) -> CurvatureStep:
        """Return the damped Newton direction of every sample."""
        psd: Psd = "none" if info.traits.convex else self.psd
        recipe = Recipe(
            self.damping,
            self.aggregate,
            self.max_ratio,
            self.solver,
            self.chunk_size,
            self.normalize,
            psd,
            self.psd_scope,
        )
        return curved_step(recipe, derivatives, batch, memory, wait=wait, definite=self.psd != "none")


@dataclass(frozen=True, slots=True, repr=False)
class GaussNewton(Curvature):
    """The mean of the samples' Gauss–Newton matrices Jᵀ H_outer J, for losses that split.

    Positive semi-definite by construction, and free of second derivatives of the algorithm. Where the algorithm is
    linear it is the Hessian. Make such a loss from any function with `nlcore.compose(inner, outer)`.

    Args:
        damping: λ as a number, `Relative(ρ)`, or `Bounded()`.
        aggregate: `"batch"` takes one matrix for all samples, right where the Jacobian is alike for all;
            `"sample"` each sample's own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step.
        solver: `"cholesky"`, `"eigen"`, or `"cg"`, conjugate gradients that never form an m×m matrix; `"auto"` is
            Cholesky.
        normalize: Whether the directions of a batch are scaled to a root mean square of one, in units of the
            prediction. A Newton step shrinks with the residual, and an optimiser such as Adam, which remembers
            earlier and larger steps, then shrinks its own; a normalised one leaves the length to the learning rate.
        chunk_size: How many directions are pulled back at a time; when `None` what suits a cache, on a GPU 128 MiB.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gauss_newton"

    damping: Damping = field(default_factory=lambda: Relative(0.1))
    aggregate: Scope = "batch"
    max_ratio: float | None = 1.0
    normalize: bool = False
    solver: Solver = "auto"
    chunk_size: int | None = None

    def __post_init__(self) -> None:
        check_damping(self.damping, "GaussNewton")
        _check_second_order("GaussNewton", self)

    def check(self, info: LossInfo) -> None:
        """Refuse a loss without a split."""
        if not info.splits:
            raise UnsupportedCurvatureError(
                f"{info.name} has no Gauss–Newton split (methods `inner` and `outer`). Write it as "
                f"nlcore.compose(inner, outer), or use nlcore.Hessian() or nlcore.EmpiricalFisher()."
            )

    def step(
        self,
        info: LossInfo,
        derivatives: Derivatives,
        batch: Batch,
        *,
        memory: DampingMemory | None = None,
        wait: bool = False,
    ) -> CurvatureStep:
        """Return the damped Gauss–Newton direction of every sample."""
        recipe = Recipe(
            self.damping, self.aggregate, self.max_ratio, self.solver, self.chunk_size, self.normalize, "none", "batch"
        )
        return curved_step(recipe, derivatives, batch, memory, wait=wait, definite=True)


@dataclass(frozen=True, slots=True, repr=False)
class EmpiricalFisher(Curvature):
    """The second moment of the samples' gradients, Definition 2 of Newton Losses (arXiv 2410.19055).

    d_i = ( (1/N) Σ_j ∇ℓ_j∇ℓ_jᵀ + λI )⁻¹ ∇ℓ_i. It needs one gradient and works for every loss. Its step does not
    shrink with the residual: it grows as one over the gradient, until `max_step` stops it.

    Args:
        damping: λ as a number, as in the paper, or `Relative(ρ)`.
        max_step: With `Relative` damping, the largest root mean square over the outputs of a sample's step, in
            units of the prediction; `None` for no limit. A number as damping bounds the step by itself, to
            √N/(2√λ), so there it does not apply.
        solver: `"cholesky"` or `"eigen"` on the m×m matrix, `"kernel"` on the N×N matrix of inner products, which is
            never larger than the batch; `"auto"` takes the smaller of the two.

    Raises:
        ConfigError: An option has a value it cannot take.
    """

    kind: ClassVar[Kind] = "gradient"

    damping: Damping = field(default_factory=lambda: Relative(1.0))
    max_step: float | None = 100.0
    solver: Solver = "auto"

    def __post_init__(self) -> None:
        check_damping(self.damping, "EmpiricalFisher", bounded=False)
        _check_choice("EmpiricalFisher", "solver", self.solver, ("auto", "cholesky", "eigen", "kernel"))
        _check_positive("EmpiricalFisher", "max_step", self.max_step)

    def check(self, info: LossInfo) -> None:
        """Every loss with a gradient will do.

        Raises:
            UnsupportedCurvatureError: The loss has no derivative at all.
        """
        if info.traits.order < 1 and not info.supplies_gradient:
            raise UnsupportedCurvatureError(
                f"{info.name} has derivatives of order {info.traits.order} and supplies no gradient: "
                f"there is nothing to train with. Give it a method `gradient(prediction, target)`."
            )

    def step(
        self,
        info: LossInfo | None,
        derivatives: Derivatives,
        batch: Batch,
        *,
        memory: DampingMemory | None = None,
        wait: bool = False,
    ) -> CurvatureStep:
        """Return the damped natural-gradient direction of every sample.

        The weighted gradients are brought to a largest entry of one before their products are taken: those of 1e-25
        have a Gram matrix of exact zeros in float32, and those of 1e30 one of infinities.
        """
        size = derivatives.gradient.shape[1]
        gradient = derivatives.gradient.double()
        weigh = batch.weight.sqrt().unsqueeze(-1) * batch.scale(size)
        root = gradient * weigh
        unit = batch.largest(root.abs()).clamp(min=1e-150)
        if not isinstance(self.damping, Relative):
            unit = unit.clamp(min=math.sqrt(_number(self.damping)))
        root = root / unit
        square = unit.square()
        kernel = self.solver == "kernel" or (self.solver == "auto" and batch.keep is None and batch.count() < size)
        matrix = None if kernel else batch.total(root.mT @ root)
        diagonal = batch.total(root.square().sum(0)) if matrix is None else matrix.diagonal()
        mean_curvature = diagonal.sum() / batch.outputs(size)
        if isinstance(self.damping, Relative):
            strength = damping_strength(self.damping.rho, mean_curvature, diagonal.amax())
        else:
            strength = _number(self.damping) / square
        if matrix is not None:
            matrix = batch.regular(matrix)
            solution = solve_dense(
                matrix,
                strength,
                gradient / square,
                solver=self.solver,
                allow_indefinite=False,
                precision=(4 * derivatives.rounding) ** 2,  # products of gradients: their errors are squared as well
            )
        elif batch.keep is None:
            rows, own = batch.gather(root)
            solution = solve_kernel(rows, strength)
            direction = torch.where(weigh > 0, solution.direction[own] / (weigh * unit), 0.0)
            solution = Solution(direction, solution.codes[own], solution.condition)
        else:
            solution = solve_kernel(batch.gather(root)[0], strength, gradient / square)
        direction = batch.kept(solution.direction)
        if self.max_step is not None and isinstance(self.damping, Relative):
            direction = capped(direction, self.max_step * _root_of_outputs(batch, size))
        return CurvatureStep(replace(solution, direction=direction), strength * square, mean_curvature * square)


def _root_of_outputs(batch: Batch, size: int) -> Tensor | float:
    """Return the square root of how many outputs a sample has: [] or [N, 1]."""
    return math.sqrt(size) if batch.keep is None else batch.keep.sum(-1, keepdim=True).double().sqrt()


def _number(damping: Damping) -> float:
    return damping if isinstance(damping, (int, float)) else math.nan


def _check_second_order(owner: str, curvature: Hessian | GaussNewton) -> None:
    _check_choice(owner, "aggregate", curvature.aggregate, get_args(Scope))
    _check_choice(owner, "solver", curvature.solver, ("auto", "cholesky", "eigen", "cg"))
    _check_positive(owner, "max_ratio", curvature.max_ratio)
    if curvature.chunk_size is not None and (not isinstance(curvature.chunk_size, int) or curvature.chunk_size < 1):
        raise ConfigError(f"{owner}(chunk_size={curvature.chunk_size!r}): give a whole number ≥ 1, or None.")
    if not isinstance(curvature.normalize, bool):
        raise ConfigError(f"{owner}(normalize={curvature.normalize!r}): give True or False.")
    if curvature.solver == "cg" and isinstance(curvature.damping, Bounded):
        raise ConfigError(
            f"{owner}(damping={curvature.damping!r}, solver='cg'): the bound needs every sample's formed matrix. "
            f"Use damping=nlcore.Relative(0.1) with conjugate gradients."
        )


def _check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(
            f"{owner}({name}={value!r}): choose one of {', '.join(map(repr, choices))}{nearest(str(value), choices)}."
        )


def _check_positive(owner: str, name: str, value: float | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0):
        raise ConfigError(f"{owner}({name}={value!r}): give a positive number, or None for no limit.")
