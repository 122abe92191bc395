"""The figure of a sweep: relaxation and loss above, gradient and Newton directions below. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch

from nlcore.plotting.figure import COLOURS, check_drawing, figure_style, new_figure, render
from nlcore.plotting.sweep import Sweep

__all__ = ["draw"]

_MOST_LINES = 6

Panel: TypeAlias = Callable[[Any, Sweep], None]


def draw(found: Sweep, *, title: str = "", format: str = "png", dark: bool = False) -> bytes:
    """Return a picture of a sweep, as the bytes of a file.

    Args:
        found: The sweep.
        title: The line above the panels; none when empty.
        format: `"png"`, `"svg"` or `"pdf"`.
        dark: Whether the colours are those of a dark page.

    Raises:
        ConfigError: The format is none of these, or matplotlib is not installed.
    """
    check_drawing(format)
    from matplotlib import rc_context

    with rc_context(figure_style(dark)):
        panels = [panel for panel, there in ((_matrix, found.matrix), (_lines, found.lines)) if there is not None]
        figure = new_figure(9.6, 5.4 if panels else 2.9)
        if panels:
            above, below = figure.subfigures(2, 1)
            _draw_row(above, found, [*panels, _value])
            _draw_fields(below, found, [])
        else:
            _draw_fields(figure, found, [_value])
        if title:
            figure.suptitle(title, fontsize=12)
        return render(figure, format)


def _draw_row(part: Any, found: Sweep, panels: list[Panel]) -> None:
    for axis, panel in zip(part.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axis, found)


def _draw_fields(part: Any, found: Sweep, before: list[Panel]) -> None:
    shown = _shown(found)
    axes = part.subplots(1, len(before) + len(found.fields), squeeze=False)[0]
    for axis, panel in zip(axes, before, strict=False):
        panel(axis, found)
    for axis, field in zip(axes[len(before) :], found.fields, strict=True):
        for colour, output in zip(COLOURS, shown, strict=False):
            label = found.label(output) + (" (moving)" if output == found.moving else "")
            width = 2.2 if output == found.moving else 1.3
            axis.plot(
                found.places.tolist(), field.vectors[:, output].tolist(), color=colour, linewidth=width, label=label
            )
        axis.axhline(0, color="grey", linewidth=0.6)
        axis.set(title=field.title, ylabel="∂ℓ/∂y" if field is found.fields[0] else "direction")
        _along(axis, found)
    handles, labels = axes[-1].get_legend_handles_labels()
    part.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)


def _shown(found: Sweep) -> list[int]:
    """Return the moving output, then those whose gradient changes most, at most six in all."""
    gradient = found.fields[0].vectors
    change = gradient.amax(0) - gradient.amin(0)
    ordered = [int(i) for i in change.argsort(descending=True) if int(i) != found.moving][: _MOST_LINES - 1]
    return [found.moving, *sorted(ordered)]


def _matrix(axis: Any, found: Sweep) -> None:
    title, columns, rows = found.matrix_title
    matrix = found.matrix if found.matrix is not None else torch.zeros(1, 1)
    image = axis.imshow(matrix.tolist(), cmap="viridis", vmin=0, vmax=max(1.0, float(matrix.max())))
    axis.figure.colorbar(image, ax=axis, shrink=0.85)
    axis.set(title=title, xlabel=columns, ylabel=rows)
    if max(matrix.shape) <= 12:
        axis.set_xticks(range(matrix.shape[1]))
        axis.set_yticks(range(matrix.shape[0]))


def _lines(axis: Any, found: Sweep) -> None:
    lines = found.lines if found.lines is not None else torch.zeros(len(found.places), 0)
    one_each = lines.shape[1] == found.fields[0].vectors.shape[1]
    places = _shown(found) if one_each else list(range(min(_MOST_LINES, lines.shape[1])))
    for colour, place in zip(COLOURS, places, strict=False):
        width = 2.2 if one_each and place == found.moving else 1.3
        axis.plot(found.places.tolist(), lines[:, place].tolist(), color=colour, linewidth=width)
    if found.exact is not None:
        axis.plot(
            found.places.tolist(), found.exact.tolist(), color="grey", linewidth=1.2, linestyle="--", label="exact"
        )
        axis.legend(frameon=False)
    axis.set_title(found.lines_title)
    _along(axis, found)


def _value(axis: Any, found: Sweep) -> None:
    axis.plot(found.places.tolist(), found.value.tolist(), color="grey", linewidth=2.2)
    axis.set_title("loss")
    _along(axis, found)


def _along(axis: Any, found: Sweep) -> None:
    axis.axvline(found.start, color="grey", linewidth=0.8, linestyle=":", label="value in the example")
    axis.set_xlabel(found.label(found.moving))
    axis.margins(x=0)
