"""The methods of `nlcore bench totals`: plain, clipping, two curvatures, and full supervision."""

from __future__ import annotations

from nlcore_bench.methods.base import Curvature, Method

__all__ = ["TOTALS"]

_SUM = "sequences/prefix_sum-v1"

TOTALS: tuple[Method, ...] = (
    Method(name="plain", label="plain", loss=_SUM, supervision="totals"),
    # The limit is 0.01 per number, the best of the limits that were tried before this study.
    Method(name="clipping", label="gradient clipping", loss=_SUM, supervision="totals", clip=0.16, baseline="plain"),
    Method(
        name="fisher",
        label="empirical Fisher",
        loss=_SUM,
        supervision="totals",
        curvature=Curvature(kind="fisher", damping=0.1),
        baseline="plain",
    ),
    Method(
        name="hessian",
        label="Hessian",
        loss=_SUM,
        supervision="totals",
        curvature=Curvature(kind="hessian", damping=0.01),
        baseline="plain",
    ),
    Method(
        name="supervised",
        label="every digit supervised",
        loss="core/squared_error-v1",
        supervision="digits",
        baseline="plain",
    ),
)
