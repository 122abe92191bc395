"""Differentiable sorting and ranking losses for nlcore."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports
from nlcore_sorting._plugin import nlcore_algorithms

if TYPE_CHECKING:  # for type checkers and editors; the names at run time follow from the specifications
    from nlcore_sorting._permutation_loss import PermutationLoss as PermutationLoss
    from nlcore_sorting._ranking_loss import RankingLoss as RankingLoss
    from nlcore_sorting._ranking_loss import ranks as ranks
    from nlcore_sorting.config import FastSoftSortConfig as FastSoftSortConfig
    from nlcore_sorting.config import LapSumConfig as LapSumConfig
    from nlcore_sorting.config import NeuralSortConfig as NeuralSortConfig
    from nlcore_sorting.config import OptimalTransportSortConfig as OptimalTransportSortConfig
    from nlcore_sorting.config import SoftSortConfig as SoftSortConfig
    from nlcore_sorting.config import SortingNetworkConfig as SortingNetworkConfig
    from nlcore_sorting.fast_soft_sort import FastSoftSort as FastSoftSort
    from nlcore_sorting.lapsum import LapSum as LapSum
    from nlcore_sorting.neuralsort import NeuralSort as NeuralSort
    from nlcore_sorting.optimal_transport import OptimalTransportSort as OptimalTransportSort
    from nlcore_sorting.softsort import SoftSort as SoftSort
    from nlcore_sorting.sorting_network import SortingNetwork as SortingNetwork


def _homes() -> dict[str, list[str]]:
    """Return the public names by module; those of the algorithms are read off their specifications."""
    homes = {"_permutation_loss": ["PermutationLoss"], "_ranking_loss": ["RankingLoss", "ranks"]}
    for spec in nlcore_algorithms():
        for reference in (spec.factory, spec.config):
            module, _, name = (reference or "").removeprefix(f"{__name__}.").partition(":")
            if name:
                homes.setdefault(module, []).append(name)
    return homes


__all__ = [name for names in _homes().values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _homes())
