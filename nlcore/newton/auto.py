"""The choice of a curvature by what a loss supplies: one table, in one function."""

from __future__ import annotations

from dataclasses import dataclass

from nlcore.capabilities import Capabilities
from nlcore.newton.damping import Bounded, Relative
from nlcore.newton.fisher import EmpiricalFisher
from nlcore.newton.gauss_newton import GaussNewton
from nlcore.newton.hessian import Hessian
from nlcore.newton.matrix import Curvature

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
        self, loss: Capabilities, size: int | None = None
    ) -> tuple[Curvature, str]:
        """Return the curvature for a loss, and why.

        Args:
            loss: The loss.
            size: Number of outputs of a sample, when data are at hand.
        """
        fisher = EmpiricalFisher(damping=Relative(1.0))
        if size is not None and size > _LARGEST_BLOCK:
            return fisher, f"{size} outputs a sample are too many to form a matrix for each"
        if "hessian" in loss.supplies:
            return Hessian(damping=Bounded(), normalize=True), "the loss supplies its Hessian"
        if loss.traits.stochastic or "gradient" in loss.supplies:
            return fisher, "the loss is random or supplies its gradient alone"
        if "split" in loss.supplies:
            return GaussNewton(damping=Bounded(), normalize=True), "the loss has a Gauss–Newton split"
        if loss.declared and loss.traits.order >= 2:
            return Hessian(damping=Bounded(), normalize=True), "the loss has two derivatives"
        if not loss.declared:
            return fisher, "nothing is known of a plain callable's second derivative"
        return fisher, f"the loss has derivatives of order {loss.traits.order}"
