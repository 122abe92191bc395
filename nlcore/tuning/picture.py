"""The figure of a tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from nlcore.plotting.figure import BLUE, GREY, ORANGE, new_figure, save

__all__ = ["draw"]

_LEAST_ERROR = 1e-9
_WRONG, _VANISHED = 0.01, 0.1
"""The limits that are drawn: of a gradient's error, and of the share of vanished items."""


def draw(
    points: Sequence[tuple[float, float, float]], path: Path, *, option: str, suggested: float, title: str
) -> None:
    """Draw the share of vanished items and the error of the float32 gradient against the option.

    Args:
        points: Value of the option, share of vanished items, largest relative error of a float32 gradient.
        path: Its ending says the format.
        option: The name of the option.
        suggested: The suggestion; NaN for none.
        title: The line above the panels.

    Raises:
        ConfigError: matplotlib is missing or does not support the ending of the name, or the file cannot be written.
    """
    figure = new_figure(7.0, 3.1, dpi=110)
    values = [value for value, _, _ in points]
    shares, errors = figure.subplots(1, 2)
    shares.semilogx(values, [100 * share for _, share, _ in points], "o-", color=BLUE, markersize=3)
    shares.axhline(100 * _VANISHED, color=GREY, linewidth=1, linestyle=":")
    shares.set(title="items with a vanishing gradient", ylabel="%", xlabel=option, ylim=(-3, 103))
    compared = [(value, max(error, _LEAST_ERROR)) for value, _, error in points if math.isfinite(error)]
    errors.loglog(*zip(*compared, strict=True) if compared else ([], []), "o-", color=ORANGE, markersize=3)
    errors.axhline(_WRONG, color=GREY, linewidth=1, linestyle=":")
    errors.set(title="largest error of a float32 gradient", xlabel=option)
    for axis in (shares, errors):
        if not math.isnan(suggested):
            axis.axvline(suggested, color=GREY, linewidth=1.2)
        axis.set_xlim(min(values, default=1) / 1.5, max(values, default=1) * 1.5)
    figure.suptitle(title, fontsize=11)
    save(figure, path)
