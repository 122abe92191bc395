"""The relaxed sorts of nlcore-sorting by name, and what makes their matrix doubly stochastic."""

from __future__ import annotations

from functools import cache

from torch import Tensor

from nlcore_ranking.config import Relaxation
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork

__all__ = ["operator", "sinkhorn"]


@cache
def operator(relaxation: Relaxation, temperature: float) -> NeuralSort | SoftSort | SortingNetwork:
    """Return the relaxed sort of that name; a sorting network has the steepness 1/temperature."""
    if relaxation == "neuralsort":
        return NeuralSort(temperature=temperature)
    if relaxation == "softsort":
        return SoftSort(temperature=temperature)
    return SortingNetwork(steepness=1 / temperature)


def sinkhorn(log_matrix: Tensor, iterations: int) -> Tensor:
    """Return log P after scaling columns and rows to sums of one in turn, rows last.

    The number of iterations is fixed and not decided by the worst list of the batch, so that lists stay independent.

    Args:
        log_matrix: [..., n, n], logarithms of positive entries.
        iterations: How often; 0 returns the matrix as it is.
    """
    for _ in range(iterations):
        log_matrix = log_matrix - log_matrix.logsumexp(dim=-2, keepdim=True)
        log_matrix = log_matrix - log_matrix.logsumexp(dim=-1, keepdim=True)
    return log_matrix
