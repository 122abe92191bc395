"""Options of the sorting algorithms, free of torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from nlcore.config import AlgorithmConfig

__all__ = [
    "Distribution",
    "FastSoftSortConfig",
    "LapSumConfig",
    "Network",
    "NeuralSortConfig",
    "Objective",
    "OptimalTransportSortConfig",
    "Regularization",
    "SoftSortConfig",
    "SortingNetworkConfig",
]

Objective: TypeAlias = Literal["rows", "entries"]
Network: TypeAlias = Literal["odd_even", "bitonic"]
Distribution: TypeAlias = Literal["cauchy", "gaussian", "logistic", "logistic_phi", "optimal", "reciprocal"]
Regularization: TypeAlias = Literal["l2", "kl"]

_OBJECTIVE = (
    "How the relaxed permutation matrix is compared with the true one: 'rows' is the cross-entropy of every "
    "rank, averaged over n ranks; 'entries' the binary cross-entropy of every entry, averaged over n² entries."
)


class NeuralSortConfig(AlgorithmConfig):
    """Options of `NeuralSort`."""

    temperature: float = Field(
        1.0,
        gt=0,
        description="Softness τ in units of the scores; towards 0 the sort is exact.",
        json_schema_extra={"softness": "increasing"},
    )
    objective: Objective = Field("rows", description=_OBJECTIVE)


class SoftSortConfig(AlgorithmConfig):
    """Options of `SoftSort`."""

    temperature: float = Field(
        1.0,
        gt=0,
        description="Softness τ in units of the scores; towards 0 the sort is exact.",
        json_schema_extra={"softness": "increasing"},
    )
    objective: Objective = Field("rows", description=_OBJECTIVE)


class SortingNetworkConfig(AlgorithmConfig):
    """Options of `SortingNetwork`."""

    network: Network = Field(
        "odd_even", description="Wiring: 'odd_even' has n layers, 'bitonic' about log₂(n)²/2 of them."
    )
    distribution: Distribution = Field(
        "cauchy",
        description="Distribution function that turns the difference of two scores into the weight of keeping their "
        "order. 'cauchy', 'reciprocal' and 'optimal' keep the soft minimum monotonic.",
    )
    steepness: float = Field(
        10.0,
        gt=0,
        description="Inverse softness β in inverse units of the scores; towards infinity the sort is exact.",
        json_schema_extra={"softness": "decreasing"},
    )
    art_lambda: float = Field(
        0.25, ge=0, le=1, description="Exponent λ in the formula of 'logistic_phi'; used by it only."
    )
    objective: Objective = Field("rows", description=_OBJECTIVE)


class FastSoftSortConfig(AlgorithmConfig):
    """Options of `FastSoftSort`."""

    regularization: Regularization = Field(
        "l2", description="Distance of the projection: 'l2' Euclidean, piecewise linear; 'kl' relative entropy, smooth."
    )
    regularization_strength: float = Field(
        1.0,
        gt=0,
        description="Softness ε in units of the scores; below a bound the sort is exact and has no gradient.",
        json_schema_extra={"softness": "increasing"},
    )


class LapSumConfig(AlgorithmConfig):
    """Options of `LapSum`."""

    temperature: float = Field(
        1.0,
        gt=0,
        description="Scale α of the Laplace distribution, in units of the scores; towards 0 it is exact.",
        json_schema_extra={"softness": "increasing"},
    )
    objective: Objective = Field("rows", description=_OBJECTIVE)


class OptimalTransportSortConfig(AlgorithmConfig):
    """Options of `OptimalTransportSort`."""

    regularization_strength: float = Field(
        1.0,
        gt=0,
        description="Weight ε of the entropy in units of the scores; towards 0 the sort is exact.",
        json_schema_extra={"softness": "increasing"},
    )
    iterations: int = Field(
        20, ge=1, description="Sinkhorn iterations; rows always add up to 1, columns the better the more there are."
    )
    objective: Objective = Field("rows", description=_OBJECTIVE)
