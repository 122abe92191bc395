"""Options of the losses, free of torch. `nlcore show` prints them with their descriptions."""

from __future__ import annotations

from pydantic import Field

from nlcore import AlgorithmConfig

__all__ = ["SmoothMaximumConfig"]


class SmoothMaximumConfig(AlgorithmConfig):
    """Options of `SmoothMaximum`; its constructor has the same keywords and defaults."""

    temperature: float = Field(
        0.5, gt=0, description="Softness τ in units of the numbers; towards 0 it is the maximum."
    )
