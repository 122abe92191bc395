"""Pictures of the concept pages, each in a light and a dark version, computed by the library when the site is built."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import nlcore
from nlcore.plotting.figure import BLUE, COLOURS, GREY, ORANGE, figure_style, new_figure, render
from nlcore_sorting import NeuralSort, ranks

DOCS = Path(__file__).parent


def main(folder: Path = DOCS / "concepts") -> None:
    """Write all pictures."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    for name, draw in {"two-outputs": _two_outputs, "spectra": _spectra, "aims": _aims}.items():
        save(folder / name, draw())
    criterion = _trained()
    for scheme in ("light", "dark"):
        (folder / f"choice-{scheme}.png").write_bytes(criterion.plot(dark=scheme == "dark"))


def save(stem: Path, draw: Callable[[], Any]) -> None:
    """Write a figure as STEM-light.png and STEM-dark.png."""
    from matplotlib import rc_context

    for scheme in ("light", "dark"):
        with rc_context(figure_style(scheme == "dark")):
            stem.with_name(f"{stem.name}-{scheme}.png").write_bytes(render(draw()))


def _two_outputs() -> Callable[[], Any]:
    """The loss of two running totals, with the gradient and the Newton direction at one prediction."""
    loss, target = nlcore.make("sequences/prefix_sum"), torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([[1.5, -2.2]], dtype=torch.float64, requires_grad=True)
    step = nlcore.newton_step(loss, start, target, nlcore.GaussNewton(damping=1e-6))
    axis = torch.linspace(-2.8, 2.8, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        values = loss(grid, target.expand(len(grid), 2)).view(121, 121).mT
    y, newton, gradient = start.detach()[0], -step.direction[0], -step.gradient[0]
    gradient = gradient * (newton.norm() / gradient.norm())

    def draw() -> Any:
        figure = new_figure(6.6, 3.9)
        axes = figure.add_subplot()
        axes.contour(axis, axis, values, levels=[0.05, 0.3, 1, 2, 4, 7, 11], colors=GREY, linewidths=0.7)
        for arrow, colour, text in ((gradient, ORANGE, "negative gradient"), (newton, BLUE, "Newton step")):
            axes.annotate(
                "", y + arrow, y, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2, "shrinkA": 0, "shrinkB": 0}
            )
            axes.plot([], [], color=colour, label=text, lw=2)
        axes.plot(0, 0, "*", color=BLUE, ms=11, label="outputs with the lowest loss")
        axes.plot(*y, "o", color=GREY, label="prediction y")
        axes.set(xlabel="output 1", ylabel="output 2", aspect="equal", title="The loss of two running totals")
        axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(1.0, 0.0))
        return figure

    return draw


def _examples() -> dict[str, tuple[Any, Tensor, Tensor]]:
    """Return losses with predictions and targets of 16 outputs, float64."""
    given = torch.Generator().manual_seed(0)
    y, t = torch.randn(2, 64, 16, generator=given, dtype=torch.float64)
    blur = nlcore.make("bench/blur")
    return {
        "squared error": (nlcore.make("core/squared_error"), y, t),
        "NeuralSort": (NeuralSort(), y, ranks(t)),
        "running totals": (nlcore.make("sequences/prefix_sum"), y, t.cumsum(1)),
        "Gaussian blur": (blur, y, blur.inner(t)),
    }


def _spectra() -> Callable[[], Any]:
    """The eigenvalues of the mean curvature of four losses, in units of the largest."""
    spectra = {}
    for name, (loss, y, target) in _examples().items():
        shift = torch.zeros(y.shape[1], dtype=y.dtype)
        mean = torch.func.hessian(lambda s, loss=loss, y=y, target=target: loss(y + s, target).mean())(shift)
        values = torch.linalg.eigvalsh(mean).abs().sort(descending=True).values
        spectra[name] = values / values[0]

    def draw() -> Any:
        figure = new_figure(5.6, 3.3)
        axes = figure.add_subplot()
        for (name, values), colour, marker in zip(spectra.items(), COLOURS, "osD^", strict=False):
            axes.semilogy(range(1, len(values) + 1), values, marker=marker, ms=4, color=colour, label=name)
        axes.set(xlabel="direction of the 16 outputs", ylabel="curvature, largest = 1", ylim=(1e-7, 2))
        axes.legend(frameon=False)
        return figure

    return draw


def _trained() -> nlcore.NewtonLoss:
    """Return the default after a short training of a network on a body with drag, whose path alone is supervised."""
    torch.manual_seed(2)
    loss = nlcore.make("bench/drag")
    network = torch.nn.Sequential(torch.nn.Linear(16, 128), torch.nn.Tanh(), torch.nn.Linear(128, 16))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-2)
    criterion = nlcore.NewtonLoss(loss)
    for _ in range(200):
        seen = torch.randn(50, 16)
        optimizer.zero_grad()
        criterion(network(seen), loss.inner((2 * seen).sin())).backward()
        optimizer.step()
    return criterion


def _aims() -> Callable[[], Any]:
    """Loss and error of the outputs for both aims, with a small and a larger network: `examples/two_aims.py`."""
    sys.path.insert(0, str(DOCS.parent / "examples"))
    import two_aims

    found = {
        units: {
            name: torch.tensor([two_aims.train(make(), units, seed, 150) for seed in range(5)]).mean(0)
            for name, make in two_aims.METHODS.items()
        }
        for units in (4, 64)
    }

    def draw() -> Any:
        figure = new_figure(6.4, 3.2)
        for axes, place, label in zip(figure.subplots(1, 2), (0, 1), ("loss", "error of the outputs"), strict=True):
            for shift, (name, colour) in enumerate(zip(two_aims.METHODS, (GREY, BLUE, ORANGE), strict=True)):
                heights = [float(rows[name][place]) for rows in found.values()]
                axes.bar([0.28 * shift, 1.2 + 0.28 * shift], heights, 0.25, color=colour, label=name)
            axes.set(ylabel=label, xticks=[0.28, 1.48], xticklabels=[f"{units} hidden units" for units in found])
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
        return figure

    return draw


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
