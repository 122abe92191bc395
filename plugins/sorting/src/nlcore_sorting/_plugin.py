"""Specifications of the sorting algorithms, free of torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


_ALGORITHMS = (
    AlgorithmSpec(
        id="sorting/neuralsort-v1",
        factory="nlcore_sorting.neuralsort:NeuralSort",
        config="nlcore_sorting.config:NeuralSortConfig",
        summary="Ranking through NeuralSort: for every rank, a softmax over the items",
        reference="Grover et al., Stochastic Optimization of Sorting Networks via Continuous Relaxations, ICLR 2019",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="sorting/softsort-v1",
        factory="nlcore_sorting.softsort:SoftSort",
        config="nlcore_sorting.config:SoftSortConfig",
        summary="Ranking through SoftSort: a softmax over distances to the sorted scores",
        reference="Prillo and Eisenschlos, SoftSort: A Continuous Relaxation for the argsort Operator, ICML 2020",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="sorting/diffsort-v1",
        factory="nlcore_sorting.sorting_network:SortingNetwork",
        config="nlcore_sorting.config:SortingNetworkConfig",
        summary="Ranking through a differentiable sorting network, odd-even or bitonic, with soft swaps",
        reference="Petersen et al., Differentiable Sorting Networks, ICML 2021; Monotonic Differentiable Sorting "
        "Networks, ICLR 2022",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="sorting/fast_soft_sort-v1",
        factory="nlcore_sorting.fast_soft_sort:FastSoftSort",
        config="nlcore_sorting.config:FastSoftSortConfig",
        summary="Ranking through soft ranks that are a projection onto the permutahedron, O(n log n)",
        reference="Blondel et al., Fast Differentiable Sorting and Ranking, ICML 2020",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="sorting/lapsum-v1",
        factory="nlcore_sorting.lapsum:LapSum",
        config="nlcore_sorting.config:LapSumConfig",
        summary="Ranking through sums of Laplace distribution functions, in closed form, O(n log n)",
        reference="Struski et al., LapSum - One Method to Differentiate Them All: Ranking, Sorting and Top-k "
        "Selection, ICML 2025",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="sorting/optimal_transport-v1",
        factory="nlcore_sorting.optimal_transport:OptimalTransportSort",
        config="nlcore_sorting.config:OptimalTransportSortConfig",
        summary="Ranking through an entropic transport plan between items and ranks (Sinkhorn)",
        reference="Cuturi et al., Differentiable Ranking and Sorting using Optimal Transport, NeurIPS 2019",
        since="0.1.0",
    ),
)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the sorting algorithms."""
    return _ALGORITHMS
