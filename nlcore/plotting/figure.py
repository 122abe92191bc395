"""Figures without a display: the palette, a new figure, and its file as bytes. Needs matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from nlcore.errors import ConfigError, nearest

__all__ = [
    "BLACK",
    "BLUE",
    "COLOURS",
    "GREEN",
    "GREY",
    "ORANGE",
    "PINK",
    "SKY",
    "VERMILION",
    "check_drawing",
    "check_matplotlib",
    "figure_style",
    "legend_once",
    "new_figure",
    "panels",
    "render",
    "save",
]

# Okabe and Ito's palette, which is readable with any colour vision.
BLACK, GREY = "#000000", "#777777"
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILION, SKY = "#D55E00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PINK, VERMILION, SKY)
"""Colours of lines, in order; `BLACK` or `GREY` is for what they are compared with."""

_FORMATS = ("png", "svg", "pdf")

_METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def check_matplotlib() -> None:
    """Raise an error with the install command unless matplotlib can be imported.

    Raises:
        ConfigError: matplotlib cannot be imported.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"A picture needs matplotlib, which cannot be imported ({error}). Run: pip install matplotlib."
        ) from error


def check_drawing(format: str) -> None:
    """Raise the errors of `draw` before anything is computed.

    Args:
        format: As for `draw`.

    Raises:
        ConfigError: The format is unknown, or matplotlib is not installed.
    """
    if format not in _FORMATS:
        choices = ", ".join(map(repr, _FORMATS))
        raise ConfigError(f"a picture has no format {format!r}{nearest(format, _FORMATS)}; choose one of {choices}.")
    check_matplotlib()


def figure_style(dark: bool) -> Any:
    """Return the settings of matplotlib for a light or a dark page."""
    ink, paper = ("#d5d7e2", "#1e2129") if dark else ("#222222", "#ffffff")
    return {
        "figure.facecolor": paper,
        "axes.facecolor": paper,
        "savefig.facecolor": paper,
        "legend.facecolor": paper,
        "axes.edgecolor": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "text.color": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "axes.titlesize": 10,
        "axes.labelsize": 9,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.fontsize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "nlcore",
    }


def new_figure(width: float, height: float, *, dpi: int = 120) -> Any:
    """Return an empty `matplotlib.figure.Figure` that needs neither pyplot nor a display.

    Args:
        width: In inches.
        height: In inches.
        dpi: Pixels per inch of the file.

    Raises:
        ConfigError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=dpi, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panels(figure: Any, count: int, columns: int, **options: Any) -> list[Any]:
    """Return `count` axes in rows of `columns`; the rest of the last row stays empty.

    Args:
        figure: As `new_figure` makes it.
        count: Number of axes.
        columns: Axes in a row.
        options: Options of `figure.subplots`.
    """
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, **options).ravel()
    for axis in axes[count:]:
        axis.set_axis_off()
    return list(axes[:count])


def legend_once(owner: Any, *axes: Any, **options: Any) -> None:
    """Draw a legend with every label of some axes once, where several of their artists share it.

    Args:
        owner: The figure, or the axes, that gets the legend.
        axes: The axes with the labels.
        options: Options of `owner.legend`.
    """
    known: dict[str, Any] = {}
    for handles, labels in (one.get_legend_handles_labels() for one in axes):
        known |= dict(zip(labels, handles, strict=True))
    owner.legend(known.values(), known.keys(), **{"frameon": False, **options})


def render(figure: Any, format: str = "png") -> bytes:
    """Return the content of the file of a figure; the same figure gives the same bytes.

    Args:
        figure: As `new_figure` makes it.
        format: One of `figure.canvas.get_supported_filetypes()`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, metadata=_METADATA.get(format))
    return buffer.getvalue()


def save(figure: Any, path: Path) -> None:
    """Write a figure into a file, in the format of its ending.

    Raises:
        ConfigError: The ending names no format that matplotlib can write, or the file cannot be written.
    """
    format = path.suffix[1:].lower()
    if format not in figure.canvas.get_supported_filetypes():
        raise ConfigError(f"{path.name!r}: a picture needs an ending such as .png, .svg or .pdf.")
    try:
        path.write_bytes(render(figure, format))
    except OSError as error:
        raise ConfigError(f"The picture cannot be written: {error}.") from error
