"""Plots of a loss: its relaxation, and its gradient along one moving output with and without curvature."""

from __future__ import annotations

from nlcore.plotting.figure import check_drawing
from nlcore.plotting.sweep import Field, Sweep, sweep
from nlcore.plotting.sweep_figure import draw

__all__ = ["Field", "Sweep", "check_drawing", "draw", "sweep"]
