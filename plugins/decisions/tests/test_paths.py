"""Shortest paths against networkx and enumeration: compiled and in torch, ties, wrong use."""

from __future__ import annotations

import heapq
import itertools
import pickle
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import networkx as nx
import pytest
import torch
from torch import Tensor

from nlcore.compiled import has_numba, torch_alone
from nlcore.errors import ConfigError, DtypeError, NonFiniteError, NumericalError, ShapeError
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._sweeps import Sweeps
from nlcore_decisions.solvers.dag_path import DagPath
from nlcore_decisions.solvers.graph_path import GraphPath
from nlcore_decisions.solvers.grid_edges import GridEdges

torch.set_num_threads(1)

WAYS: list[Callable[[], Any]] = [torch_alone, nullcontext] if has_numba() else [torch_alone]
ways = pytest.mark.parametrize("way", WAYS, ids=["torch", "numba"][: len(WAYS)])
GRIDS = [(5, 5, 300), (3, 7, 200), (9, 8, 200), (1, 6, 100), (6, 1, 100), (12, 12, 60), (2, 2, 40)]

Pairs = list[tuple[int, int]]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(18)


def least(edges: Pairs, costs: list[float], source: int, goal: int) -> float:
    """The cost of a shortest path by networkx, which allows negative costs."""
    graph = nx.DiGraph()
    for (start, end), cost in zip(edges, costs, strict=True):
        known = graph.get_edge_data(start, end, {"weight": float("inf")})["weight"]
        graph.add_edge(start, end, weight=min(known, cost))
    return float(nx.bellman_ford_path_length(graph, source, goal))


def check_paths(solver: Any, edges: Pairs, costs: Tensor, source: int, goal: int) -> Tensor:
    found: Tensor = solver(costs)
    assert bool(solver.is_feasible(found).all())
    wanted = torch.tensor([least(edges, one, source, goal) for one in costs.tolist()], dtype=torch.float64)
    torch.testing.assert_close((costs * found).sum(1), wanted, rtol=1e-12, atol=1e-11)
    for mask in found.bool():
        walk = nx.DiGraph([edges[index] for index in mask.nonzero()[:, 0].tolist()])
        assert nx.shortest_path_length(walk, source, goal) == len(walk.edges) == int(mask.sum())
    return found


def random_graph(seed: int, *, acyclic: bool) -> tuple[Pairs, int, int]:
    """A random graph with parallel edges and shuffled names, and two nodes between which there is a path."""
    random = nx.gnp_random_graph(12, 0.25, seed=seed, directed=True)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed)).tolist()
    edges = [(order[u], order[v]) for u, v in random.edges if u < v or not acyclic]
    edges += edges[::5]
    graph = nx.DiGraph(edges)
    pairs = [(u, v) for u in graph for v in nx.descendants(graph, u)]
    source, goal = max(pairs, key=lambda pair: nx.shortest_path_length(graph, *pair))
    return edges, source, goal


def first_entered(edges: Pairs, costs: list[float], source: int, goal: int) -> list[int]:
    """The documented path, walked back by the first best edge, for costs whose sums are exact."""
    nodes = {node for edge in edges for node in edge}
    distance = dict.fromkeys(nodes, float("inf")) | {source: 0.0}
    for _ in nodes:
        for (start, end), cost in zip(edges, costs, strict=True):
            if end != source and start != goal:
                distance[end] = min(distance[end], distance[start] + cost)
    mask, node = [0] * len(edges), goal
    while node != source:
        ways = (
            (distance[start] + costs[k], k) for k, (start, end) in enumerate(edges) if end == node and start != goal
        )
        index = min(ways)[1]
        mask[index], node = 1, edges[index][0]
    return mask


class TestGridEdges:
    @ways
    @pytest.mark.parametrize(("height", "width", "count"), GRIDS)
    def test_costs_are_those_of_networkx(self, height, width, count, way, generator) -> None:
        with way():
            grid = GridEdges(height, width)
            costs = torch.randn(count, *grid.shape, generator=generator, dtype=torch.float64)
            check_paths(grid, list(grid.edges), costs, 0, height * width - 1)

    def test_edges_are_in_the_order_of_pyepo(self) -> None:
        assert GridEdges(2, 3).edges == ((0, 1), (1, 2), (0, 3), (1, 4), (2, 5), (3, 4), (4, 5))
        assert GridEdges(5, 5).shape == (40,)

    @ways
    @pytest.mark.parametrize(("height", "width"), [(4, 5), (9, 8)])
    def test_ties(self, height, width, way, generator) -> None:
        grid = GridEdges(height, width)
        costs = torch.randint(-1, 2, (50, *grid.shape), generator=generator).double()
        with way():
            found = grid(costs)
            assert bool(grid.solve(costs, ties=True).tied.any())
        wanted = [first_entered(list(grid.edges), one, 0, height * width - 1) for one in costs.tolist()]
        assert found.tolist() == wanted

    @pytest.mark.parametrize(
        ("sizes", "message"), [((0, 3), "height was given 0"), ((2, 2.5), r"width was given 2\.5"), ((1, 1), "1×1")]
    )
    def test_wrong_sizes(self, sizes, message) -> None:
        with pytest.raises(ConfigError, match=message):
            GridEdges(*sizes)


class TestDagPath:
    @ways
    def test_costs_are_those_of_networkx(self, way, generator) -> None:
        with way():
            for seed in range(50):
                edges, source, goal = random_graph(seed, acyclic=True)
                costs = torch.randn(20, len(edges), generator=generator, dtype=torch.float64)
                check_paths(DagPath(edges, source, goal), edges, costs, source, goal)

    @ways
    def test_ties(self, way, generator) -> None:
        with way():
            for seed in range(20):
                edges, source, goal = random_graph(seed, acyclic=True)
                costs = torch.randint(-1, 2, (20, len(edges)), generator=generator).double()
                found = DagPath(edges, source, goal)(costs)
                assert found.tolist() == [first_entered(edges, one, source, goal) for one in costs.tolist()]

    @pytest.mark.parametrize("edges", [[(0, 1), (1, 2), (2, 1)], [(0, 1), (2, 1), (1, 2), (2, 3)]])
    def test_a_cycle_is_named(self, edges) -> None:
        with pytest.raises(ConfigError, match=r"the cycle (1 → 2 → 1|2 → 1 → 2)\."):
            DagPath(edges, 0, 1)

    def test_the_cycle_is_a_walk_along_edges(self) -> None:
        edges = [(0, 1), (1, 2), (2, 3), (3, 1), (3, 4), (4, 5)]
        with pytest.raises(ConfigError, match="cycle") as caught:
            DagPath(edges, 0, 5)
        walk = [int(node) for node in str(caught.value).split("cycle ")[1].split(".")[0].split(" → ")]
        assert set(itertools.pairwise(walk)) == {(1, 2), (2, 3), (3, 1)}

    @ways
    def test_a_chain_and_many_edges_into_a_node(self, way, generator) -> None:
        chain = [(node, node + 1) for node in range(40)]
        fan = [(0, 41 + k) for k in range(70)] + [(41 + k, 40) for k in range(70)]
        costs = torch.randn(9, 180, generator=generator, dtype=torch.float64)
        with way():
            check_paths(DagPath(chain + fan, 0, 40), chain + fan, costs, 0, 40)


class TestGraphPath:
    @ways
    def test_costs_are_those_of_networkx(self, way, generator) -> None:
        with way():
            for seed in range(50):
                edges, source, goal = random_graph(seed, acyclic=False)
                costs = torch.rand(20, len(edges), generator=generator, dtype=torch.float64)
                check_paths(GraphPath(edges, source, goal), edges, costs, source, goal)

    @ways
    def test_negative_costs(self, way, generator) -> None:
        with way():
            for seed in range(50):
                edges, source, goal = random_graph(seed, acyclic=False)
                costs = torch.rand(20, len(edges), generator=generator, dtype=torch.float64)
                level = torch.randn(20, 12, generator=generator, dtype=torch.float64) * 3
                start, end = torch.tensor(edges).unbind(1)
                costs[::3] *= 0  # every cycle costs 0 up to rounding, where networkx finds negative ones
                shifted = costs + level[:, end] - level[:, start]
                path = GraphPath(edges, source, goal)
                found = path(shifted)
                assert bool(path.is_feasible(found).all())
                wanted = [least(edges, one, source, goal) for one in costs.tolist()]
                values = (found * shifted).sum(1) - level[:, goal] + level[:, source]
                torch.testing.assert_close(values, values.new_tensor(wanted), rtol=0, atol=1e-11)

    @ways
    def test_ties(self, way, generator) -> None:
        with way():
            for seed in range(20):
                edges, source, goal = random_graph(seed, acyclic=False)
                costs = torch.randint(1, 3, (20, len(edges)), generator=generator).double()
                found = GraphPath(edges, source, goal)(costs)
                assert found.tolist() == [first_entered(edges, one, source, goal) for one in costs.tolist()]

    def test_dijkstra_of_scipy(self, generator) -> None:
        scipy = pytest.importorskip("nlcore_decisions.solvers._scipy_dijkstra")
        random = nx.gnp_random_graph(400, 0.02, seed=1, directed=True)
        edges = [*random.edges, *list(random.edges)[::7]]
        path = GraphPath(edges, 0, 399)
        assert len(path._network.nodes) >= 300
        costs = torch.randint(0, 4, (6, len(edges)), generator=generator).double()
        sweeps = Sweeps.of(path._network, costs)
        while bool(sweeps.lower().any()):
            pass
        assert torch.equal(scipy.distances(path._network, costs), sweeps.distance)
        with torch_alone():
            check_paths(path, edges, costs, 0, 399)

    @ways
    def test_costs_of_zero(self, way) -> None:
        edges = [(2, 1), (1, 2), (0, 1), (2, 3), (0, 3)]
        costs = torch.tensor([[0.0, 0.0, 1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0, 1.0]])
        with way():
            found = GraphPath(edges, 0, 3).solve(costs, ties=True)
        assert found.solution.tolist() == [[0, 1, 1, 1, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]]
        assert found.tied.tolist() == [False, True, False]

    @ways
    def test_a_negative_cycle_is_named(self, way) -> None:
        path = GraphPath([(0, 1), (1, 2), (2, 1), (2, 3)], 0, 3)
        costs = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, -2.0, 1.0, 1.0]])
        message = r"sample 1: the cycle (1 → 2 → 1|2 → 1 → 2) costs -1, .*softplus"
        with way(), pytest.raises(InfeasibleError, match=message) as caught:
            path(costs)
        assert caught.value.samples == (1,)

    @ways
    def test_negative_cycles_that_no_path_can_use(self, way) -> None:
        edges = [(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3)]
        costs = torch.tensor([[1.0, -9.0, 1.0, -9.0, -1.0, -1.0]])
        with way():
            assert GraphPath(edges, 0, 2)(costs).tolist() == [[1, 0, 1, 0, 0, 0]]

    @ways
    def test_a_negative_cycle_of_many_is_found(self, way, generator) -> None:
        graph = nx.gnp_random_graph(40, 0.15, seed=3, directed=True)
        edges = list(graph.edges)
        path = GraphPath(edges, 0, 39)
        for _ in range(30):
            costs = torch.rand(len(edges), generator=generator, dtype=torch.float64) - 0.05
            weighted = graph.copy()
            weighted.remove_edges_from([*graph.in_edges(0), *graph.out_edges(39)])
            for edge, cost in zip(edges, costs.tolist(), strict=True):
                if edge in weighted.edges:
                    weighted.edges[edge]["weight"] = cost
            negative = nx.negative_edge_cycle(weighted)
            with way(), pytest.raises(InfeasibleError) if negative else nullcontext() as caught:
                path(costs)
            if negative:
                words = str(caught.value).split("cycle ")[1].split(" costs ")
                walk = [int(node) for node in words[0].split(" → ")]
                total = sum(costs[edges.index(edge)] for edge in itertools.pairwise(walk))
                assert walk[0] == walk[-1]
                assert float(total) == pytest.approx(float(words[1].split(",")[0]), rel=1e-4)
                assert float(total) < 0

    @ways
    def test_costs_that_differ_by_more_than_the_precision(self, way) -> None:
        path = GraphPath([(0, 1), (1, 0), (1, 2), (2, 1), (2, 3)], 0, 3)
        costs = torch.tensor([[1e20, 1.0, 1e-20, 1e-20, 1.0]])
        with way():
            assert path(costs).tolist() == [[1, 0, 1, 0, 1]]
            with pytest.raises(NumericalError, match="sample 0 overflow"):
                path(torch.full((1, 5), 1e308, dtype=torch.float64))

    @pytest.mark.parametrize(
        ("edges", "ends", "error", "message"),
        [
            ([(0, 1), (1, 2)], (2, 0), InfeasibleError, "no edges lead from node 2 to node 0; they lead to 2"),
            ([(0, 1)], (0, 5), ConfigError, "goal 5 is not a node of an edge; the nodes are 0 to 1"),
            ([(0, 1)], (-1, 1), ConfigError, "source -1 is not a node"),
            ([], (0, 1), ConfigError, r"edges were given \[\]"),
            ([(0, 1), (1, 2, 3)], (0, 1), ConfigError, r"edge 1 was given \(1, 2, 3\)"),
            ([(0, 1), (1, -2)], (0, 1), ConfigError, r"edge 1 was given \(1, -2\)"),
            ([(0, 1.0)], (0, 1), ConfigError, r"edge 0 was given \(0, 1\.0\)"),
            ("ab", (0, 1), ConfigError, "edges were given 'ab'"),
        ],
    )
    def test_wrong_graphs(self, edges, ends, error, message) -> None:
        with pytest.raises(error, match=message):
            GraphPath(edges, *ends)


SOLVERS = [
    GridEdges(3, 4),
    GridEdges(9, 9),
    DagPath([(0, 1), (1, 2), (0, 2), (2, 3)], 0, 3),
    GraphPath([[0, 1], [1, 0], [1, 2], [0, 2]], 0, 2),
]


@ways
@pytest.mark.parametrize("solver", SOLVERS, ids=repr)
class TestAll:
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    @pytest.mark.parametrize("lead", [(), (5,), (0,), (2, 3)])
    def test_shapes_and_dtypes(self, solver, lead, dtype, way, generator) -> None:
        costs = (torch.rand(*lead, *solver.shape, generator=generator) + 0.1).to(dtype).requires_grad_()
        before = costs.detach().clone()
        with way():
            found = solver(costs)
        assert found.shape == costs.shape
        assert found.dtype == dtype
        assert not found.requires_grad
        assert torch.equal(costs, before)
        assert torch.equal(solver.is_feasible(found), torch.ones(lead, dtype=torch.bool))
        assert not bool(solver.is_feasible(1 - found).any())

    def test_a_sample_alone(self, solver, way, generator) -> None:
        costs = torch.rand(40, *solver.shape, generator=generator) + 0.1
        turned = costs.T.contiguous().T
        with way():
            whole = solver(costs)
            assert torch.equal(whole, torch.stack([solver(one) for one in costs]))
            assert torch.equal(whole, solver(turned))

    def test_identity(self, solver, way, generator) -> None:
        costs = torch.rand(3, *solver.shape, generator=generator)
        with way():
            found = solver(costs)
            twin = pickle.loads(pickle.dumps(solver))
            assert twin == solver
            assert hash(twin) == hash(solver)
            assert torch.equal(twin(costs), found)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda c: c.long(), DtypeError, r"\.float\(\)"),
            (lambda c: c[:, 1:], ShapeError, "costs has shape"),
            (
                lambda c: c.index_fill(0, torch.tensor(1), float("nan")),
                NonFiniteError,
                "samples 1 .*sample 1 has nan at 0",
            ),
            (
                lambda c: c.index_fill(1, torch.tensor(2), float("-inf")),
                NonFiniteError,
                "samples 0, 1, 2 .*has -inf at 2",
            ),
        ],
    )
    def test_wrong_costs(self, solver, change, error, message, way) -> None:
        with way(), pytest.raises(error, match=message):
            solver(change(torch.ones(3, *solver.shape)))

    def test_costs_whose_sum_overflows(self, solver, way) -> None:
        with way():
            assert bool(solver.is_feasible(solver(torch.full(solver.shape, 3e37))))


def paths_of(edges: Pairs, node: int, goal: int, used: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if node == goal:
        yield used
        return
    visited = {edges[index][0] for index in used}
    for index, (start, end) in enumerate(edges):
        if start == node and end not in visited:
            yield from paths_of(edges, end, goal, (*used, index))


@pytest.mark.parametrize("kind", [DagPath, GraphPath])
def test_feasible_are_the_paths_and_nothing_else(kind) -> None:
    edges = (
        [(0, 1), (1, 2), (2, 3), (1, 3), (4, 2), (0, 1)]
        if kind is DagPath
        else [(0, 1), (1, 2), (2, 1), (2, 3), (1, 3), (3, 0)]
    )
    solver = kind(edges, 0, 3)
    every = torch.tensor([*itertools.product((0.0, 1.0), repeat=len(edges))])
    paths = set(map(frozenset, paths_of(edges, 0, 3)))
    wanted = [frozenset(mask.nonzero()[:, 0].tolist()) in paths for mask in every]
    assert solver.is_feasible(every).tolist() == wanted
    assert sum(wanted) == len(paths)
    assert not bool(solver.is_feasible(every * 0.5).any())


@pytest.mark.parametrize("kind", [DagPath, GraphPath])
def test_a_goal_that_is_the_source(kind) -> None:
    solver = kind([(0, 1), (1, 2)], 1, 1)
    assert solver(torch.ones(2, 2)).tolist() == [[0, 0], [0, 0]]
    assert solver.is_feasible(torch.tensor([[0.0, 0.0], [1.0, 0.0]])).tolist() == [True, False]


@ways
def test_ties_are_found(way, generator) -> None:
    grid = GridEdges(3, 3)
    every = torch.stack(
        [mask for mask in torch.tensor([*itertools.product((0.0, 1.0), repeat=12)]) if grid.is_feasible(mask)]
    )
    assert len(every) == 6
    costs = torch.randint(0, 3, (200, 12), generator=generator).double()
    values = costs @ every.double().T
    with way():
        tied = grid.solve(costs, ties=True).tied
    assert torch.equal(tied, (values == values.amin(1, keepdim=True)).sum(1) > 1)


@pytest.mark.skipif(not has_numba(), reason="numba is not installed")
def test_the_heap_of_the_kernels(generator) -> None:
    np, heaps = import_module("numpy"), import_module("nlcore_decisions._compiled.heaps")
    items, keys, size = np.empty(200, dtype=np.int64), np.empty(200), 0
    known: list[float] = []
    for number in torch.randint(-60, 100, (1000,), generator=generator).tolist():
        if number >= 0 and size < 200:
            size = heaps.push(items, keys, size, number + 1000, float(number))
            heapq.heappush(known, number)
        elif size:
            assert (items[0] - 1000, keys[0]) == (known[0], heapq.heappop(known))
            size = heaps.pop(items, keys, size)
        assert size == len(known)
    assert size > 0
