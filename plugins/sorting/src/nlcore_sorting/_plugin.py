"""What this distribution registers: specifications only, free of torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the sorting algorithms."""
    return (
        AlgorithmSpec(
            id="sorting/neuralsort-v1",
            factory="nlcore_sorting:NeuralSort",
            config="nlcore_sorting.config:NeuralSortConfig",
            summary="Ranking through NeuralSort: a softmax over pairwise distances for every place",
            reference="Grover et al., Stochastic Optimization of Sorting Networks via Continuous Relaxations, "
            "ICLR 2019",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="sorting/softsort-v1",
            factory="nlcore_sorting:SoftSort",
            config="nlcore_sorting.config:SoftSortConfig",
            summary="Ranking through SoftSort: a softmax over distances to the sorted scores",
            reference="Prillo and Eisenschlos, SoftSort: A Continuous Relaxation for the argsort Operator, ICML 2020",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="sorting/diffsort-v1",
            factory="nlcore_sorting:SortingNetwork",
            config="nlcore_sorting.config:SortingNetworkConfig",
            summary="Ranking through a differentiable sorting network, odd-even or bitonic, with soft swaps",
            reference="Petersen et al., Differentiable Sorting Networks, ICML 2021; Monotonic Differentiable Sorting "
            "Networks, ICLR 2022",
            since="0.1.0",
        ),
    )
