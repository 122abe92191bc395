"""The figure of a choice: the progress of every candidate over the steps, and which was in use when."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nlcore.errors import ConfigError
from nlcore.plotting.figure import BLACK, COLOURS, check_drawing, figure_style, new_figure, render

if TYPE_CHECKING:
    from nlcore.newton.selection import Probe

__all__ = ["draw_selection"]


def draw_selection(history: Sequence[Probe], names: Sequence[str], *, format: str = "png", dark: bool = False) -> bytes:
    """Return a picture of the probes of `Auto`, as the bytes of a file.

    Args:
        history: The probes.
        names: The candidates.
        format: `"png"`, `"svg"` or `"pdf"`.
        dark: Whether the colours are those of a dark page.

    Raises:
        ConfigError: There are no probes, the format is none of these, or matplotlib is not installed.
    """
    check_drawing(format)
    if not history:
        raise ConfigError(
            "There is nothing to draw: no probe is complete. NewtonLoss(loss) probes the network on its second step "
            "and later; a given curvature, Auto(aim='outputs') and a network that cannot be probed have no probes."
        )
    from matplotlib import rc_context
    from matplotlib.ticker import StrMethodFormatter

    with rc_context(figure_style(dark)):
        figure = new_figure(9.6, 5.0)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        steps = [probe.step for probe in history]
        colours = ("#d5d7e2" if dark else BLACK, *COLOURS, *COLOURS)
        for place, colour in enumerate(colours[: len(names)]):
            progress = [math.exp(probe.scores[place]) for probe in history]
            above.plot(steps, progress, color=colour, linewidth=1.5, linestyle="-" if place < 7 else "--")
            chosen = [probe.step for probe in history if probe.chosen == place]
            below.scatter(chosen, [place] * len(chosen), color=colour, s=14)
        above.set(yscale="log", ylabel="fall of the loss,\nthe gradient's own = 1")
        low, high = above.get_ylim()
        above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        if high < 10 * low:  # over less than a decade the default would write 1.04 as 1.04 × 10⁰
            above.yaxis.set_minor_formatter(StrMethodFormatter("{x:.3g}"))
        below.set(xlabel="step", ylabel="in use", yticks=range(len(names)), yticklabels=names)
        below.set_ylim(len(names) - 0.5, -0.5)
        below.tick_params(axis="y", labelsize=7)
        for text, colour in zip(below.get_yticklabels(), colours, strict=False):
            text.set_color(colour)
        return render(figure, format)
