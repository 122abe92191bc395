"""What this distribution registers: descriptions only, so that listing it imports no torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `shortest_paths`."""
    return (
        AlgorithmSpec(
            id="shortest_paths/bellman_ford-v1",
            factory="nlcore_shortest_paths:BellmanFord",
            config="nlcore_shortest_paths.config:BellmanFordConfig",
            summary="Relaxed Bellman–Ford with a relaxed way back, L1 or squared L2 to the true path",
            reference="Petersen et al., Learning with Algorithmic Supervision via Continuous Relaxations, NeurIPS 2021",
            since="0.1.0",
        ),
    )
