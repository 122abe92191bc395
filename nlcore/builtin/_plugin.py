"""The losses of namespace `core`; does not import torch."""

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Describe the built-in losses."""
    return (
        AlgorithmSpec(
            id="core/squared_error-v1",
            factory="nlcore.builtin.losses:SquaredError",
            summary="½‖prediction − target‖²; its Newton step lands on the target",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="core/cross_entropy-v1",
            factory="nlcore.builtin.losses:CrossEntropy",
            summary="Softmax cross-entropy of logits; Hessian diag(p) − ppᵀ",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="core/binary_cross_entropy-v1",
            factory="nlcore.builtin.losses:BinaryCrossEntropy",
            summary="Cross-entropy of independent logits; Hessian diag(p(1 − p))",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="core/absolute_error-v1",
            factory="nlcore.builtin.losses:AbsoluteError",
            summary="‖prediction − target‖₁; piecewise linear, so only the Fisher matrix applies",
            since="0.1.0",
        ),
    )
