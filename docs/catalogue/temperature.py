"""The picture of the guide on temperatures: where gradients vanish, for lists of different length."""

from __future__ import annotations

from pathlib import Path

import torch

import nlcore
from nlcore.plotting.figure import COLOURS, figure_style, new_figure, render
from nlcore.tuning import Tuning

__all__ = ["draw_temperature"]

_SIZES = (5, 30, 100)


def draw_temperature(stem: Path) -> None:
    """Draw the share of items with a vanishing gradient of NeuralSort, for light and for dark pages.

    Args:
        stem: Path of the pictures without `-light.png` and `-dark.png`.
    """
    from matplotlib import rc_context

    found = {n: _tuned(n) for n in _SIZES}
    for scheme, dark in (("light", False), ("dark", True)):
        with rc_context(figure_style(dark)):
            figure = new_figure(7.6, 2.9)
            for axis, unit in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
                for (n, tuning), colour in zip(found.items(), COLOURS, strict=False):
                    scale = tuning.gap if unit else 1.0
                    values = [one.value / scale for one in tuning.points]
                    shares = [100 * one.vanished for one in tuning.points]
                    axis.semilogx(values, shares, "o-", color=colour, markersize=3, label=f"{n} items")
                    axis.axvline(tuning.value / scale, color=colour, linewidth=0.9, linestyle=":")
                axis.set_xlabel("temperature, in gaps" if unit else "temperature")
            figure.axes[0].set_ylabel("items with a vanishing gradient, %")
            figure.axes[0].legend(frameon=False)
            stem.with_name(f"{stem.name}-{scheme}.png").write_bytes(render(figure))


def _tuned(n: int) -> Tuning:
    generator = torch.Generator().manual_seed(0)
    scores, values = torch.randn(2, 64, n, generator=generator)
    return nlcore.tune("sorting/neuralsort", scores, values.argsort(-1).argsort(-1))
