"""Exact solvers: `shortest_path` on grids, one answer from every back end, and `graph_shortest_path` on sparse graphs.

The back ends are `sweeps` in torch, `scipy_dijkstra`, and the kernels behind `nlcore_shortest_paths._compiled`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, DtypeError, nearest
from nlcore.inputs import check_inputs, working
from nlcore_shortest_paths._costs import check_positive
from nlcore_shortest_paths.solvers.grid import Grid, grid

__all__ = ["Backend", "available_backends", "path_cost", "shortest_path", "solve_grid"]

Backend: TypeAlias = Literal["auto", "torch", "numba", "scipy"]

_LARGE = 192 * 192
"""Number of cells from which scipy's Dijkstra is faster than sweeps in torch."""


def shortest_path(
    costs: Tensor,
    *,
    source: tuple[int, int] = (0, 0),
    goal: tuple[int, int] = (-1, -1),
    neighbours: int = 8,
    backend: Backend = "auto",
) -> Tensor:
    """Return the shortest path of every map as a 0/1 mask.

    Cells are nodes with a cost; a path pays for every cell that it visits, including both ends. Of several shortest
    paths the one is returned that, walked back from the goal, enters the first nearest neighbour in reading order.
    Distances are summed from the source in the dtype of the costs (half precision in float32) by every back end, so
    that all return the same path even where rounding decides a tie.

    Args:
        costs: [..., H, W], positive and finite.
        source: Row and column of the start; negative ones count from the end.
        goal: Row and column of the end.
        neighbours: 4, or 8 with the diagonals.
        backend: `"torch"` runs on every device; `"numba"` and `"scipy"` on the CPU if installed, scipy for float64
            only. `"auto"` takes the fastest of them.

    Returns:
        [..., H, W], dtype and device of `costs`; not differentiable.

    Raises:
        ContractError: The costs are not a floating-point tensor of maps, or not positive.
        NonFiniteError: A cost is NaN or infinite.
        ConfigError: Source or goal is outside the map, `neighbours` is neither 4 nor 8, or the back end is unknown or
            not installed.
        NumericalError: The costs of one map differ by more than their dtype resolves.

    Example:
        >>> import torch
        >>> costs = torch.tensor([[1.0, 9.0, 1.0], [1.0, 9.0, 1.0], [1.0, 1.0, 1.0]])
        >>> shortest_path(costs, goal=(0, 2))
        tensor([[1., 0., 1.],
                [1., 0., 1.],
                [0., 1., 0.]])
        >>> float(path_cost(costs, shortest_path(costs, goal=(0, 2))))
        5.0
    """
    check_inputs("shortest_path", costs=(costs, "[..., H, W] floating"))
    values = working(costs.detach())
    check_positive("shortest_path", values)
    graph = grid(costs.shape[-2], costs.shape[-1], source, goal, neighbours)
    flat = values.reshape(-1, graph.height, graph.width)
    return solve_grid(flat, graph, backend).reshape(costs.shape).to(costs.dtype)


def path_cost(costs: Tensor, path: Tensor) -> Tensor:
    """Return the cost of each path, Σ costs · path.

    Args:
        costs: [..., H, W].
        path: [..., H, W], 1 on the path.

    Returns:
        [...].
    """
    return (costs * path).sum(dim=(-2, -1))


def solve_grid(costs: Tensor, graph: Grid, backend: Backend = "auto") -> Tensor:
    """Return the masks of the shortest paths of validated costs.

    Args:
        costs: [N, H, W], positive, finite, float32 or float64.
        graph: The grid.
        backend: As in `shortest_path`.

    Returns:
        [N, H, W], dtype and device of `costs`.
    """
    if not costs.numel():
        return torch.zeros_like(costs)
    return _solver(_choose(backend, costs, graph))(costs, graph)


@cache
def available_backends() -> tuple[str, ...]:
    """Return the names of the installed back ends, `"torch"` first."""
    return ("torch", *(name for name in ("numba", "scipy") if find_spec(name) is not None))


@cache
def _solver(name: str) -> Callable[[Tensor, Grid], Tensor]:
    """Return the function of a back end, which is imported when it is first used."""
    modules = {"torch": "solvers.sweeps", "numba": "_compiled", "scipy": "solvers.scipy_dijkstra"}
    solve: Callable[[Tensor, Grid], Tensor] = import_module(f"nlcore_shortest_paths.{modules[name]}").solve
    return solve


def _choose(backend: str, costs: Tensor, graph: Grid) -> str:
    """Return the name of the back end, after a check that it can solve these costs."""
    installed = available_backends()
    if backend == "auto":
        if costs.device.type != "cpu":
            return "torch"
        if "numba" in installed:
            return "numba"
        large = graph.height * graph.width >= _LARGE and costs.dtype == torch.float64
        return "scipy" if large and "scipy" in installed else "torch"
    names = ("auto", "torch", "numba", "scipy")
    if backend not in names:
        raise ConfigError(f"backend was given {backend!r}{nearest(backend, names)}; choose from {', '.join(names)}.")
    if backend not in installed:
        raise ConfigError(f"backend {backend!r} is not installed. Use 'torch', or run: pip install {backend}.")
    if backend != "torch" and costs.device.type != "cpu":
        raise ContractError(f"backend {backend!r} needs costs on the CPU; these are on {costs.device}. Use 'torch'.")
    if backend == "scipy" and costs.dtype != torch.float64:
        raise DtypeError(f"backend 'scipy' sums in float64, and the costs are {costs.dtype}. Call .double() on them.")
    return backend
