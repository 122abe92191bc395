"""The default: the directions that are probed, and the curvature where no network can be probed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from nlcore.capabilities import Capabilities
from nlcore.newton.candidates import Candidates
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import Bounded, Relative
from nlcore.newton.derivatives import FORMED, operator_of
from nlcore.newton.fisher import GRADIENT, HALF_FISHER, EmpiricalFisher
from nlcore.newton.gauss_newton import GaussNewton
from nlcore.newton.hessian import Hessian
from nlcore.newton.options import check_choice
from nlcore.newton.problem import Problem
from nlcore.protocol import CurvatureOperator

__all__ = ["Aim", "Auto"]

Aim = Literal["loss", "outputs"]

_MOST_PULLS = 32
"""Backward passes of the loss, for one matrix, up to which a matrix may be formed at every step or nearly so."""


@dataclass(frozen=True, slots=True)
class Auto:
    """Choose by probes of the network, or by the loss where there is no network to probe.

    With `aim="loss"` a `NewtonLoss` probes several directions on the network, from the gradient to the Newton step, and
    takes the one along which the original loss falls furthest. With `aim="outputs"` it takes the Newton step: right
    where the outputs themselves are wanted and the network can reach them. It brings the outputs nearest to a solution
    of the algorithm, and may raise the loss on the way.

    The curvature with `aim="outputs"`, by the first row that fits:

    | the loss …                                            | curvature                                              |
    |-------------------------------------------------------|--------------------------------------------------------|
    | has more than 256 outputs, without an operator        | `EmpiricalFisher(Relative(1.0))`                       |
    | supplies its Hessian                                  | `Hessian(Bounded(validated=True), normalize=True)`     |
    | is random, or supplies its gradient alone             | `EmpiricalFisher(Relative(1.0))`                       |
    | has a Gauss–Newton split                              | `GaussNewton(Bounded(validated=True), normalize=True)` |
    | is an `AlgorithmicLoss`, twice differentiable, m ≤ 32 | `Hessian(Bounded(validated=True), normalize=True)`     |
    | is anything else, such as a plain callable            | `EmpiricalFisher(Relative(1.0))`                       |

    Where the network cannot be probed, `aim="loss"` takes the plain gradient: no fixed curvature is safe for every
    network and optimiser. Without a network, in `newton_step`, it takes the half power with `Relative(0.1)` of the same
    matrices, such as `GaussNewton(Relative(0.1), power=0.5)`.

    Args:
        aim: `"loss"`, or `"outputs"`.

    Raises:
        ConfigError: The aim is neither.
    """

    aim: Aim = "loss"

    def __post_init__(self) -> None:
        check_choice("Auto", "aim", self.aim, get_args(Aim))

    def choose(self, loss: Capabilities, size: int | None = None, *, operator: bool = False) -> tuple[Curvature, str]:
        """Return the curvature for a loss without a network, and why.

        Args:
            loss: The loss.
            size: Number of outputs of a sample, when data are at hand.
            operator: Whether the loss supplies the curvature of so many outputs by its structure.
        """
        kind, reason = second_order(loss)
        if size is not None and size > FORMED and not operator:
            kind, reason = None, f"{size} outputs a sample are too many to form a matrix for each"
        elif kind is Hessian and "hessian" not in loss.supplies and size is not None and size > _MOST_PULLS:
            kind, reason = None, f"its Hessian takes {size} backward passes, one for each output"
        if self.aim == "outputs":
            fisher = EmpiricalFisher(damping=Relative(1.0))
            return (fisher if kind is None else kind(damping=Bounded(validated=True), normalize=True)), reason
        return (HALF_FISHER if kind is None else kind(damping=Relative(0.1), power=0.5)), reason

    def candidates(self, problem: Problem) -> Candidates:
        """Return the directions that are probed: those that the loss can supply at a bounded cost.

        Args:
            problem: The loss at the first batch.
        """
        loss, size = problem.loss, problem.prediction.shape[1]
        # Without a limit, which would depend on the scale of the loss: the length is decided apart from the direction.
        fishers = tuple(EmpiricalFisher(damping=Relative(rho), max_step=None) for rho in (0.1, 1.0))
        kind, _ = second_order(loss)
        pulls = 0 if kind is None else _pulls(problem, kind)
        operator = operator_of(problem)
        if operator is not None and kind is not None:
            return _with_operator(operator, kind, fishers[0])
        if kind is None or size > FORMED or (pulls > _MOST_PULLS and kind is Hessian):
            return Candidates.of(GRADIENT, *fishers, HALF_FISHER, cautious=GRADIENT, interval=10)
        half, step = kind(damping=Relative(0.1), power=0.5), kind(damping=Relative(1e-3))
        batch = GRADIENT, fishers[0], half, step, kind(damping=Relative(0.1))
        if loss.traits.constant_curvature:
            return Candidates.of(*batch, newton=step, cautious=half, constant=True)
        bounded = kind(damping=Bounded())
        if pulls > _MOST_PULLS:
            rarely = {"refresh": pulls // 3, "interval": pulls // 3}
            return Candidates.of(*batch, newton=step, bounded=bounded, cautious=half, **rarely)
        own_step = kind(damping=Relative(1e-2), aggregate="sample")
        own_half = kind(damping=Relative(0.1), aggregate="sample", power=0.5)
        return Candidates.of(*batch, own_step, own_half, newton=own_step, bounded=bounded, cautious=half)


def _with_operator(
    operator: CurvatureOperator, kind: type[Hessian] | type[GaussNewton], fisher: EmpiricalFisher
) -> Candidates:
    """Return the directions for one structured matrix of many outputs."""
    steps = kind(damping=Relative(1e-3)), kind(damping=Relative(0.1))
    half = kind(damping=Relative(0.1), power=0.5) if operator.supports(0.5) else HALF_FISHER
    return Candidates.of(GRADIENT, fisher, half, *steps, newton=steps[0], cautious=half, constant=True)


def second_order(loss: Capabilities) -> tuple[type[Hessian] | type[GaussNewton] | None, str]:
    """Return the second-order curvature that a loss can supply, `None` without one, and why.

    Args:
        loss: The loss.
    """
    if "hessian" in loss.supplies:
        return Hessian, "the loss supplies its Hessian"
    if loss.traits.stochastic or "gradient" in loss.supplies:
        return None, "the loss is random or supplies its gradient alone"
    if "split" in loss.supplies:
        return GaussNewton, "the loss has a Gauss–Newton split"
    if not loss.declared:
        return None, "nothing is known of a plain callable's second derivative"
    if loss.traits.order >= 2:
        return Hessian, "the loss has two derivatives"
    return None, f"the loss has derivatives of order {loss.traits.order}"


def _pulls(problem: Problem, kind: type[Hessian] | type[GaussNewton]) -> int:
    """Return the number of backward passes of the loss that one matrix takes."""
    size = problem.prediction.shape[1]
    if kind is Hessian:
        return 0 if "hessian" in problem.loss.supplies else size
    with torch.no_grad():
        features = problem.evaluation.inner(problem.prediction)
    count = math.prod(features.shape[1:]) * (2 if features.is_complex() else 1)
    return min(size, count)
