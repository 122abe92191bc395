"""The methods of `nlcore bench ltr`: five losses, each plain, with the Fisher matrix and with the library's default."""

from __future__ import annotations

from typing import Any

from nlcore_bench.methods.base import Curvature, Method

__all__ = ["LTR"]

_LOSSES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ranknet", "RankNet", {}),
    ("listnet", "ListNet", {}),
    ("lambda_loss", "LambdaLoss", {}),
    ("approx_ndcg", "ApproxNDCG", {"alpha": 1.0}),
    ("neural_ndcg", "NeuralNDCG", {}),
)
_CURVATURES: tuple[tuple[str, str, Curvature | None], ...] = (
    ("plain", "plain", None),
    ("fisher", "empirical Fisher", Curvature(kind="fisher", damping=1.0)),
    ("default", "default (Hessian)", Curvature(kind="auto")),
)

LTR: tuple[Method, ...] = tuple(
    Method(
        name=f"{loss}_{kind}",
        label=label,
        group=group,
        loss=f"ranking/{loss}-v1",
        options=options,
        supervision="relevance",
        curvature=curvature,
        baseline=None if curvature is None else f"{loss}_plain",
    )
    for loss, group, options in _LOSSES
    for kind, label, curvature in _CURVATURES
)
