"""The relaxations of nlcore-sorting by name, and Sinkhorn scaling."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from nlcore_ranking.config import Relaxation, SoftRank
from nlcore_sorting import FastSoftSort, LapSum, NeuralSort, PermutationLoss, RankingLoss, SoftSort, SortingNetwork

__all__ = ["operator", "ranker", "sinkhorn"]


@cache
def operator(relaxation: Relaxation, temperature: float) -> PermutationLoss:
    """Return the relaxed sort of that name; a sorting network has the steepness 1/temperature."""
    if relaxation == "neuralsort":
        return NeuralSort(temperature=temperature)
    if relaxation == "softsort":
        return SoftSort(temperature=temperature)
    return SortingNetwork(steepness=1 / temperature)


@cache
def ranker(relaxation: SoftRank, temperature: float) -> RankingLoss:
    """Return the relaxation of that name, for its ranks; the temperature is its softness."""
    if relaxation == "fast_soft_sort":
        return FastSoftSort(regularization_strength=temperature)
    if relaxation == "lapsum":
        return LapSum(temperature=temperature)
    return operator(relaxation, temperature)


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
