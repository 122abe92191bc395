"""Exact shortest paths on any sparse graph with positive costs on its edges, by `nlcore_decisions`."""

from __future__ import annotations

from functools import lru_cache

from torch import Tensor

from nlcore.errors import ShapeError
from nlcore.inputs import check_inputs
from nlcore_decisions.solvers.graph_path import GraphPath
from nlcore_shortest_paths._costs import check_positive

__all__ = ["graph_shortest_path"]

_NAME = "graph_shortest_path"


def graph_shortest_path(costs: Tensor, edges: Tensor, *, source: int, goal: int) -> Tensor:
    """Return the edges of a shortest path in each of many graphs that differ in their costs only.

    Of several shortest paths the one is returned that, walked back from the goal, enters by the first best edge in the
    order of `edges`. Distances are summed in float64. `nlcore_decisions.solvers.graph_path.GraphPath` is the same as an
    object, which also takes negative costs.

    Args:
        costs: [..., E], positive and finite, one for each edge.
        edges: [E, 2], int64, start and end of each directed edge. An edge that leads both ways is given twice; of
            parallel edges the cheapest counts.
        source: Node where the path starts.
        goal: Node where it ends.

    Returns:
        [..., E], 1 on the path, dtype and device of `costs`; not differentiable.

    Raises:
        ConfigError: Source or goal is not a node of an edge, or an edge has a negative node.
        ContractError: Shapes or dtypes do not fit, costs are not positive, or the goal cannot be reached.
        NonFiniteError: A cost is NaN or infinite.
        NumericalError: Sums of costs overflow float64.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0, 1], [1, 2], [0, 2]])
        >>> graph_shortest_path(torch.tensor([[1.0, 1.0, 3.0], [1.0, 1.0, 1.5]]), edges, source=0, goal=2)
        tensor([[1., 1., 0.],
                [0., 0., 1.]])
    """
    check_inputs(_NAME, costs=(costs, "[..., E] floating"))
    advice = "A row is the start and the end of an edge; transpose [2, E] by edges.T."
    check_inputs(_NAME, edges=(edges, "[E, 2] int64", advice))  # apart: they may be on another device
    if costs.shape[-1] != edges.shape[0]:
        raise ShapeError(
            f"{_NAME}: costs have shape {list(costs.shape)} and edges {list(edges.shape)}; [..., E] and [E, 2] are "
            "needed."
        )
    check_positive(_NAME, costs.detach(), event_ndim=1)
    return _solver(tuple(map(tuple, edges.tolist())), source, goal)(costs)


@lru_cache(maxsize=8)
def _solver(edges: tuple[tuple[int, int], ...], source: int, goal: int) -> GraphPath:
    return GraphPath(edges, source, goal)
