"""Maps, their hidden costs, what a network made of them, and the paths through both."""

from __future__ import annotations

import io
from typing import Any

import torch
from torch import Tensor, nn

from nlcore_bench.tasks.paths import Paths

__all__ = ["draw_paths"]

_MAPS = 5
_TRUE, _PREDICTED = "#0072B2", "#E69F00"  # told apart with any colour vision


def draw_paths(task: Paths, model: nn.Module, title: str) -> bytes:
    """Return a PNG of the first test maps: pictures, true costs with the true path, predicted costs with theirs.

    Args:
        task: Where the maps are.
        model: The network that predicts costs.
        title: One line above.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from nlcore_shortest_paths import path_cost, shortest_path

    maps = task.maps("test")
    images, costs, labels = maps.images[:_MAPS], maps.costs[:_MAPS], maps.paths[:_MAPS]
    with torch.no_grad():
        predicted = model(images)
    paths = shortest_path(predicted)
    ratio = (path_cost(costs, paths) / path_cost(costs, labels)).tolist()
    figure = Figure(figsize=(2.3 * len(images), 7.6), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, len(images), squeeze=False)
    for column, place in enumerate(range(len(images))):
        picture, true, guess = axes[:, column]
        picture.imshow(images[place].numpy())
        picture.set_title(f"cost {ratio[place]:.3f} × best", fontsize=10)
        true.imshow(costs[place].numpy(), cmap="gray_r", vmin=0, vmax=12)
        guess.imshow(predicted[place].numpy(), cmap="gray_r")
        scale = images.shape[1] / costs.shape[1]
        for axis, size in ((picture, scale), (true, 1.0), (guess, 1.0)):
            _mark(axis, labels[place], size, color=_TRUE, marker="o", markersize=6, fillstyle="none")
            _mark(axis, paths[place], size, color=_PREDICTED, marker="x", markersize=4)
            axis.set_xticks([])
            axis.set_yticks([])
    for axis, words in zip(axes[:, 0], ("what the network sees", "hidden costs", "predicted costs"), strict=True):
        axis.set_ylabel(words, fontsize=10)
    figure.suptitle(f"{title}\n○ shortest path by the hidden costs, × by the predicted ones", fontsize=11)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _mark(axis: Any, path: Tensor, size: float, **style: Any) -> None:
    """Put a mark into each cell of a path; a cell is `size` pixels wide."""
    rows, columns = path.nonzero().T
    axis.plot((columns + 0.5) * size - 0.5, (rows + 0.5) * size - 0.5, linestyle="none", **style)
