"""The algorithms that this distribution registers; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `sequences`."""
    return [
        AlgorithmSpec(
            id="sequences/linear_filter-v1",
            factory="nlcore_sequences.linear_filter:LinearFilter",
            config="nlcore_sequences.config:LinearFilterConfig",
            summary="A signal supervised after a filter: moving or exponential average, Gaussian blur, any kernel.",
            reference="Filters by their definitions; Ng, Chan, Tang, SIAM J. Sci. Comput. 1999 (mirrored ends)",
            since="0.2.0",
        ),
        AlgorithmSpec(
            id="sequences/linear_operator-v1",
            factory="nlcore_sequences.linear_operator:LinearOperator",
            config="nlcore_sequences.config:LinearOperatorConfig",
            summary="Numbers supervised by their image under any matrix or linear function: ½‖Ay − t‖².",
            reference="Chow, Lin 1971 (disaggregation); least squares: definition",
            since="0.2.0",
        ),
        AlgorithmSpec(
            id="sequences/prefix_sum-v1",
            factory="nlcore_sequences.prefix_sum:PrefixSum",
            config="nlcore_sequences.config:PrefixSumConfig",
            summary="Numbers supervised by their running totals: ½‖cumsum(y) − target‖².",
            reference="Newton Losses, Petersen et al., NeurIPS 2024 (method); prefix sum: definition",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="sequences/rollout-v1",
            factory="nlcore_sequences.rollout:Rollout",
            config="nlcore_sequences.config:RolloutConfig",
            summary="Controls, parameters or initial state of a simulator, supervised by its states",
            reference="Werbos, Backpropagation through time, 1990; Schnell et al., Half-Inverse Gradients, ICLR 2022",
            since="0.2.0",
        ),
        AlgorithmSpec(
            id="sequences/soft_dtw-v1",
            factory="nlcore_sequences.soft_dtw:SoftDTW",
            config="nlcore_sequences.config:SoftDTWConfig",
            summary="Series compared over all their monotone alignments, with a soft minimum.",
            reference="Soft-DTW, Cuturi and Blondel, ICML 2017",
            since="0.2.0",
        ),
        AlgorithmSpec(
            id="sequences/soft_dtw_divergence-v1",
            factory="nlcore_sequences.soft_dtw:SoftDTWDivergence",
            config="nlcore_sequences.config:SoftDTWDivergenceConfig",
            summary="Soft-DTW without its bias: 0 for equal series.",
            reference="Differentiable Divergences Between Time Series, Blondel et al., AISTATS 2021",
            since="0.2.0",
        ),
    ]
