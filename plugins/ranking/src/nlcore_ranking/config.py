"""Options of the ranking losses; does not import torch."""

from __future__ import annotations

import math
from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from nlcore.config import AlgorithmConfig

__all__ = [
    "ApproxNDCGConfig",
    "Gain",
    "LambdaLossConfig",
    "ListMLEConfig",
    "ListNetConfig",
    "NeuralNDCGConfig",
    "PiRankConfig",
    "RankNetConfig",
    "Relaxation",
    "SoftRank",
    "SpearmanConfig",
    "Ties",
    "Top1",
    "TopKClassificationConfig",
    "Weighting",
]

Gain: TypeAlias = Literal["exponential", "linear"]
Relaxation: TypeAlias = Literal["neuralsort", "softsort", "diffsort"]
SoftRank: TypeAlias = Literal["neuralsort", "softsort", "diffsort", "fast_soft_sort", "lapsum"]
Ties: TypeAlias = Literal["shared", "index"]
Top1: TypeAlias = Literal["softmax", "sort"]
Weighting: TypeAlias = Literal["lambdarank", "ndcg2", "ndcg2++"]

_SIGMA = "Steepness σ of the logistic function, in inverse units of the scores."
_GAIN = "Gain of an item of relevance r: 'exponential' is 2^r − 1, 'linear' is r."
_K = "Positions that count, from the first; `None` for all."
_TEMPERATURE = "Softness τ in units of the scores; the sort is exact as τ → 0."
_RELAXATION = (
    "The relaxed sort: 'neuralsort'; 'softsort'; 'diffsort', an odd–even sorting network with Cauchy distributions of "
    "steepness 1/τ."
)
_NORMALIZE = "Divide the sum over {} by their number, so that lists of different length have equal weight."


class RankNetConfig(AlgorithmConfig):
    """Options of `RankNet`."""

    sigma: float = Field(1.0, gt=0, description=_SIGMA)
    normalize: bool = Field(True, description=_NORMALIZE.format("pairs"))


class ListNetConfig(AlgorithmConfig):
    """Options of `ListNet`."""

    temperature: float = Field(
        1.0, gt=0, description="Softness of the target distribution softmax(relevance/temperature)."
    )


class ListMLEConfig(AlgorithmConfig):
    """Options of `ListMLE`."""

    ties: Ties = Field(
        "shared",
        description="Equal relevance: 'shared' draws tied items from the same set (Breslow's rule), so that the order "
        "of the list does not matter; 'index' ranks the earlier item first, as if the order were known.",
    )
    normalize: bool = Field(True, description=_NORMALIZE.format("items"))


class LambdaLossConfig(AlgorithmConfig):
    """Options of `LambdaLoss`."""

    weighting: Weighting = Field(
        "ndcg2++",
        description="Weight of a pair: 'lambdarank' is |ΔNDCG| of a swap, 'ndcg2' the bound NDCG-Loss2, 'ndcg2++' "
        "LambdaRank + μ·NDCG-Loss2.",
    )
    k: int | None = Field(None, ge=1, description=_K)
    sigma: float = Field(1.0, gt=0, description=_SIGMA)
    mu: float = Field(10.0, ge=0, description="Weight μ of the NDCG-Loss2 part; read by 'ndcg2++' only.")
    gain: Gain = Field("exponential", description=_GAIN)


class ApproxNDCGConfig(AlgorithmConfig):
    """Options of `ApproxNDCG`."""

    alpha: float = Field(
        10.0,
        gt=0,
        description="Steepness α of the sigmoids that count the items ahead, in inverse units of the scores.",
        json_schema_extra={"softness": "decreasing"},
    )
    gain: Gain = Field("exponential", description=_GAIN)


class NeuralNDCGConfig(AlgorithmConfig):
    """Options of `NeuralNDCG`."""

    temperature: float = Field(1.0, gt=0, description=_TEMPERATURE, json_schema_extra={"softness": "increasing"})
    k: int | None = Field(None, ge=1, description=_K)
    scaling: int = Field(
        20, ge=0, description="Sinkhorn iterations that make the matrix doubly stochastic; 0 leaves it as it is."
    )
    gain: Gain = Field("exponential", description=_GAIN)


class PiRankConfig(AlgorithmConfig):
    """Options of `PiRank`."""

    temperature: float = Field(1.0, gt=0, description=_TEMPERATURE, json_schema_extra={"softness": "increasing"})
    k: int | None = Field(None, ge=1, description=_K)
    block: int | None = Field(
        None,
        ge=2,
        description="Longest list that is sorted whole; longer ones are split into blocks whose first k items are "
        "merged. It needs k, and at least 2·k. Null sorts every list whole.",
    )
    gain: Gain = Field("exponential", description=_GAIN)

    @model_validator(mode="after")
    def _mergeable(self) -> Self:
        if self.block is not None and (self.k is None or self.block < 2 * self.k):
            raise ValueError(f"block={self.block} with k={self.k}: blocks are merged only when k is given, block ≥ 2·k")
        return self


class SpearmanConfig(AlgorithmConfig):
    """Options of `Spearman`."""

    temperature: float = Field(1.0, gt=0, description=_TEMPERATURE, json_schema_extra={"softness": "increasing"})
    relaxation: SoftRank = Field(
        "neuralsort",
        description=f"{_RELAXATION[:-1]}; 'fast_soft_sort', the Euclidean projection onto the permutahedron with "
        "regularisation strength τ; or 'lapsum', with Laplace distributions of scale τ. The ranks of the last two take "
        "O(n log n).",
    )


class TopKClassificationConfig(AlgorithmConfig):
    """Options of `TopKClassification`."""

    p_k: tuple[float, ...] = Field(
        (0.5, 0.0, 0.0, 0.0, 0.5),
        min_length=1,
        description="Probabilities of k = 1, 2, …; they add up to 1. By default the class should be first with "
        "weight ½, and among the first five with weight ½.",
    )
    temperature: float = Field(1.0, gt=0, description=_TEMPERATURE, json_schema_extra={"softness": "increasing"})
    relaxation: Relaxation = Field("neuralsort", description=_RELAXATION)
    top1: Top1 = Field(
        "softmax",
        description="The k = 1 part: 'softmax' takes the softmax of the scores, which trains more stably; 'sort' the "
        "first row of the relaxed matrix.",
    )
    candidates: int | None = Field(
        None,
        ge=2,
        description="Number of classes that are sorted, the true one and those of the best other scores; `None` for "
        "all.",
    )

    @model_validator(mode="after")
    def _distribution(self) -> Self:
        if any(p < 0 for p in self.p_k) or not math.isclose(sum(self.p_k), 1.0, abs_tol=1e-6):
            raise ValueError(f"p_k adds up to {sum(self.p_k):g}: probabilities are not negative and add up to 1")
        if self.candidates is not None and self.candidates <= len(self.p_k):
            raise ValueError(
                f"candidates={self.candidates} for k up to {len(self.p_k)}: more candidates than k are needed"
            )
        return self
