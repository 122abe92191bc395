"""The picture of the guide on permutation matrices: which index is the rank and which the item."""

from __future__ import annotations

from pathlib import Path

from nlcore.plotting.figure import new_figure, render

__all__ = ["draw_permutation"]


def draw_permutation(stem: Path) -> None:
    """Draw the matrix of the guide on conventions, for light and for dark pages."""
    from matplotlib import rc_context

    items = (3, 1, 4, 2)
    places = sorted(range(4), key=items.__getitem__)
    for name, ink, paper, on in (("light", "#222222", "#ffffff", "#4051b5"), ("dark", "#d5d7e2", "#1e2129", "#7e8fe8")):
        with rc_context({"text.color": ink, "figure.facecolor": paper, "savefig.facecolor": paper, "font.size": 11}):
            figure = new_figure(5.6, 3.4)
            figure.set_layout_engine("none")
            axis = figure.add_axes((0.02, 0.02, 0.96, 0.96))
            axis.set(xlim=(-1.6, 6.2), ylim=(4.3, -1.9))
            axis.set_axis_off()
            for row in range(4):
                for column in range(4):
                    there = places[row] == column
                    box = {"boxstyle": "square,pad=0.55", "facecolor": on if there else paper, "edgecolor": ink}
                    color = paper if there else ink
                    axis.text(column, row, "1" if there else "0", ha="center", va="center", bbox=box, color=color)
                axis.text(-0.8, row, f"rank {row}", ha="right", va="center", fontsize=10)
                axis.text(row, -0.8, f"item {row}\nscore {items[row]}", ha="center", va="center", fontsize=9)
                axis.text(4.1, row, f"→   {items[places[row]]}", va="center")
            axis.text(1.5, -1.7, "columns: items", ha="center", fontsize=10, style="italic")
            axis.text(4.1, -0.8, "P @ scores", va="center", fontsize=10, style="italic")
            stem.with_name(f"{stem.name}-{name}.png").write_bytes(render(figure))
