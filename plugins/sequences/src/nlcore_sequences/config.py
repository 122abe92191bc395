"""Options of the sequence algorithms, free of torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from nlcore.config import AlgorithmConfig

__all__ = ["Band", "Cost", "Curvature", "SoftDTWConfig", "SoftDTWDivergenceConfig"]

Cost: TypeAlias = Literal["squared_euclidean", "absolute", "log_augmented"]
Band: TypeAlias = Literal["sakoe_chiba", "itakura"]
Curvature: TypeAlias = Literal["exact", "fixed_alignment"]


_COST = (
    "Local cost of two time steps: 'squared_euclidean' is ‖x − y‖²; 'absolute' the sum of |x − y| over the channels; "
    "'log_augmented' c + γ log(2 − exp(−c/γ)) with c = ‖x − y‖²."
)


class _AlignmentConfig(AlgorithmConfig):
    """Options of losses over the alignments of two series."""

    gamma: float = Field(
        1.0,
        gt=0,
        description="Softness γ in units of the local cost; towards 0 the alignment is that of DTW.",
        json_schema_extra={"softness": "increasing"},
    )
    cost: Cost = Field("squared_euclidean", description=_COST)
    band: Band | None = Field(
        None, description="Cells that an alignment may visit: all, 'sakoe_chiba' a band, 'itakura' a parallelogram."
    )
    radius: int = Field(10, ge=0, description="Largest shift in time steps; used by 'sakoe_chiba' only.")
    slope: float = Field(2.0, gt=1, description="Largest local change of speed; used by 'itakura' only.")
    multivariate: bool = Field(
        False, description="Whether series are [batch, time, channels] and not [batch, time], in prediction and target."
    )


class SoftDTWConfig(_AlignmentConfig):
    """Options of `SoftDTW`."""

    curvature: Curvature = Field(
        "exact",
        description="'exact' has the second derivatives of the value; 'fixed_alignment' those of the squared distance "
        "at the expected alignment, positive semi-definite, for cost='squared_euclidean'.",
    )


class SoftDTWDivergenceConfig(_AlignmentConfig):
    """Options of `SoftDTWDivergence`."""

    cost: Cost = Field("log_augmented", description=_COST)
