"""Pictures of the page on the paper, computed by the library when the site is built: gradients, a loss, its model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from concept_pictures import save
from torch import Tensor

import nlcore
from nlcore.plotting.figure import BLUE, COLOURS, GREY, ORANGE, new_figure
from nlcore_bench.naive import NaiveEntries

DOCS = Path(__file__).parent
RELAXATIONS: dict[str, Callable[[float], Any]] = {
    "NeuralSort": lambda scale: nlcore.make("sorting/neuralsort", temperature=1 / scale, objective="entries"),
    "SoftSort": lambda scale: nlcore.make("sorting/softsort", temperature=1 / scale, objective="entries"),
    "logistic network": lambda scale: _network("logistic", scale),
    "Cauchy network": lambda scale: _network("cauchy", scale),
}
"""The relaxations by the scale that multiplies the scores; at 1 a temperature of 1, or a steepness of 10."""


def main(folder: Path = DOCS / "results") -> None:
    """Write all pictures."""
    torch.set_num_threads(1)
    for name, draw in {"directions": _directions, "naive": _naive, "landscape": _landscape}.items():
        save(folder / f"paper-{name}", draw())


def _network(distribution: str, scale: float) -> Any:
    return nlcore.make("sorting/diffsort", distribution=distribution, steepness=10 * scale, objective="entries")


def _swept(low: float, high: float, dtype: torch.dtype, count: int = 201) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores [count, 5] whose middle item goes from `low` to `high`, with the true ranks 0 … 4; and the path."""
    path = torch.linspace(low, high, count, dtype=dtype)
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=dtype).repeat(count, 1)
    scores[:, 2] = path
    return scores, torch.arange(5).expand(count, 5), path


def _directions() -> Callable[[], Any]:
    """The component of the moved score in the gradient and in the Newton directions, in units of the largest."""
    methods = {
        "gradient": None,
        "Fisher": nlcore.EmpiricalFisher(damping=nlcore.Relative(0.1)),
        "Hessian": nlcore.Hessian(damping=nlcore.Relative(0.1), psd="abs"),
    }
    scores, ranks, path = _swept(-3.0, 7.0, torch.float64)
    found: dict[str, dict[str, Tensor]] = {}
    for name, make in RELAXATIONS.items():
        for word, curvature in methods.items():
            step = nlcore.newton_step(make(1.0), scores, ranks, curvature or nlcore.EmpiricalFisher(damping=1.0))
            along = -(step.gradient if curvature is None else step.direction)[:, 2]
            found.setdefault(name, {})[word] = along / along.abs().max()

    def draw() -> Any:
        figure = new_figure(9.0, 2.9)
        for axes, (name, lines) in zip(figure.subplots(1, 4, sharey=True), found.items(), strict=True):
            for (word, along), colour in zip(lines.items(), (GREY, ORANGE, BLUE), strict=True):
                axes.plot(path, along, color=colour, label=word, lw=1.6)
            axes.set(title=name, xlabel="score of the middle item")
            axes.axvspan(1, 3, color=GREY, alpha=0.12, lw=0)
        figure.axes[0].set_ylabel("its step, largest = 1")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
        return figure

    return draw


def _naive() -> Callable[[], Any]:
    """The norm of the exact and of the naive gradient in float32, along a score that is moved to a wrong place."""
    scores, ranks, path = _swept(2.0, 7.0, torch.float32, 401)
    found: dict[str, dict[str, Tensor]] = {}
    for name, make in RELAXATIONS.items():
        for scale, words in ((1.0, ""), (10.0, ", scores 10 times as large")):
            exact = make(scale)
            for kind, loss in (("exact", exact), ("naive", NaiveEntries(exact))):
                leaf = scores.clone().requires_grad_()
                (gradient,) = torch.autograd.grad(loss(leaf, ranks).sum(), leaf)
                found.setdefault(name, {})[f"{kind}{words}"] = gradient.norm(dim=1).clamp_min(1e-8)

    def draw() -> Any:
        figure = new_figure(9.0, 3.1)
        for axes, (name, lines) in zip(figure.subplots(1, 4, sharey=True), found.items(), strict=True):
            for index, (word, norms) in enumerate(lines.items()):
                axes.semilogy(path, norms, color=COLOURS[index // 2], label=word, lw=1.2, ls=("--", "-")[index % 2])
            axes.set(title=name, xlabel="score of the middle item")
        figure.axes[0].set_ylabel("norm of the gradient")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        return figure

    return draw


def _landscape() -> Callable[[], Any]:
    """The loss of three scores, one of them held, with its quadratic model at a prediction and the steps from there."""
    axis, start, ranks = torch.linspace(-2.5, 2.5, 101, dtype=torch.float64), (-0.9, 0.8), torch.tensor([[1, 2, 0]])
    grid = torch.cartesian_prod(axis, axis)
    held = torch.cat([grid, torch.zeros(len(grid), 1, dtype=torch.float64)], dim=1)
    makers = {
        "NeuralSort": nlcore.make("sorting/neuralsort", temperature=0.7, objective="entries"),
        "Cauchy network": nlcore.make("sorting/diffsort", distribution="cauchy", steepness=4.0, objective="entries"),
    }
    found: dict[str, tuple[Tensor, Tensor, dict[str, Tensor]]] = {}
    for name, loss in makers.items():
        point = torch.tensor([[*start, 0.0]], dtype=torch.float64)
        hessian = torch.autograd.functional.hessian(lambda y, loss=loss: loss(y, ranks).sum(), point)[0, :, 0]
        leaf = point.clone().requires_grad_()
        value = loss(leaf, ranks)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        shift = held - point
        model = value.detach() + shift @ gradient[0] + 0.5 * (shift @ hessian * shift).sum(1)
        steps = {"gradient": -gradient[0]}
        for word, psd in (("H, as it is", "none"), ("|H|", "abs")):
            curvature = nlcore.Hessian(damping=nlcore.Relative(0.1), psd=psd)
            steps[word] = -nlcore.newton_step(loss, point, ranks, curvature).direction[0]
        with torch.no_grad():
            true = loss(held, ranks.expand(len(held), 3))
        found[name] = (true.view(101, 101).mT, model.view(101, 101).mT, steps)

    def draw() -> Any:
        figure = new_figure(8.4, 3.9)
        for axes, (name, (true, model, steps)) in zip(figure.subplots(1, 2), found.items(), strict=True):
            levels = torch.quantile(true.flatten(), torch.linspace(0.04, 0.96, 9, dtype=torch.float64)).unique()
            axes.contour(axis, axis, true, levels=levels, colors=GREY, linewidths=0.8)
            axes.contour(axis, axis, model, levels=levels, colors=COLOURS[2], linewidths=0.8, linestyles="dashed")
            for (word, step), colour in zip(steps.items(), (ORANGE, COLOURS[4], BLUE), strict=True):
                seen = step[:2] - step[2]  # the loss depends on differences, and the third score is drawn at 0
                reached = torch.tensor(start) + seen * min(1.0, 1.5 / seen.norm().item())
                axes.annotate("", reached, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2})
                axes.plot([], [], color=colour, label=word, lw=2)
            axes.plot([], [], color=GREY, label="loss")
            axes.plot([], [], color=COLOURS[2], ls="--", label="quadratic model")
            axes.set(title=name, xlabel="score of the middle item", aspect="equal")
        figure.axes[0].set_ylabel("score of the largest item")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
        return figure

    return draw


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
