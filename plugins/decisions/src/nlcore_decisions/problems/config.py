"""Options of the registered losses: those of the problem, the method, and those of the method; imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, FiniteFloat, model_validator

from nlcore.config import AlgorithmConfig
from nlcore.errors import ConfigError
from nlcore_decisions import config
from nlcore_decisions.config import Control, Edges, ImplicitNoise, MethodConfig, Noise, Objective, Projection, Sense

__all__ = [
    "METHODS",
    "POOLED",
    "AssignmentConfig",
    "DagPathConfig",
    "GraphPathConfig",
    "GridEdgesConfig",
    "KnapsackConfig",
    "LinearProgramConfig",
    "Method",
    "ProblemConfig",
    "SpanningTreeConfig",
    "TopKConfig",
    "method_class",
]

Method: TypeAlias = Literal[
    "perturbed_fenchel_young",
    "spo_plus",
    "imle",
    "adaptive_imle",
    "blackbox",
    "negative_identity",
    "central_difference",
    "regularized_fenchel_young",
    "noise_contrastive",
    "maximum_a_posteriori",
    "pointwise_ranking",
    "pairwise_ranking",
    "listwise_ranking",
]

METHODS: dict[str, type[MethodConfig]] = {
    "perturbed_fenchel_young": config.PerturbedFenchelYoungConfig,
    "spo_plus": config.SPOPlusConfig,
    "imle": config.IMLEConfig,
    "adaptive_imle": config.AdaptiveIMLEConfig,
    "blackbox": config.BlackBoxConfig,
    "negative_identity": config.NegativeIdentityConfig,
    "central_difference": config.CentralDifferenceConfig,
    "regularized_fenchel_young": config.RegularizedFenchelYoungConfig,
    "noise_contrastive": config.NoiseContrastiveConfig,
    "maximum_a_posteriori": config.MaximumAPosterioriConfig,
    "pointwise_ranking": config.PointwiseRankingConfig,
    "pairwise_ranking": config.PairwiseRankingConfig,
    "listwise_ranking": config.ListwiseRankingConfig,
}
"""The options of each method; its class has the same name without Config, see `method_class`."""

POOLED = frozenset(
    {"noise_contrastive", "maximum_a_posteriori", "pointwise_ranking", "pairwise_ranking", "listwise_ranking"}
)
"""The methods over a pool of solutions."""


def method_class(method: str) -> type[Any]:
    """Return the class of a method from the module of the method's name, which imports torch."""
    module, name = import_module(f"nlcore_decisions.{method}"), METHODS[method].__name__.removesuffix("Config")
    kind: type[Any] = getattr(module, name)
    return kind


_POOL = ("pool_size", "pool_seed")

Row: TypeAlias = Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
Bound: TypeAlias = tuple[FiniteFloat | None, FiniteFloat | None]


class ProblemConfig(AlgorithmConfig):
    """The method and its options; an option that is not given has the default of the method."""

    problem: ClassVar[tuple[str, ...]] = ()
    """The options of the problem."""

    method: Method = Field(
        "perturbed_fenchel_young", description="How to train through the solver; each is a class of nlcore_decisions."
    )
    sense: Sense = Field(
        "minimise", description="Whether the predicted numbers are costs, 'minimise', or values, 'maximise'."
    )
    num_samples: int | None = Field(
        None,
        description="Draws of noise. By default 3 for perturbed Fenchel–Young and the central difference, 1 for I-MLE, "
        "adaptive or not.",
    )
    sigma: float | None = Field(
        None, description="Scale of the noise on the costs, for the same methods; by default 0.5."
    )
    noise: Noise | ImplicitNoise | None = Field(
        None,
        description="Perturbed Fenchel–Young: 'additive' (the default) or 'multiplicative'. I-MLE, adaptive or not: "
        "'sum_of_gamma' (the default) or 'gumbel'.",
    )
    control: Control | None = Field(
        None,
        description="Perturbed Fenchel–Young: how the noise of the Hessian is reduced, 'leave_one_out' (the default, a "
        "control variate), 'antithetic' (draws in pairs Z and −Z) or 'none'.",
    )
    length: int | None = Field(
        None,
        description="I-MLE and adaptive I-MLE, noise 'sum_of_gamma': usual number of chosen elements of a solution; by "
        "default 5.",
    )
    objective: Objective | None = Field(
        None,
        description="How black box, I-MLE, adaptive I-MLE and the central difference judge a solution. 'hamming': the "
        "number of elements that differ from the target (the default, except for the central difference); "
        "'squared_error': the squared distance to the target (the default of the central difference); 'regret': by how "
        "much the solution is worse than the best one under the true values or costs, which are then the target.",
    )
    interpolation: float | None = Field(
        None,
        description="Black box and I-MLE, but not adaptive I-MLE: length λ of the step of the costs from one solve to "
        "the other; by default 10.",
    )
    nonzeros: float | None = Field(
        None, description="Adaptive I-MLE: least number of nonzero entries that a gradient should have; by default 1."
    )
    largest: float | None = Field(None, description="Adaptive I-MLE: largest step relative to the costs; by default 2.")
    halvings: int | None = Field(
        None, description="Adaptive I-MLE: the smallest step is the largest, halved this many times; by default 3."
    )
    projection: Projection | None = Field(
        None,
        description="Negative identity: projection of the gradient. 'mean' subtracts its mean; 'norm' subtracts its "
        "part along the costs and divides by their norm; 'standardise' does both; 'none' is the default.",
    )
    step: float | None = Field(
        None, description="Central difference: largest shift of a cost in units of σ; by default 1."
    )
    regularization_strength: float | None = Field(
        None, description="Regularised Fenchel–Young: factor of ½‖y‖²; by default 1."
    )
    max_steps: int | None = Field(
        None, description="Regularised Fenchel–Young: most steps of the Frank–Wolfe algorithm; by default 100."
    )
    margin: float | None = Field(
        None,
        description="Pairwise ranking: by how much the predicted cost of the best solution is to be lower than that of "
        "another. Maximum a posteriori: the same, as a multiple of the difference of their true costs. By default 0.",
    )
    temperature: float | None = Field(None, description="Listwise ranking: temperature; by default 1.")
    min_cost: float | None = Field(
        None,
        description="Lower bound of the costs that a method has changed, for the solver; by default there is none.",
    )
    pool_size: int | None = Field(
        None,
        ge=1,
        description="Noise-contrastive, maximum a posteriori and the ranking methods compare the true solution with a "
        "pool: the solutions of this many random cost vectors, by default 32. For a pool of your own use the method's "
        "class.",
    )
    pool_seed: int | None = Field(None, ge=0, description="Seed of these random cost vectors; by default 0.")

    def given(self) -> dict[str, Any]:
        """Return the options of the method that are given, and the sense."""
        shared = {"method", *self.problem, *_POOL}
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in shared}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _read_by_the_method(self) -> Self:
        read = METHODS[self.method].model_fields
        names = [*self.given(), *(name for name in _POOL if getattr(self, name) is not None)]
        for name in names:
            if name not in read and not (name in _POOL and self.method in POOLED):
                readers = [
                    one
                    for one, options in METHODS.items()
                    if name in options.model_fields or (name in _POOL and one in POOLED)
                ]
                raise ValueError(
                    f"option {name!r} was given {getattr(self, name)!r}, but method={self.method!r} does not read it; "
                    f"it is for {', '.join(readers)}"
                )
        try:
            METHODS[self.method](**self.given())
        except ConfigError as error:
            raise ValueError(str(error).partition(". Options: ")[0]) from error
        return self


class _ValuesConfig(ProblemConfig):
    """Options of problems whose predictions are values unless said otherwise."""

    sense: Sense = Field(
        "maximise", description="Whether the predicted numbers are values, 'maximise', or costs, 'minimise'."
    )


class TopKConfig(_ValuesConfig):
    """Options of `TopKLoss`."""

    problem: ClassVar[tuple[str, ...]] = ("k",)
    k: int = Field(1, ge=1, description="Number of elements of a subset.")


class KnapsackConfig(_ValuesConfig):
    """Options of `KnapsackLoss`."""

    problem: ClassVar[tuple[str, ...]] = ("weights", "capacity")
    weights: Annotated[tuple[Row, ...], Field(min_length=1)] | Row = Field(
        (3.0, 4.0, 5.0, 6.0, 7.0),
        description="Weight of each item, in one row for each resource. The default is only an example.",
    )
    capacity: FiniteFloat | Row = Field(12.0, description="The capacity, one number for each resource.")


class AssignmentConfig(ProblemConfig):
    """Options of `AssignmentLoss`, all of them of the method."""


class GridEdgesConfig(ProblemConfig):
    """Options of `GridEdgesLoss`."""

    problem: ClassVar[tuple[str, ...]] = ("height", "width")
    height: int = Field(5, ge=1, description="Rows of nodes.")
    width: int = Field(5, ge=1, description="Columns of nodes.")


class _PathConfig(ProblemConfig):
    """Options of paths on a graph."""

    problem: ClassVar[tuple[str, ...]] = ("edges", "source", "goal")
    edges: Edges = Field(
        ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3), (2, 4), (3, 4)),
        description="Directed edges as pairs (start, end) of nodes, counted from 0. The default is only an example.",
    )
    source: int = Field(0, ge=0, description="Node where a path begins.")
    goal: int = Field(4, ge=0, description="Node where it ends.")


class DagPathConfig(_PathConfig):
    """Options of `DagPathLoss`."""


class GraphPathConfig(_PathConfig):
    """Options of `GraphPathLoss`."""

    edges: Edges = Field(
        ((0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1), (1, 3), (3, 1), (2, 3), (3, 2)),
        description="Directed edges as pairs (start, end) of nodes, counted from 0; one for both ways is given twice. "
        "The default is only an example.",
    )
    goal: int = Field(3, ge=0, description="Node where it ends.")
    min_cost: float | None = Field(
        1e-3,
        gt=0,
        description="Lower bound of costs that a method has changed: a cycle of negative cost has no shortest path. "
        "None for a graph without cycles.",
    )


class SpanningTreeConfig(ProblemConfig):
    """Options of `SpanningTreeLoss`."""

    problem: ClassVar[tuple[str, ...]] = ("edges",)
    edges: Edges = Field(
        ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)),
        description="Undirected edges as pairs of nodes, counted from 0. The default is only an example.",
    )


class LinearProgramConfig(ProblemConfig):
    """Options of `LinearProgramLoss`."""

    problem: ClassVar[tuple[str, ...]] = ("A_ub", "b_ub", "A_eq", "b_eq", "bounds", "integer", "workers")
    A_ub: tuple[Row, ...] | None = Field(None, description="Rows of the inequalities A_ub·y ≤ b_ub; null for none.")
    b_ub: Row | None = Field(None, description="Right-hand sides of the inequalities.")
    A_eq: tuple[Row, ...] | None = Field(
        ((1.0, 1.0, 1.0, 1.0),),
        description="Rows of the equations A_eq·y = b_eq; null for none. The default is only an example.",
    )
    b_eq: Row | None = Field((2.0,), description="Right-hand sides of the equations.")
    bounds: Bound | tuple[Bound, ...] = Field(
        (0.0, 1.0), description="Lower and upper bound of all variables, or a pair for each; null for no bound."
    )
    integer: bool | tuple[bool, ...] = Field(
        False, description="Whether variables are integers: one answer for all, or one for each."
    )
    workers: int = Field(0, ge=0, description="Processes that solve; 0 solves in the one that asks.")
