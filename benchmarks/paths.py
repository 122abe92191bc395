"""Exact solvers and losses of shortest paths beside heaps in Python, AlgoVision and PyEPO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from benchmarks.heaps import algovision_path, array_heap_path, heap_path, pyepo_model
from benchmarks.measure import Case, Operator, Suite, alone
from nlcore_bench.data.terrain import COSTS
from nlcore_shortest_paths import BellmanFord, BlackBox, PerturbedFenchelYoung, available_backends, shortest_path
from nlcore_shortest_paths.solvers import solve_grid

__all__ = ["suite"]

_SIDE, _BATCH, _SOLVED, _SAMPLES = 12, 100, 300, 3

_OURS = "nlcore"
_INTRO = """\
torch {torch}, one thread, float32; medians of interleaved rounds in processor time. Memory is the most that torch
allocates during a call; Python objects and what numba's code allocates itself, the costs and distances of sixteen maps,
are not counted. The last column is the time of the fastest other library divided by that of nlcore.

**Heap on arrays** is Dijkstra's algorithm with Python's heap as in the code of the black-box paper: costs and distances
in numpy arrays, all cells settled, paths of equal cost counted. **Heap on an array** keeps its distances in a
dictionary, and **heap on lists** reads its costs from lists too and stops at the goal, the leanest of the three. PyEPO
ships linear programs for paths and leaves such a solver to its user, so it is timed with the first and the last.
"""

Operators = dict[str, Operator]
Loss = Callable[[Tensor, Tensor], Tensor]
Name = Literal["torch", "numba"]


def suite(*, quick: bool = False, device: str = "cpu") -> Suite:
    """Return the solvers and the losses.

    Args:
        quick: Has no effect: there is one size.
        device: Where the maps are; elsewhere than on the CPU, nlcore is timed alone.
    """
    return Suite("Shortest paths, side by side", "side × maps", _INTRO, _cases(torch.device(device)))


def _maps(count: int) -> Tensor:
    """Return noisy costs of the five kinds of ground, as a network in training predicts them, [count, 12, 12]."""
    generator = torch.Generator().manual_seed(count)
    kinds = torch.randint(len(COSTS), (count, _SIDE, _SIDE), generator=generator)
    noise = torch.randn(kinds.shape, generator=generator)
    return (torch.tensor(COSTS)[kinds] + noise).clamp(min=0.1)


def _cases(device: torch.device) -> Iterator[Case]:
    solvers: Operators = {
        "heap on arrays": lambda costs: [array_heap_path(one) for one in costs.numpy()],
        "heap on an array": lambda costs: [heap_path(one, stop=False) for one in costs.numpy()],
        "heap on lists": lambda costs: [heap_path(one) for one in costs.tolist()],
    }
    solvers.update({f"{_OURS}, {name}": partial(shortest_path, backend=name) for name in _backends()})
    maps, title = _maps(_SOLVED).to(device), f"exact solution of {_SIDE}×{_SIDE} maps"
    yield Case(title, alone(solvers, device), maps, differentiable=False, memory="peak")
    costs = _maps(_BATCH).to(device)
    target = shortest_path(costs.flip(0))
    losses = {f"relaxed Bellman–Ford, {loop}": _relaxed(loop, target) for loop in ("for", "while")}
    losses |= {f"perturbed Fenchel–Young, {_SAMPLES} samples": _young(target), "black box": _black(target)}
    for name, operators in losses.items():
        yield Case(name, alone(operators, device), costs, memory="peak")


def _backends() -> tuple[Name, ...]:
    """Return the back ends that work in float32."""
    return ("torch", "numba") if "numba" in available_backends() else ("torch",)


def _relaxed(loop: str, target: Tensor) -> Operators:
    options: Any = {"loop": loop, "iterations": 2 * _SIDE + 1}
    operators: Operators = {}
    try:
        peer = algovision_path(options["loop"], options["iterations"])
        operators["AlgoVision"] = lambda costs: (peer(costs) - target).square()
    except ImportError:
        pass
    operators[f"{_OURS}, torch"] = partial(_of, BellmanFord(**options), target)
    return operators


def _young(target: Tensor) -> Operators:
    operators: Operators = {}
    try:
        from pyepo.func import perturbedFenchelYoung

        def theirs(model: Any) -> Operator:
            peer = perturbedFenchelYoung(model, n_samples=_SAMPLES, sigma=1.0)
            return lambda costs: peer(costs.flatten(1), target.flatten(1))

        operators = {name: theirs(model) for name, model in _models().items()}
    except ImportError:
        pass
    return operators | _ours(PerturbedFenchelYoung, target, num_samples=_SAMPLES, sigma=1.0)


def _black(target: Tensor) -> Operators:
    operators: Operators = {}
    try:
        from pyepo.func import blackboxOpt

        def theirs(model: Any) -> Operator:
            peer = blackboxOpt(model, lambd=20.0)
            return lambda costs: (peer(costs.flatten(1)) - target.flatten(1)).abs()

        operators = {name: theirs(model) for name, model in _models().items()}
    except ImportError:
        pass
    return operators | _ours(BlackBox, target)


def _ours(loss: type[Any], target: Tensor, **options: Any) -> Operators:
    """Return a loss with each of the back ends; users get the fastest that is installed."""
    return {f"{_OURS}, {name}": partial(_of, _solving(loss, name)(**options), target) for name in _backends()}


def _of(loss: Loss, target: Tensor, costs: Tensor) -> Tensor:
    return loss(costs, target)


def _models() -> dict[str, Any]:
    return {
        "PyEPO, heap on arrays": pyepo_model(_SIDE, lists=False),
        "PyEPO, heap on lists": pyepo_model(_SIDE, lists=True),
    }


def _solving(loss: type[Any], backend: Name) -> type[Any]:
    """Return the class of a loss with a given back end."""

    class Solving(loss):  # type: ignore[misc]
        def _shortest(self, costs: Tensor) -> Tensor:
            return solve_grid(costs.detach(), self._grid(costs), backend)

    return Solving
