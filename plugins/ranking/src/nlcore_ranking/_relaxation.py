"""The relaxations of nlcore-sorting by name, and Sinkhorn scaling."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from torch import Tensor

from nlcore_ranking.config import Relaxation, SoftRank
from nlcore_sorting import FastSoftSort, LapSum, NeuralSort, PermutationLoss, RankingLoss, SoftSort, SortingNetwork

__all__ = ["operator", "ranker", "sinkhorn"]

_OPERATORS: dict[str, Callable[[float], PermutationLoss]] = {
    "neuralsort": lambda temperature: NeuralSort(temperature=temperature),
    "softsort": lambda temperature: SoftSort(temperature=temperature),
    "diffsort": lambda temperature: SortingNetwork(steepness=1 / temperature),
    "lapsum": lambda temperature: LapSum(temperature=temperature),
}
_RANKERS: dict[str, Callable[[float], RankingLoss]] = {
    **_OPERATORS,
    "fast_soft_sort": lambda temperature: FastSoftSort(regularization_strength=temperature),
}


@cache
def operator(relaxation: Relaxation, temperature: float) -> PermutationLoss:
    """Return the relaxed sort of that name; a sorting network has the steepness 1/temperature."""
    return _OPERATORS[relaxation](temperature)


@cache
def ranker(relaxation: SoftRank, temperature: float) -> RankingLoss:
    """Return the relaxation of that name, for its ranks; the temperature is its softness."""
    return _RANKERS[relaxation](temperature)


def sinkhorn(log_matrix: Tensor, iterations: int) -> Tensor:
    """Return log P after scaling columns and rows to sums of one in turn, rows last.

    The number of iterations is fixed and not decided by the worst list of the batch, so that lists stay independent.

    Args:
        log_matrix: [..., n, n], logarithms of positive entries.
        iterations: How often; 0 returns the matrix as it is.
    """
    for _ in range(iterations):
        log_matrix = log_matrix.log_softmax(dim=-2).log_softmax(dim=-1)
    return log_matrix
