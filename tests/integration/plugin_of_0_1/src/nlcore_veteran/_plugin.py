"""What this distribution registers. Keep it free of torch, so that `nlcore list` stays quick."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `veteran`. When the numbers of one change, it becomes a -v2."""
    return [
        AlgorithmSpec(
            id="veteran/smooth_maximum-v1",
            factory="nlcore_veteran.smooth_maximum:SmoothMaximum",
            config="nlcore_veteran.config:SmoothMaximumConfig",
            summary="Numbers supervised by their largest alone, through a smooth maximum",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="veteran/bowl-v1",
            factory="nlcore_veteran.bowl:Bowl",
            config="nlcore_veteran.bowl:BowlConfig",
            summary="A convex bowl",
            since="0.1.0",
        ),
    ]
