"""Options of the methods; those of the registered losses are in `problems.config`. Does not import torch.

A class `…Options` holds the options of a method that do not depend on the solver; `nlcore_shortest_paths` shares them.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from nlcore.config import AlgorithmConfig

__all__ = [
    "AdaptiveIMLEConfig",
    "BlackBoxConfig",
    "BlackBoxOptions",
    "CentralDifferenceConfig",
    "CentralDifferenceOptions",
    "Control",
    "ControlOptions",
    "Edges",
    "IMLEConfig",
    "IMLEOptions",
    "ImplicitNoise",
    "ImplicitNoiseOptions",
    "ListwiseRankingConfig",
    "MaximumAPosterioriConfig",
    "MethodConfig",
    "NegativeIdentityConfig",
    "Noise",
    "NoiseContrastiveConfig",
    "NoiseOptions",
    "Objective",
    "ObjectiveOptions",
    "PairwiseRankingConfig",
    "PerturbedFenchelYoungConfig",
    "PointwiseRankingConfig",
    "Projection",
    "RegularizedFenchelYoungConfig",
    "SPOPlusConfig",
    "Sense",
    "refuse_rows",
]

Control: TypeAlias = Literal["none", "leave_one_out", "antithetic"]
ImplicitNoise: TypeAlias = Literal["sum_of_gamma", "gumbel"]
Noise: TypeAlias = Literal["additive", "multiplicative"]
Objective: TypeAlias = Literal["hamming", "squared_error", "regret"]
Projection: TypeAlias = Literal["none", "mean", "norm", "standardise"]
Sense: TypeAlias = Literal["minimise", "maximise"]


def refuse_rows(edges: object) -> None:
    """Raise `ValueError` if edges are two rows, of starts and of ends, instead of pairs."""
    if isinstance(edges, (list, tuple)) and len(edges) == 2 and all(isinstance(row, (list, tuple)) for row in edges):
        starts, ends = map(len, edges)
        if starts == ends != 2:
            raise ValueError(
                f"these are two rows of {starts} nodes, and pairs (start, end) are needed; transpose them: edges.T of "
                "a tensor, list(zip(*edges)) of lists"
            )


def _tuples(edges: object) -> object:
    """Return a list of edges as nested tuples, as which it is read; refuse two rows."""
    refuse_rows(edges)
    if not isinstance(edges, (list, tuple)):
        return edges
    return tuple(tuple(pair) if isinstance(pair, list) else pair for pair in edges)


Node: TypeAlias = Annotated[int, Field(ge=0)]
Edges: TypeAlias = Annotated[tuple[tuple[Node, Node], ...], Field(min_length=1), BeforeValidator(_tuples)]

_OBJECTIVE = (
    "Loss of a solution y: 'hamming' is Σ y(1 − t) + t(1 − y), the number of differing elements of solutions of zeros "
    "and ones; 'squared_error' is ‖y − t‖²; 'regret' is what y costs more than t under the true costs."
)


class NoiseOptions(AlgorithmConfig):
    """Options of Gaussian noise on the costs."""

    num_samples: int = Field(3, ge=1, description="Draws of noise, each of which is one exact solve.")
    sigma: float = Field(
        0.5,
        gt=0,
        description="Standard deviation σ of the noise on the costs, in their units: differences in cost well "
        "below σ hardly influence which solution is chosen.",
    )


class ControlOptions(NoiseOptions):
    """Options of derivatives that are estimated from Gaussian noise with a score function."""

    control: Control = Field(
        "leave_one_out",
        description="How the noise of the estimates is reduced, for perturbed Fenchel–Young that of the Hessian: "
        "'none'; 'leave_one_out', a control variate (at least 2 draws); or 'antithetic', draws in pairs Z and −Z "
        "(preferably an even number).",
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.control == "leave_one_out" and self.num_samples < 2:
            raise ValueError("control='leave_one_out' needs num_samples ≥ 2")
        return self


class CentralDifferenceOptions(NoiseOptions):
    """Options of a central difference of solutions under noise."""

    step: float = Field(1.0, gt=0, description="Largest shift of a cost by the difference, in units of σ.")


class ImplicitNoiseOptions(AlgorithmConfig):
    """Options of the noise of implicit maximum likelihood estimation."""

    num_samples: int = Field(1, ge=1, description="Draws of noise; the number of exact solves is proportional to it.")
    sigma: float = Field(0.5, gt=0, description="Scale of the noise on the costs, in their units.")
    noise: ImplicitNoise = Field(
        "sum_of_gamma",
        description="'sum_of_gamma', whose sum over a solution of `length` elements is Gumbel, or 'gumbel' for each "
        "element.",
    )
    length: int = Field(5, ge=1, description="Usual number of chosen elements of a solution; for 'sum_of_gamma' only.")


class IMLEOptions(ImplicitNoiseOptions):
    """Options of implicit maximum likelihood estimation with a fixed step."""

    interpolation: float = Field(
        10.0, gt=0, description="Length λ of the step on the costs that leads to the target distribution."
    )


class BlackBoxOptions(AlgorithmConfig):
    """Options of black-box differentiation."""

    interpolation: float = Field(
        10.0, gt=0, description="Length λ of the step on the costs whose change of the solution is the gradient."
    )


class MethodConfig(AlgorithmConfig):
    """The options that all methods share."""

    sense: Sense = Field(
        "minimise", description="Whether the predicted numbers are costs, 'minimise', or values, 'maximise'."
    )
    shape: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(
        None,
        description="Shape of one sample's costs, where the argmin has no attribute `shape` that says it; without "
        "both, a sample has one dimension, and there is no `example`.",
    )
    min_cost: float | None = Field(
        None,
        gt=0,
        description="Lower bound of the costs that the solver receives (with noise, after a step, or 2ĉ − c), for one "
        "that needs positive costs; by default there is none.",
    )


class ObjectiveOptions(AlgorithmConfig):
    """Options of methods that differentiate a loss of the solution."""

    objective: Objective = Field("hamming", description=_OBJECTIVE)


class PerturbedFenchelYoungConfig(ControlOptions, MethodConfig):
    """Options of `PerturbedFenchelYoung`; the control variate is for its Hessian."""

    noise: Noise = Field(
        "additive",
        description="'additive' is c + σZ; 'multiplicative' c·exp(σZ − σ²/2), which keeps the sign of every cost; σ is "
        "then relative to the costs.",
    )


class SPOPlusConfig(MethodConfig):
    """Options of `SPOPlus`."""


class IMLEConfig(ObjectiveOptions, IMLEOptions, MethodConfig):
    """Options of `IMLE`."""


class AdaptiveIMLEConfig(ObjectiveOptions, ImplicitNoiseOptions, MethodConfig):
    """Options of `AdaptiveIMLE`."""

    nonzeros: float = Field(
        1.0, gt=0, description="Least number of nonzero entries that the gradient of a sample should have."
    )
    largest: float = Field(
        2.0, gt=0, description="Largest step relative to the costs: λ‖v‖ ≤ largest·‖c‖, v the slope of the loss."
    )
    halvings: int = Field(
        3, ge=1, le=31, description="The smallest step is the largest, halved so many times; best 2ᵏ − 1."
    )


class BlackBoxConfig(ObjectiveOptions, BlackBoxOptions, MethodConfig):
    """Options of `BlackBox`."""


class NegativeIdentityConfig(MethodConfig):
    """Options of `NegativeIdentity`."""

    projection: Projection = Field(
        "none",
        description="Projection of the gradient: 'mean' subtracts its mean; 'norm' subtracts its part along the costs "
        "and divides by their norm; 'standardise' does both.",
    )


class CentralDifferenceConfig(ObjectiveOptions, CentralDifferenceOptions, MethodConfig):
    """Options of `CentralDifference`."""

    objective: Objective = Field("squared_error", description=_OBJECTIVE)


class RegularizedFenchelYoungConfig(MethodConfig):
    """Options of `RegularizedFenchelYoung`."""

    regularization_strength: float = Field(
        1.0, gt=0, description="The factor σ of ½‖y‖², in units of the costs; with a small one y is a vertex."
    )
    max_steps: int = Field(
        100, ge=1, description="Most steps of the Frank–Wolfe algorithm, each of which is one exact solve."
    )


class NoiseContrastiveConfig(MethodConfig):
    """Options of `NoiseContrastive`."""


class MaximumAPosterioriConfig(MethodConfig):
    """Options of `MaximumAPosteriori`."""

    margin: float = Field(
        0.0,
        ge=0,
        description="Factor μ: each solution has to cost more than the true one by μ times the difference under the "
        "true costs; above 0 the target is the true costs.",
    )


class PointwiseRankingConfig(MethodConfig):
    """Options of `PointwiseRanking`."""


class PairwiseRankingConfig(MethodConfig):
    """Options of `PairwiseRanking`."""

    margin: float = Field(
        0.0, ge=0, description="Predicted cost by which the best solution is to be cheaper than each of the others."
    )


class ListwiseRankingConfig(MethodConfig):
    """Options of `ListwiseRanking`."""

    temperature: float = Field(
        1.0, gt=0, description="Temperature of both distributions over the pool, in units of the costs."
    )
