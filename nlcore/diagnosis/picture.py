"""The figure of a diagnosis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nlcore.diagnosis.figures import RHOS
from nlcore.newton.damping import Bounded
from nlcore.plotting.figure import BLUE, GREY, ORANGE, new_figure, save

if TYPE_CHECKING:
    from nlcore.diagnosis.report import Diagnosis

__all__ = ["draw"]


def draw(diagnosis: Diagnosis, path: Path) -> None:
    """Draw three panels: spectrum, amplification against damping with its limit, norms of the gradients.

    Raises:
        ConfigError: matplotlib is missing or does not support the ending of the name, or the file cannot be written.
    """
    figure = new_figure(10.5, 3.1, dpi=110)
    spectrum, dispersion, gradients = figure.subplots(1, 3)
    _spectrum(spectrum, diagnosis)
    _dispersion(dispersion, diagnosis)
    _gradients(gradients, diagnosis)
    outputs = (
        "" if diagnosis.verdict_outputs == diagnosis.verdict else f"; for the outputs: {diagnosis.verdict_outputs}"
    )
    figure.suptitle(f"{diagnosis.loss}: {diagnosis.verdict}{outputs}", fontsize=11)
    save(figure, path)


def _spectrum(axes: Any, diagnosis: Diagnosis) -> None:
    curved = diagnosis.spectrum[diagnosis.flat_directions :]
    axes.semilogy(range(1, len(curved) + 1), curved[::-1], "o-", color=BLUE, markersize=3, linewidth=1)
    axes.set_title(f"{diagnosis.curvature}, condition {diagnosis.condition:.3g}", fontsize=9)
    axes.set_xlabel("direction")
    axes.set_ylabel("curvature")
    _plain_decades(axes, curved)


def _plain_decades(axes: Any, values: Sequence[float]) -> None:
    """Label the powers of ten alone on a logarithmic axis, and show at least two of them."""
    from matplotlib.ticker import NullFormatter

    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    positive = [value for value in values if 0 < value < math.inf]
    if positive and max(positive) < 10 * min(positive):
        low = math.floor(math.log10(min(positive)))
        axes.set_ylim(10.0**low, 10.0 ** max(low + 1, math.ceil(math.log10(max(positive)))))


def _dispersion(axes: Any, diagnosis: Diagnosis) -> None:
    axes.set_title("what one matrix for the batch amplifies", fontsize=9)
    axes.set_xlabel("damping ρ")
    if not diagnosis.amplification:
        axes.text(0.5, 0.5, "no second derivative", ha="center", transform=axes.transAxes, color=GREY)
        return
    axes.loglog(RHOS, diagnosis.amplification, "o-", color=BLUE, label="at the prediction")
    if diagnosis.amplification_further:
        axes.loglog(RHOS, diagnosis.amplification_further, "s--", color=ORANGE, label="further on")
    axes.axhline(Bounded().limit, color=GREY, linewidth=1, linestyle=":", label="limit")
    axes.set_ylabel("amplification")
    _plain_decades(axes, [*diagnosis.amplification, *diagnosis.amplification_further, Bounded().limit])
    axes.legend(fontsize=7, frameon=False)


def _gradients(axes: Any, diagnosis: Diagnosis) -> None:
    norms = [math.log10(norm) for norm in diagnosis.gradient_norms if norm > 0 and math.isfinite(norm)]
    axes.hist(norms, bins=24, color=BLUE)
    axes.set_title(f"gradients, largest to median {diagnosis.gradient_ratio:.3g}", fontsize=9)
    axes.set_xlabel("log10 of a sample's gradient norm")
    axes.set_ylabel("samples")
