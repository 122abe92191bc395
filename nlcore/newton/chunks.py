"""The number of directions that are pulled back at a time: as many as fit a cache, or the memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from nlcore.evaluation import transformed
from nlcore.newton.problem import Problem

__all__ = ["BUDGET", "ENTRIES_AT_A_TIME", "fitting_chunk", "intermediates"]

BUDGET = 2**24
"""Elements of all samples' matrices together, and of one chunk of pull-backs: 128 MiB in float64."""

ENTRIES_AT_A_TIME = 2**14
"""Entries of the rows of samples' own matrices that are multiplied at a time, so that copies stay in the cache."""

_CACHED = 3 * 2**19
"""Intermediate results of one chunk on a processor: what the loss keeps for its derivative, once for each direction,
stays in the cache. Against one chunk for all: a third of the time for 64 scores by NeuralSort, for 100 by Spearman."""

_FEW = 2**14
"""Elements of all samples' matrices for which nothing needs to be counted: they fit with 128 results for an output."""

_TOGETHER = 8
"""Directions that are pulled back together without counting, which would take one more evaluation of the loss."""

_UNSEEN = 100
"""Intermediate results for each output of a loss that cannot be watched."""


def fitting_chunk(problem: Problem, directions: int) -> int:
    """Return how many of so many directions are pulled back at a time."""
    size = problem.prediction.numel()
    if problem.prediction.device.type != "cpu" or directions <= _TOGETHER or size * directions <= _FEW:
        return max(1, BUDGET // size)
    return max(1, _CACHED // intermediates(problem))


def intermediates(problem: Problem) -> int:
    """Return how many numbers one evaluation of the loss keeps for its derivative, at least one for each output.

    A running sum keeps 2 for each, a simulator of 96 controls 50, a relaxed permutation of 100 scores 200: so many can
    be evaluated together before memory or cache is full. The tensors of a loss that uses `torch.func`, inside or
    around, cannot be counted.
    """
    size = problem.prediction.numel()
    if transformed(problem.prediction):
        return _UNSEEN * size
    kept = [size]
    try:
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(_counted(kept), lambda one: one):
            problem.evaluation.value(problem.prediction.detach().requires_grad_())
    except RuntimeError:
        return _UNSEEN * size
    return sum(kept)


def _counted(kept: list[int]) -> Callable[[Tensor], Tensor]:
    def pack(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    return pack
