"""Minimum spanning trees against networkx and enumeration: compiled and in torch, ties, wrong use."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import networkx as nx
import pytest
import torch

from nlcore.compiled import has_numba, torch_alone
from nlcore.errors import ConfigError, NonFiniteError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._trees import boruvka
from nlcore_decisions.solvers.spanning_tree import SpanningTree

torch.set_num_threads(1)

WAYS: list[Callable[[], Any]] = [torch_alone, nullcontext] if has_numba() else [torch_alone]
ways = pytest.mark.parametrize("way", WAYS, ids=["torch", "numba"][: len(WAYS)])
GRAPHS = [  # 1 000 instances in all
    (list(nx.complete_graph(20).edges), 100),
    ([(v, u) for u, v in nx.complete_graph(17).edges], 200),
    (list(nx.connected_watts_strogatz_graph(40, 4, 0.3, seed=0).edges), 300),
    (list(nx.path_graph(30).edges), 100),
    (list(nx.star_graph(12).edges), 100),
    ([(0, 1), (1, 2), (0, 1), (2, 0), (1, 2), (2, 3), (3, 2)], 190),
    ([(0, 1)], 10),
]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(18)


def kruskal(edges: list[tuple[int, int]], costs: list[float]) -> list[int]:
    """The documented tree: edges by their cost, then in their order."""
    label = list(range(max(map(max, edges)) + 1))
    mask = [0] * len(edges)
    for index in sorted(range(len(edges)), key=lambda k: (costs[k], k)):
        a, b = (label[node] for node in edges[index])
        if a != b:
            mask[index] = 1
            label = [a if one == b else one for one in label]
    return mask


@ways
@pytest.mark.parametrize(("edges", "count"), GRAPHS)
def test_costs_are_those_of_networkx(edges, count, way, generator) -> None:
    tree = SpanningTree(edges)
    costs = torch.randn(count, len(edges), generator=generator, dtype=torch.float64)
    with way():
        found = tree(costs)
    assert bool(tree.is_feasible(found).all())
    for one, mask in zip(costs.tolist(), found, strict=True):
        graph = nx.MultiGraph()
        graph.add_weighted_edges_from((u, v, cost) for (u, v), cost in zip(edges, one, strict=True))
        wanted = nx.minimum_spanning_tree(graph).size(weight="weight")
        assert float((mask * mask.new_tensor(one)).sum()) == pytest.approx(wanted, abs=1e-12)


@ways
@pytest.mark.parametrize(("edges", "count"), GRAPHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ties(edges, count, dtype, way, generator) -> None:
    costs = torch.randint(-2, 3, (30, len(edges)), generator=generator).to(dtype)
    with way():
        found = SpanningTree(edges)(costs)
    wanted = [kruskal(edges, one) for one in costs.tolist()]
    assert found.tolist() == wanted
    assert boruvka(costs, torch.tensor(edges)).tolist() == wanted


@ways
def test_ties_are_found(way, generator) -> None:
    edges = list(nx.complete_graph(4).edges)
    tree = SpanningTree(edges)
    every = torch.tensor([*itertools.product((0.0, 1.0), repeat=6)], dtype=torch.float64)
    every = every[tree.is_feasible(every)]
    assert len(every) == 16  # Cayley's formula
    costs = torch.randint(-2, 3, (300, 6), generator=generator).double()
    values = costs @ every.T
    with way():
        solved = tree.solve(costs, ties=True)
    assert torch.equal(solved.value, values.amin(1))
    assert torch.equal(solved.tied, (values == values.amin(1, keepdim=True)).sum(1) > 1)


@ways
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("lead", [(), (5,), (0,), (2, 3)])
@pytest.mark.parametrize("nodes", [5, 20])
def test_shapes_and_dtypes(nodes, lead, dtype, way, generator) -> None:
    tree = SpanningTree(list(nx.complete_graph(nodes).edges))
    costs = torch.randn(*lead, *tree.shape, generator=generator).to(dtype)
    with way():
        found = tree(costs)
    assert found.shape == costs.shape
    assert found.dtype == dtype
    assert torch.equal(tree.is_feasible(found), torch.ones(lead, dtype=torch.bool))
    assert not bool(tree.is_feasible(1 - found).any())


@ways
def test_identity(way, generator) -> None:
    tree = SpanningTree([[0, 1], [1, 2], [0, 2]])
    costs = torch.randn(4, 3, generator=generator)
    with way():
        found = tree(costs)
        twin = pickle.loads(pickle.dumps(tree))
        assert torch.equal(twin(costs), found)
    assert twin == tree
    assert hash(twin) == hash(tree)
    assert tree.edges == ((0, 1), (1, 2), (0, 2))


@pytest.mark.parametrize(
    ("edges", "error", "message"),
    [
        ([(0, 1), (2, 3), (3, 4)], InfeasibleError, r"its components are \{0, 1\}, \{2, 3, 4\}"),
        ([(0, 1), (1, 3)], InfeasibleError, r"components are \{0, 1, 3\}, \{2\}.*from 0 to 3"),
        ([(1, 2)], InfeasibleError, r"components are \{0\}, \{1, 2\}"),
        ([(0, 1), (1, 1)], ConfigError, "edge 1 leads from node 1 to itself"),
        ([(0, 1), 3], ConfigError, "edge 1 was given 3"),
        (None, ConfigError, "edges were given None"),
    ],
)
def test_wrong_graphs(edges, error, message) -> None:
    with pytest.raises(error, match=message):
        SpanningTree(edges)


def test_costs_that_are_not_finite() -> None:
    with pytest.raises(NonFiniteError, match="sample 1 has inf at 0"):
        SpanningTree([(0, 1)])(torch.tensor([[1.0], [float("inf")]]))
