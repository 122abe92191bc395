"""The choice of a curvature when the user leaves it to the loss: one table, in one function."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore.newton.adapt import LossInfo
from nlcore.newton.curvature import Curvature, EmpiricalFisher, GaussNewton, Hessian
from nlcore.newton.damping import Bounded, Relative

__all__ = ["Auto"]

_LARGEST_BLOCK = 256
"""Outputs per sample above which forming every sample's m×m matrix costs more than the network it serves."""


@dataclass(frozen=True, slots=True)
class Auto:
    """Let the loss decide.

    | the loss …                                          | curvature                                     |
    |-----------------------------------------------------|-----------------------------------------------|
    | has more than 256 outputs                           | `EmpiricalFisher(Relative(1.0))`              |
    | supplies its Hessian                                | `Hessian(Bounded(), normalize=True)`          |
    | is random, or supplies its gradient alone           | `EmpiricalFisher(Relative(1.0))`              |
    | has a Gauss–Newton split                            | `GaussNewton(Bounded(), normalize=True)`      |
    | is an `AlgorithmicLoss` with two derivatives        | `Hessian(Bounded(), normalize=True)`          |
    | is anything else: one derivative, a plain callable  | `EmpiricalFisher(Relative(1.0))`              |

    The first row that fits is taken. The steps are normalised, so pair them with a learning rate that decays.
    """

    def choose(  # noqa: PLR0911 - one return for each row of the table
        self, info: LossInfo, size: int | None = None
    ) -> tuple[Curvature, str]:
        """Return the curvature for a loss, and why.

        Args:
            info: The loss.
            size: Number of outputs of a sample, when data are at hand.
        """
        fisher = EmpiricalFisher(damping=Relative(1.0))
        if size is not None and size > _LARGEST_BLOCK:
            return fisher, f"{size} outputs a sample are too many to form a matrix for each"
        if info.supplies_hessian:
            return Hessian(damping=Bounded(), normalize=True), "the loss supplies its Hessian"
        if info.traits.stochastic or info.supplies_gradient:
            return fisher, "the loss is random or supplies its gradient alone"
        if info.splits:
            return GaussNewton(damping=Bounded(), normalize=True), "the loss has a Gauss–Newton split"
        if info.declared and info.traits.order >= 2:
            return Hessian(damping=Bounded(), normalize=True), "the loss has two derivatives"
        if not info.declared:
            return fisher, "nothing is known of a plain callable's second derivative"
        return fisher, f"the loss has derivatives of order {info.traits.order}"
