"""Pictures of a loss: its relaxation, and its gradient along one moving output with and without curvature."""

from __future__ import annotations

from nlcore.pictures.figure import check_drawing, draw
from nlcore.pictures.sweep import Field, Sweep, sweep

__all__ = ["Field", "Sweep", "check_drawing", "draw", "sweep"]
