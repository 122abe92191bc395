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
            id="sequences/prefix_sum-v1",
            factory="nlcore_sequences.prefix_sum:PrefixSum",
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
    ]
