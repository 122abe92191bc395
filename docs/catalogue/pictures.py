"""Pictures of an algorithm: the sweep of its page, and the thumbnail of its card, for light and dark pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nlcore.plotting import Sweep, draw, sweep
from nlcore.plotting.figure import BLUE, ORANGE, SKY, figure_style, new_figure, render

__all__ = ["draw_pictures"]

_CAPTION = (
    "One sample of the built-in example. One output varies, and all others stay fixed; the dotted line marks the value "
    "of this output in the example. The last panels show what the network receives at each output (at most six are "
    "drawn): first the gradient of the plain loss, then Newton steps. A title names the curvature matrix of the step, "
    "which is the mean over a batch; ρ is the relative damping. "
    "[How to read it](../../reference/pictures.md#how-to-read-one)."
)


def draw_pictures(loss: Any, name: str, stem: Path, points: int) -> tuple[str, str]:
    """Write the picture of a page and the thumbnail of a card.

    Args:
        loss: The loss.
        name: Of the algorithm.
        stem: Path of the page without its ending.
        points: At how many places the loss is evaluated.

    Returns:
        Markdown of the picture, or why there is none; and the alternative text of the thumbnail, or nothing.
    """
    try:
        found = sweep(loss, points=points, batch_size=24)
    except Exception as error:
        return f"There is no picture: {type(error).__name__}: {error}", ""
    lines = []
    for scheme, dark in (("light", False), ("dark", True)):
        file = stem.with_name(f"{stem.name}-{scheme}.png")
        file.write_bytes(draw(found, dark=dark))
        stem.with_name(f"{stem.name}-thumb-{scheme}.png").write_bytes(_thumbnail(found, dark))
        lines.append(f"[![{_seen(found, name)}]({file.name}#only-{scheme}){{ loading=lazy }}]({file.name})")
    left = f"{found.matrix_title[0]} and " if found.matrix is not None else ""
    return "\n".join(lines) + f"\n\n{_CAPTION}", f"{name}: {left}loss while one output varies".replace("]", "")


def _seen(found: Sweep, name: str) -> str:
    """Return the alternative text of the picture."""
    above = [
        *([f"the {found.matrix_title[0]}"] if found.matrix is not None else []),
        *([f"the {found.lines_title}"] if found.lines is not None else []),
        "the loss",
    ]
    turned = ", ".join(field.title for field in found.fields[1:])
    fields = f"the gradient and the directions with {turned}" if turned else "the gradient"
    way = f"from {found.places[0]:.2g} to {found.places[-1]:.2g}"
    return f"{name} while one output varies {way}: {', '.join(above)}; below {fields}, one line for each output"


def _thumbnail(found: Sweep, dark: bool) -> bytes:
    """Return a small picture without labels: the relaxed matrix, and loss and gradient along the moving output."""
    from matplotlib import rc_context

    with rc_context(figure_style(dark)):
        figure = new_figure(4.0, 1.8, dpi=100)
        wide = found.matrix is None
        axes = figure.subplots(1, 1 if wide else 2, squeeze=False, width_ratios=None if wide else (1, 1.6))[0]
        if found.matrix is not None:
            matrix = found.matrix
            axes[0].imshow(matrix.tolist(), cmap="viridis", vmin=0, vmax=max(1.0, float(matrix.max())))
            axes[0].set_axis_off()
        _curves(axes[-1], found, SKY if dark else BLUE)
        return render(figure)


def _curves(axis: Any, found: Sweep, colour: str) -> None:
    places, value = found.places.tolist(), found.value.tolist()
    axis.plot(places, value, color=colour, linewidth=2.4)
    other = axis.twinx()
    other.plot(places, found.fields[0].vectors[:, found.moving].tolist(), color=ORANGE, linewidth=1.4)
    for one in (axis, other):
        one.set_xticks([])
        one.set_yticks([])
        one.margins(x=0)
        for spine in one.spines.values():
            spine.set_visible(False)
    axis.text(0.02, 0.98, "loss", color=colour, transform=axis.transAxes, va="top", fontsize=9)
    axis.text(0.98, 0.98, "gradient", color=ORANGE, transform=axis.transAxes, va="top", ha="right", fontsize=9)
