"""Pictures of the guides: the blocks of a guide run, and their variables are drawn, for light and for dark pages."""

from __future__ import annotations

import contextlib
import io
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import nlcore
from nlcore.plotting.figure import BLUE, GREEN, GREY, ORANGE, VERMILION, figure_style, new_figure, render

__all__ = ["PICTURES", "draw_guide", "draw_guides", "run_blocks"]

GUIDES = Path(__file__).parent / "guides"
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LEFT_OUT = re.compile(r"^<!-- not run: .*-->\n```.*?^```$", re.MULTILINE | re.DOTALL)


def run_blocks(page: Path) -> types.SimpleNamespace:
    """Run the blocks of Python of a page that need no further package; return the variables they leave."""
    module = types.ModuleType("page_of_the_site")
    torch.manual_seed(0)
    for code in _BLOCK.findall(_LEFT_OUT.sub("", page.read_text(encoding="utf-8"))):
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, str(page), "exec"), module.__dict__)
    return types.SimpleNamespace(**{name: value for name, value in vars(module).items() if name[0] != "_"})


def draw_guide(name: str, folder: Path = GUIDES) -> list[Path]:
    """Write the pictures of a guide beside it and return their paths.

    Args:
        name: Of the page, without its ending.
        folder: Folder of the pictures.
    """
    from matplotlib import rc_context

    width, height, draw = PICTURES[name]
    values = run_blocks(GUIDES / f"{name}.md")
    written = []
    for scheme, dark in (("light", False), ("dark", True)):
        with rc_context(figure_style(dark)):
            figure = new_figure(width, height)
            draw(figure, values)
            written.append(folder / f"{name}-{scheme}.png")
            written[-1].write_bytes(render(figure))
    return written


def draw_guides() -> None:
    """Write the pictures of all guides."""
    torch.set_num_threads(1)
    for name in PICTURES:
        draw_guide(name)


def _curves(axis: Any, curves: dict[str, list[float]], every: int, *, label: str, colours: tuple[str, ...]) -> None:
    """Draw one line per method over the training steps."""
    for (name, curve), colour in zip(curves.items(), colours, strict=False):
        axis.plot([every * index for index in range(len(curve))], curve, color=colour, label=name)
    axis.set(xlabel="step", ylabel=label)
    axis.legend(frameon=False)


def _soft_ranks(figure: Any, values: types.SimpleNamespace) -> None:
    left, right = figure.subplots(1, 2)
    moving = torch.linspace(-1.0, 6.0, 281)
    lists = torch.cat([moving[:, None], torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(281, 4)], 1)
    for temperature, colour in ((2.0, ORANGE), (0.5, GREEN), (0.1, BLUE)):
        sorter = nlcore.make("sorting/neuralsort", temperature=temperature)
        left.plot(moving, sorter.rank(lists)[:, 0], color=colour, label=f"temperature {temperature:g}")
    left.plot(moving, values.nlcore_sorting.ranks(lists)[:, 0], color=GREY, linestyle=":", label="exact")
    left.set(xlabel="score of the item; the others have 1, 2, 3, 4", ylabel="rank of the item")
    left.legend(frameon=False)
    _curves(right, values.curves, 10, label="Spearman's ρ, held-out lists", colours=(GREY, VERMILION, BLUE))


def _learning_to_rank(figure: Any, values: types.SimpleNamespace) -> None:
    _curves(figure.subplots(), values.curves, 10, label="NDCG@10, held-out queries", colours=(GREY, VERMILION, BLUE))


def _shortest_paths(figure: Any, values: types.SimpleNamespace) -> None:
    maps, curves = figure.subfigures(1, 2, width_ratios=(3, 2))
    network, _ = values.runs["Fenchel–Young, plain"]
    with torch.no_grad():
        predicted = network(values.pictures[:3])
    hidden, shortest_path = values.hidden[:3], values.shortest_path
    for index, row in enumerate(maps.subplots(3, 3)):
        row[0].imshow(values.pictures[index].movedim(0, -1).clamp(0, 1))
        row[1].imshow(hidden[index], cmap="gray_r", vmin=0, vmax=10)
        row[2].imshow(predicted[index], cmap="gray_r", vmin=0)
        for axis, path, colour in zip(row[1:], (hidden[index], predicted[index]), (BLUE, ORANGE), strict=True):
            y, x = shortest_path(path).nonzero().T
            axis.plot(x, y, "o", color=colour, markersize=4)
        for axis, title in zip(row, ("picture", "hidden costs, best path", "predicted costs, path"), strict=True):
            axis.set_axis_off()
            axis.set_title(title if index == 0 else "", fontsize=9)
    axis = curves.subplots()
    lines = {name: curve for name, (_, curve) in values.runs.items()}
    _curves(axis, lines, 10, label="cost of the predicted path / best cost", colours=(VERMILION, BLUE, GREEN))


def _own_solver(figure: Any, values: types.SimpleNamespace) -> None:
    axis = figure.subplots()
    _curves(axis, values.curves, 10, label="regret on unseen samples, %", colours=(GREY, ORANGE, VERMILION, BLUE))
    axis.set_ylim(0, 15)


def _simulator(figure: Any, values: types.SimpleNamespace) -> None:
    left, right = figure.subplots(1, 2)
    colours = (VERMILION, BLUE, GREEN)
    curves = {name: curve for name, (_, curve) in values.runs.items()}
    _curves(left, curves, 10, label="error of the pushes, unseen signals", colours=colours)
    left.set_ylim(bottom=0)
    signal, pushes = values.batch(1)
    right.plot(pushes[0], "o", color=GREY, label="true")
    for (name, (network, _)), colour in zip(values.runs.items(), colours, strict=True):
        with torch.no_grad():
            right.plot(network(signal)[0], color=colour, label=name)
    right.set(xlabel="push", ylabel="strength")
    right.legend(frameon=False)


def _identify_a_system(figure: Any, values: types.SimpleNamespace) -> None:
    left, right = figure.subplots(1, 2)
    curves = {name: curve for name, (_, curve) in values.runs.items()}
    _curves(left, curves, 1, label="loss of a piece", colours=(VERMILION, BLUE, GREEN))
    left.set_yscale("log")
    network, _ = values.runs["NewtonLoss"]
    with torch.no_grad():
        paths = values.short.trajectory(network(), context=values.length)
    begins = (1900, 1903, 1907, 1910, 1914)
    for index, (animal, colour) in enumerate((("hares", ORANGE), ("lynxes", BLUE))):
        right.plot(range(1900, 1921), values.record[:, index].exp(), "o", color=colour, label=animal, markersize=4)
        for begin, path, count in zip(begins, paths, values.length["length"].tolist(), strict=True):
            right.plot(range(begin, begin + count), path[:count, index], color=colour)
    right.set(xlabel="year", ylabel="pelts in thousands", xticks=range(1900, 1921, 5))
    right.legend(frameon=False)


def _padding(figure: Any, values: types.SimpleNamespace) -> None:
    left, right = figure.subfigures(1, 2)
    axes = left.subplots(2, 1)
    for axis, sent, title in zip(
        axes, (values.without, values.with_mask), ("ignore_index", "with the mask"), strict=True
    ):
        size = sent.norm(dim=-1)
        axis.imshow(size / size.max(), cmap="viridis", vmin=0, vmax=1, aspect="auto")
        rows, columns = values.padded.nonzero().T
        axis.plot(columns, rows, "x", color="white", markersize=4)
        axis.set(title=f"{title}: size of the direction, × = padded", ylabel="sequence", xticks=range(6))
    axes[1].set_xlabel("token")
    colours = (VERMILION, BLUE, GREEN)
    _curves(right.subplots(), values.curves, 10, label="error of a number, unseen signals", colours=colours)


def _torch_losses(figure: Any, values: types.SimpleNamespace) -> None:
    axis = figure.subplots()
    _curves(axis, values.curves, 10, label="error of the numbers", colours=(GREY, ORANGE, VERMILION, BLUE))
    axis.set_ylim(bottom=0)


def _training_loop(figure: Any, values: types.SimpleNamespace) -> None:
    left, right = figure.subplots(1, 2)
    steps = range(10, 201, 10)
    for (name, log), colour in zip(values.logs.items(), (VERMILION, BLUE), strict=True):
        left.semilogy(steps, [entry["loss"] for entry in log], color=colour, label=name)
    left.set(xlabel="step", ylabel="loss on unseen batches")
    left.legend(frameon=False)
    right.plot(steps, [entry["progress"] for entry in values.logs["NewtonLoss"]], color=BLUE, label="chosen direction")
    right.axhline(1.0, color=GREY, linestyle=":", label="gradient")
    right.set(xlabel="step", ylabel="progress, of the gradient's")
    right.legend(frameon=False)


def _several_gpus(figure: Any, values: types.SimpleNamespace) -> None:
    axis = figure.subplots()
    for (name, errors), colour in zip(values.errors.items(), (VERMILION, BLUE), strict=True):
        axis.plot(range(5), errors, "o-", color=colour, label=f"{name}, each rank alone")
    axis.axhline(0, color=GREY, linestyle=":", label="summed over the ranks")
    axis.set(xticks=range(5), xticklabels=[1, 2, 4, 8, 16], xlabel="ranks, with 64 samples in all")
    axis.set_ylabel("difference to the step of one process")
    axis.legend(frameon=False)


def _opaque(figure: Any, values: types.SimpleNamespace) -> None:
    axis = figure.subplots()
    _curves(axis, values.curves, 10, label="loss on unseen inputs", colours=(VERMILION, BLUE, GREEN))
    axis.set_yscale("log")


def _numerics(figure: Any, values: types.SimpleNamespace) -> None:
    axis = figure.subplots()
    for (name, norms), colour, style in zip(values.norms.items(), (VERMILION, BLUE, GREY), "--:", strict=True):
        axis.loglog(values.temperatures, norms, style, color=colour, label=name, linewidth=3 if style == ":" else 1.5)
    axis.set(xlabel="temperature", ylabel="norm of the gradient")
    axis.legend(frameon=False)


PICTURES: dict[str, tuple[float, float, Callable[[Any, types.SimpleNamespace], None]]] = {
    "soft-ranks": (8.6, 3.2, _soft_ranks),
    "learning-to-rank": (5.6, 3.2, _learning_to_rank),
    "shortest-paths": (9.4, 4.4, _shortest_paths),
    "own-solver": (5.6, 3.2, _own_solver),
    "identify-a-system": (9.0, 3.6, _identify_a_system),
    "simulator": (8.6, 3.2, _simulator),
    "padding": (8.6, 3.6, _padding),
    "torch-losses": (5.6, 3.2, _torch_losses),
    "training-loop": (8.6, 3.2, _training_loop),
    "several-gpus": (5.6, 3.2, _several_gpus),
    "opaque": (5.6, 3.2, _opaque),
    "numerics": (5.6, 3.2, _numerics),
}
"""Width and height in inches, and the drawing, by the name of the page."""
