"""Exact shortest paths on any sparse graph with costs on its edges, by scipy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, NumericalError, ShapeError
from nlcore.inputs import check_inputs
from nlcore_shortest_paths._costs import check_positive

__all__ = ["graph_shortest_path"]

_NAME = "graph_shortest_path"


def graph_shortest_path(costs: Tensor, edges: Tensor, *, source: int, goal: int) -> Tensor:
    """Return the edges of a shortest path in each of many graphs that differ in their costs only.

    Of several shortest paths the one is returned that, walked back from the goal, enters by the first best edge in the
    order of `edges`. Distances are summed in float64. The graphs are solved one after the other in compiled code.

    Args:
        costs: [..., E], positive and finite, one for each edge.
        edges: [E, 2], int64, start and end of each directed edge. An edge that leads both ways is given twice; of
            parallel edges the cheapest counts.
        source: Node where the path starts.
        goal: Node where it ends.

    Returns:
        [..., E], 1 on the path, dtype and device of `costs`; not differentiable.

    Raises:
        ConfigError: scipy is not installed, or source or goal is not a node of an edge.
        ContractError: Shapes or dtypes do not fit, costs are not positive, or the goal cannot be reached.
        NonFiniteError: A cost is NaN or infinite.
        NumericalError: The costs differ by more than float64 resolves.

    Example:
        >>> import torch
        >>> edges = torch.tensor([[0, 1], [1, 2], [0, 2]])
        >>> graph_shortest_path(torch.tensor([[1.0, 1.0, 3.0], [1.0, 1.0, 1.5]]), edges, source=0, goal=2)
        tensor([[1., 1., 0.],
                [0., 0., 1.]])
    """
    check_inputs(_NAME, costs=(costs, "[..., E] floating"))
    check_inputs(_NAME, edges=(edges, "[E, 2] int64"))  # apart: they may be on another device
    if costs.shape[-1] != edges.shape[0]:
        raise ShapeError(
            f"{_NAME}: costs have shape {list(costs.shape)} and edges {list(edges.shape)}; [..., E] and [E, 2] are "
            "needed."
        )
    flat = costs.detach().double().cpu().reshape(-1, edges.shape[0])
    check_positive(_NAME, flat, event_ndim=1)
    nodes = int(edges.max()) + 1
    if int(edges.min()) < 0:
        raise ContractError(f"{_NAME}: an edge has the node {int(edges.min())}; nodes are counted from 0.")
    for name, node in (("source", source), ("goal", goal)):
        if not 0 <= node < nodes:
            raise ConfigError(f"{name} {node} is not a node of an edge; the nodes are 0 to {nodes - 1}.")
    return _solve(flat, edges.cpu(), nodes, source, goal).reshape(costs.shape).to(costs)


def _solve(costs: Tensor, edges: Tensor, nodes: int, source: int, goal: int) -> Tensor:
    """Return the masks, [N, E], of validated costs [N, E] in float64 on the CPU."""
    try:
        import numpy as np
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra
    except ImportError as error:
        raise ConfigError(f"{_NAME} needs scipy: pip install scipy. On grids shortest_path does not.") from error
    start, end = edges.numpy().T
    pairs, group = np.unique(start * nodes + end, return_inverse=True)  # parallel edges are one
    order = np.argsort(end, kind="stable")  # edges into one node stay in their order
    first = np.searchsorted(end[order], np.arange(nodes + 1))
    masks = torch.zeros_like(costs)
    for sample, values in enumerate(costs.numpy()):
        least = np.full(len(pairs), np.inf)
        np.minimum.at(least, group, values)
        distance = dijkstra(csr_array((least, np.divmod(pairs, nodes)), shape=(nodes, nodes)), indices=source)
        if not np.isfinite(distance[goal]):
            raise ContractError(
                f"{_NAME}: sample {sample}: no edges lead from node {source} to node {goal}. Edges are directed; give "
                "those that lead both ways twice."
            )
        node, steps = goal, 0
        while node != source and steps <= nodes:
            into = order[first[node] : first[node + 1]]
            edge = int(into[np.argmin(distance[start[into]] + values[into])])
            masks[sample, edge] = 1
            node, steps = int(start[edge]), steps + 1
        if node != source:
            raise NumericalError(
                f"{_NAME}: the costs of sample {sample} differ by more than float64 resolves. Limit their range."
            )
    return masks
