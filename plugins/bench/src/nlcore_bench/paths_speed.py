"""`nlcore bench paths --speed`: solvers and losses beside other libraries, in turns, in processor time."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nlcore_bench.engine.clock import Timing, interleaved
from nlcore_bench.files import make_folder, write_whole
from nlcore_bench.paths_peers import algovision_path, array_heap_path, heap_path, pyepo_model
from nlcore_bench.terrain import COSTS
from nlcore_bench.train import one_thread
from nlcore_shortest_paths import BellmanFord, BlackBox, PerturbedFenchelYoung, available_backends, shortest_path
from nlcore_shortest_paths.solvers import solve_grid

__all__ = ["run_paths_speed"]

_SIDE, _BATCH, _SOLVED, _SAMPLES = 12, 100, 300, 3

_OURS = "nlcore"
_EXPLAINED = """\
torch {torch}, one thread, float32; medians of interleaved rounds in processor time. An epoch is 10 000 maps. Ratios are
to the first way of a group, and to the fastest that is not nlcore's. Memory is what torch allocates at the most during
a call; Python's objects and what numba's code takes for itself, the costs and distances of sixteen maps, are not in it.

**Heap on arrays** is Dijkstra's algorithm with Python's heap as the code of the black-box paper has it: costs and
distances in numpy arrays, all cells settled, ways of equal cost counted. **Heap on an array** keeps its distances in a
dictionary, and **heap on lists** reads its costs from lists too and stops at the goal, the leanest of the three. PyEPO
brings linear programs for paths and leaves such a solver to its user, so it is timed with the first and the last.
"""

Calls = dict[str, Callable[[], object]]
Loss = Callable[[Tensor, Tensor], Tensor]
Name = Literal["torch", "numba"]


@dataclass(frozen=True)
class _Group:
    """Ways to do the same thing; times are compared to the first, and to the fastest of others.

    Attributes:
        title: What is done.
        calls: Who does it.
        maps: Number of maps in a call.
    """

    title: str
    calls: Calls
    maps: int


@dataclass(frozen=True)
class _Row:
    """What was found of one way to do it.

    Attributes:
        group: What is done.
        contender: Who does it.
        maps: Number of maps in a call.
        peak: Mebibytes that torch allocates at the most during a call.
        timing: Its times.
        faster: How many times as fast as the fastest that is not nlcore's; None for those, and where there is none.
    """

    group: str
    contender: str
    maps: int
    peak: float
    timing: Timing
    faster: float | None


def run_paths_speed(folder: Path, *, quick: bool = False) -> str:
    """Time everything, write `speed.md` and `speed.json`, return the table.

    Args:
        folder: Made if it is not there.
        quick: The fewest rounds.
    """
    make_folder(folder)
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers
        rows = [row for group in _groups() for row in _timed(group, 0.0 if quick else 15.0)]
    table = _table(rows)
    write_whole(folder / "speed.md", table)
    write_whole(folder / "speed.json", json.dumps([_flat(row) for row in rows], indent=1) + "\n")
    return table


def _timed(group: _Group, seconds: float) -> list[_Row]:
    timings = interleaved(group.calls, seconds)
    others = [timing.milliseconds[1] for name, timing in timings.items() if not name.startswith(_OURS)]
    return [
        _Row(
            group.title,
            name,
            group.maps,
            _peak(group.calls[name]),
            timing,
            min(others) / timing.milliseconds[1] if name.startswith(_OURS) and others else None,
        )
        for name, timing in timings.items()
    ]


def _peak(call: Callable[[], object]) -> float:
    """Return the mebibytes that torch allocates at the most during a call, beyond what is there before."""
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        call()
    level = highest = 0
    # The profiler's own sums give what a function of autograd frees to its end; the single events come in order.
    recorded: Any = record.profiler
    for event in sorted(recorded.kineto_results.events(), key=lambda event: event.start_ns()):
        level += event.nbytes() if event.name() == "[memory]" else 0
        highest = max(highest, level)
    return highest / 2**20


@contextmanager
def _silent() -> Iterator[None]:
    """Drop what libraries write to the standard error themselves: torch's profiler reports when it starts and stops."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _flat(row: _Row) -> dict[str, Any]:
    return {name: value for name, value in asdict(row).items() if name != "timing"} | asdict(row.timing)


def _maps(count: int) -> Tensor:
    """Return noisy costs of the five kinds of ground, as a network in training predicts them, [count, 12, 12]."""
    generator = torch.Generator().manual_seed(count)
    kinds = torch.randint(len(COSTS), (count, _SIDE, _SIDE), generator=generator)
    noise = torch.randn(kinds.shape, generator=generator)
    return (torch.tensor(COSTS)[kinds] + noise).clamp(min=0.1)


def _groups() -> Iterator[_Group]:
    costs = _maps(_SOLVED)
    solve: Calls = {
        "heap on arrays": lambda: [array_heap_path(one) for one in costs.numpy()],
        "heap on an array": lambda: [heap_path(one, stop=False) for one in costs.numpy()],
        "heap on lists": lambda: [heap_path(one) for one in costs.tolist()],
    }
    solve.update({f"{_OURS}, {name}": _solver(costs, name) for name in _backends()})
    yield _Group(f"exact solution of {_SIDE}×{_SIDE} maps", solve, _SOLVED)
    predicted, target = _maps(_BATCH), shortest_path(_maps(_BATCH).flip(0))
    for loop in ("for", "while"):
        yield _Group(f"relaxed Bellman–Ford, {loop}: loss and gradient", _relaxed(loop, predicted, target), _BATCH)
    yield _Group(f"perturbed Fenchel–Young, {_SAMPLES} samples: loss and gradient", _young(predicted, target), _BATCH)
    yield _Group("black box: loss and gradient", _black(predicted, target), _BATCH)


def _backends() -> tuple[Name, ...]:
    """Return the back ends that work in float32."""
    return ("torch", "numba") if "numba" in available_backends() else ("torch",)


def _solver(costs: Tensor, backend: Name) -> Callable[[], object]:
    return lambda: shortest_path(costs, backend=backend)


def _relaxed(loop: str, costs: Tensor, target: Tensor) -> Calls:
    options: Any = {"loop": loop, "iterations": 2 * _SIDE + 1}
    calls: Calls = {}
    try:
        peer = algovision_path(options["loop"], options["iterations"])

        def theirs(c: Tensor, t: Tensor) -> Tensor:
            return (peer(c) - t).square()

        calls["AlgoVision"] = _step(theirs, costs, target)
    except ImportError:
        pass
    calls[f"{_OURS}, torch"] = _step(BellmanFord(**options), costs, target)
    return calls


def _young(costs: Tensor, target: Tensor) -> Calls:
    calls: Calls = {}
    try:
        from pyepo.func import perturbedFenchelYoung

        def theirs(model: Any) -> Loss:
            peer = perturbedFenchelYoung(model, n_samples=_SAMPLES, sigma=1.0)
            return lambda c, t: peer(c.flatten(1), t.flatten(1))

        calls = {name: _step(theirs(model), costs, target) for name, model in _models().items()}
    except ImportError:
        pass
    for backend in _backends():
        loss = _solving(PerturbedFenchelYoung, backend)(num_samples=_SAMPLES, sigma=1.0)
        calls[f"{_OURS}, {backend}"] = _step(loss, costs, target)
    return calls


def _black(costs: Tensor, target: Tensor) -> Calls:
    calls: Calls = {}
    try:
        from pyepo.func import blackboxOpt

        def theirs(model: Any) -> Loss:
            peer = blackboxOpt(model, lambd=20.0)
            return lambda c, t: (peer(c.flatten(1)) - t.flatten(1)).abs()

        calls = {name: _step(theirs(model), costs, target) for name, model in _models().items()}
    except ImportError:
        pass
    for backend in _backends():
        loss = _solving(BlackBox, backend)()
        calls[f"{_OURS}, {backend}"] = _step(loss, costs, target)
    return calls


def _models() -> dict[str, Any]:
    return {
        "PyEPO, heap on arrays": pyepo_model(_SIDE, lists=False),
        "PyEPO, heap on lists": pyepo_model(_SIDE, lists=True),
    }


def _solving(loss: type[Any], backend: Name) -> type[Any]:
    """Return the class of a loss with a back end of choice; users get the fastest that is installed."""

    class Solving(loss):  # type: ignore[misc]
        def _shortest(self, costs: Tensor) -> Tensor:
            return solve_grid(costs.detach(), self._grid(costs), backend)

    return Solving


def _step(loss: Loss, costs: Tensor, target: Tensor) -> Callable[[], object]:
    """Return a call that computes a loss and its gradient."""
    return lambda: torch.autograd.backward(loss(costs.clone().requires_grad_(), target).sum())


def _table(rows: list[_Row]) -> str:
    """Return the times as Markdown."""
    lines = ["# Shortest paths, side by side", "", *_EXPLAINED.format(torch=torch.__version__).splitlines()]
    for title in dict.fromkeys(row.group for row in rows):
        group = [row for row in rows if row.group == title]
        lines += ["", f"## {title[0].upper()}{title[1:]}, {group[0].maps} maps a call", ""]
        lines += ["| | ms a call | maps a second | s an epoch | MiB | × the first | × the fastest other |"]
        lines += ["|---|---:|---:|---:|---:|---:|---:|"]
        for row in group:
            middle = row.timing.milliseconds[1]
            cells = (
                row.contender,
                f"{middle:.3g}",
                f"{1e3 * row.maps / middle:,.0f}",
                f"{10 * middle / row.maps:.3g}",
                f"{row.peak:.2g}",
                f"{1 / row.timing.ratio[1]:.1f}",
                "" if row.faster is None else f"{row.faster:.1f}",
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
