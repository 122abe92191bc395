"""`nlcore bench paths --speed`: solvers and losses beside other libraries, in turns, in processor time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from nlcore_bench.engine.clock import Timing, interleaved
from nlcore_bench.files import write_whole
from nlcore_bench.paths_peers import algovision_path, heap_path, pyepo_model
from nlcore_bench.terrain import COSTS
from nlcore_bench.train import one_thread
from nlcore_shortest_paths import BellmanFord, BlackBox, available_backends, perturbed, shortest_path

__all__ = ["run_paths_speed"]

_SIDE, _BATCH, _SOLVED, _SAMPLES = 12, 100, 300, 3

Calls = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class _Group:
    """Ways to do the same thing; times are compared to the first.

    Attributes:
        title: What is done.
        calls: Who does it.
        maps: Number of maps in a call.
    """

    title: str
    calls: Calls
    maps: int


def run_paths_speed(folder: Path, *, quick: bool = False) -> str:
    """Time everything, write `speed.md` and `speed.json`, return the table.

    Args:
        folder: Made if it is not there.
        quick: The fewest rounds.
    """
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        found = [(group, interleaved(group.calls, 0.0 if quick else 15.0)) for group in _groups()]
    folder.mkdir(parents=True, exist_ok=True)
    table = _table(found)
    rows = [
        {"group": group.title, "contender": name, "maps": group.maps, **asdict(timing)}
        for group, timings in found
        for name, timing in timings.items()
    ]
    write_whole(folder / "speed.md", table)
    write_whole(folder / "speed.json", json.dumps(rows, indent=1) + "\n")
    return table


def _maps(count: int) -> Tensor:
    """Return noisy costs of the five kinds of ground, as a network in training predicts them, [count, 12, 12]."""
    generator = torch.Generator().manual_seed(count)
    kinds = torch.randint(len(COSTS), (count, _SIDE, _SIDE), generator=generator)
    noise = torch.randn(kinds.shape, generator=generator)
    return (torch.tensor(COSTS)[kinds] + noise).clamp(min=0.1)


def _groups() -> Iterator[_Group]:
    costs = _maps(_SOLVED)
    solve: Calls = {
        "Python heap Dijkstra on an array, to the end": lambda: [heap_path(one, stop=False) for one in costs.numpy()],
        "Python heap Dijkstra on lists, to the goal": lambda: [heap_path(one) for one in costs.tolist()],
    }
    solve.update({f"nlcore, {name}": _solver(costs, name) for name in _backends()})
    yield _Group(f"exact solution of {_SIDE}×{_SIDE} maps", solve, _SOLVED)
    predicted, target = _maps(_BATCH), shortest_path(_maps(_BATCH).flip(0))
    for loop in ("for", "while"):
        yield _Group(f"relaxed Bellman–Ford, {loop}: loss and gradient", _relaxed(loop, predicted, target), _BATCH)
    yield _Group(f"perturbed Fenchel–Young, {_SAMPLES} samples: loss and gradient", _young(predicted, target), _BATCH)
    yield _Group("black box: loss and gradient", _black(predicted, target), _BATCH)


def _backends() -> tuple[Literal["torch", "numba"], ...]:
    """Return the back ends that work in float32."""
    return ("torch", "numba") if "numba" in available_backends() else ("torch",)


def _solver(costs: Tensor, backend: Literal["torch", "numba"]) -> Callable[[], object]:
    return lambda: shortest_path(costs, backend=backend)


def _relaxed(loop: str, costs: Tensor, target: Tensor) -> Calls:
    options: Any = {"loop": loop, "iterations": 2 * _SIDE + 1}
    loss = BellmanFord(**options)
    calls: Calls = {}
    try:
        peer = algovision_path(options["loop"], options["iterations"])
        calls["AlgoVision"] = lambda: _backward(lambda c: (peer(c) - target).square().sum(), costs)
    except ImportError:
        pass
    calls["nlcore"] = lambda: _backward(lambda c: loss(c, target).sum(), costs)
    return calls


def _young(costs: Tensor, target: Tensor) -> Calls:
    calls: Calls = {}
    try:
        from pyepo.func import perturbedFenchelYoung

        peer = perturbedFenchelYoung(pyepo_model(_SIDE), n_samples=_SAMPLES, sigma=1.0)
        calls["PyEPO, Python heap Dijkstra"] = lambda: _backward(lambda c: peer(c.flatten(1), target.flatten(1)), costs)
    except ImportError:
        pass
    calls.update({f"nlcore, {name}": _young_by(costs, target, name) for name in _backends()})
    return calls


def _young_by(costs: Tensor, target: Tensor, backend: Literal["torch", "numba"]) -> Callable[[], object]:
    """Return what `PerturbedFenchelYoung` does, with a back end of choice."""

    def call() -> Tensor:
        noise = perturbed.draw_noise(costs, _SAMPLES)
        moved = (costs + noise).clamp_(min=1e-3)
        found = perturbed.solutions(lambda c: shortest_path(c, backend=backend), moved)
        return perturbed.fenchel_young(moved, target, found).mean() + (target - found.mean(0)).sum()

    return call


def _black(costs: Tensor, target: Tensor) -> Calls:
    calls: Calls = {}
    try:
        from pyepo.func import blackboxOpt

        peer = blackboxOpt(pyepo_model(_SIDE), lambd=20.0)
        calls["PyEPO, Python heap Dijkstra"] = lambda: _backward(
            lambda c: (peer(c.flatten(1)) - target.flatten(1)).abs().sum(), costs
        )
    except ImportError:
        pass
    loss = BlackBox()
    calls["nlcore"] = lambda: _backward(lambda c: loss(c, target).sum(), costs)
    return calls


def _backward(loss: Callable[[Tensor], Tensor], costs: Tensor) -> None:
    torch.autograd.backward(loss(costs.clone().requires_grad_()))


def _table(found: list[tuple[_Group, dict[str, Timing]]]) -> str:
    """Return the times as Markdown."""
    lines = [
        "# Shortest paths, side by side",
        "",
        f"torch {torch.__version__}, one thread, float32; medians of interleaved rounds in processor time. An epoch is "
        "10 000 maps.",
        "",
        "| | | ms a call | maps | maps a second | s an epoch | times as fast as the first |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for group, timings in found:
        for name, timing in timings.items():
            middle = timing.milliseconds[1]
            cells = (
                group.title,
                name,
                f"{middle:.3g}",
                str(group.maps),
                f"{1e3 * group.maps / middle:,.0f}",
                f"{10 * middle / group.maps:.3g}",
                f"{1 / timing.ratio[1]:.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
