"""Options of the simulators."""

from __future__ import annotations

from pydantic import Field

from nlcore.config import AlgorithmConfig

__all__ = ["BlurConfig", "DragConfig"]


class BlurConfig(AlgorithmConfig):
    """Options of `bench/blur`."""

    width: float = Field(2.0, gt=0, description="Standard deviation of the blur, in steps of the signal.")


class DragConfig(AlgorithmConfig):
    """Options of `bench/drag`."""

    drag: float = Field(0.5, ge=0, description="Drag c of v' = u − c·v·|v|, per unit of length.")
    step: float = Field(0.3, gt=0, description="Time between two pushes.")
