"""Exact solvers against networkx, against each other, and against wrong use."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec

import networkx as nx
import pytest
import torch

from nlcore.errors import ConfigError, ContractError, DtypeError, NonFiniteError, NumericalError, ShapeError
from nlcore_shortest_paths import GraphMaxEntropy, available_backends, graph_shortest_path, path_cost, shortest_path

BACKENDS = available_backends()
ANY_DTYPE = tuple(name for name in BACKENDS if name != "scipy")
MAPS = [  # H, W, source, goal, neighbours, number of maps: 1 000 in all
    (7, 7, (0, 0), (-1, -1), 8, 250),
    (6, 9, (0, 0), (-1, -1), 4, 250),
    (9, 5, (4, 0), (2, 3), 8, 150),
    (5, 8, (-1, 7), (0, 0), 4, 150),
    (1, 12, (0, 3), (0, 11), 8, 60),
    (12, 1, (11, 0), (0, 0), 4, 60),
    (12, 12, (0, 0), (-1, -1), 8, 60),
    (3, 3, (1, 1), (1, 1), 8, 20),
]


def around(place: tuple[int, int], height: int, width: int, neighbours: int) -> Iterator[tuple[int, int]]:
    for i, j in itertools.product((-1, 0, 1), repeat=2):
        if (i, j) != (0, 0) and (neighbours == 8 or 0 in (i, j)):
            row, column = place[0] + i, place[1] + j
            if 0 <= row < height and 0 <= column < width:
                yield row, column


def reference(costs: torch.Tensor, source: tuple[int, int], goal: tuple[int, int], neighbours: int) -> float:
    height, width = costs.shape
    values = costs.tolist()
    start, end = ((row % height, column % width) for row, column in (source, goal))
    graph = nx.DiGraph()
    graph.add_nodes_from(itertools.product(range(height), range(width)))
    for u in list(graph):
        graph.add_weighted_edges_from((u, v, values[v[0]][v[1]]) for v in around(u, height, width, neighbours))
    return values[start[0]][start[1]] + nx.dijkstra_path_length(graph, start, end)


def is_path(mask: torch.Tensor, source: tuple[int, int], goal: tuple[int, int], neighbours: int) -> bool:
    """A shortest path visits as few cells as lead from one end to the other inside the mask."""
    height, width = mask.shape
    graph = nx.Graph()
    cells = {(int(i), int(j)) for i, j in mask.nonzero()}
    graph.add_nodes_from(cells)
    graph.add_edges_from((u, v) for u in cells for v in around(u, height, width, neighbours) if v in cells)
    start, end = ((row % height, column % width) for row, column in (source, goal))
    return {start, end} <= cells and nx.has_path(graph, start, end) and nx.is_connected(graph)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("height", "width", "source", "goal", "neighbours", "count"), MAPS)
def test_costs_are_those_of_networkx_and_back_ends_agree(
    height: int,
    width: int,
    source: tuple[int, int],
    goal: tuple[int, int],
    neighbours: int,
    count: int,
    dtype: torch.dtype,
    generator: torch.Generator,
) -> None:
    count = count if dtype == torch.float64 else count // 5
    costs = torch.rand(count, height, width, generator=generator, dtype=dtype) * 9 + 0.05
    found = {
        name: shortest_path(costs, source=source, goal=goal, neighbours=neighbours, backend=name)
        for name in BACKENDS
        if name != "scipy" or dtype == torch.float64
    }
    path = found["torch"]
    assert path.dtype == dtype
    for other in found.values():
        assert torch.equal(path, other)
    wanted = torch.tensor([reference(one, source, goal, neighbours) for one in costs], dtype=torch.float64)
    tolerance = 1e-6 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(path_cost(costs, path).double(), wanted, rtol=tolerance, atol=0)
    assert all(is_path(mask, source, goal, neighbours) for mask in path[:20])


def plain(costs: torch.Tensor, source: tuple[int, int], goal: tuple[int, int], neighbours: int) -> torch.Tensor:
    """The documented answer, cell by cell: distances summed in the dtype of the costs, walked back in reading order."""
    height, width = costs.shape
    start, place = ((row % height, column % width) for row, column in (source, goal))
    c = {cell: costs[cell] for cell in itertools.product(range(height), range(width))}  # numbers of their dtype
    d = {start: c[start]}
    changed = True
    while changed:
        changed = False
        for v in itertools.product(range(height), range(width)):
            for u in around(v, height, width, neighbours):
                if u in d and (v not in d or d[u] + c[v] < d[v]):
                    d[v] = d[u] + c[v]
                    changed = True
    mask = torch.zeros_like(costs)
    mask[place] = 1
    while place != start:
        place = min(around(place, height, width, neighbours), key=d.__getitem__)  # the first of several
        mask[place] = 1
    return mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "source", "goal"),
    [
        (1, 1, (0, 0), (0, 0)),
        (1, 9, (0, 0), (0, 8)),
        (7, 1, (5, 0), (1, 0)),
        (2, 2, (1, 0), (0, 1)),
        (5, 8, (2, 3), (2, 3)),
        (8, 5, (3, 4), (7, 0)),
        (6, 11, (-1, -1), (0, 0)),
        (13, 12, (0, 0), (-1, -1)),
    ],
)
def test_every_back_end_is_the_plain_one(height, width, source, goal, tied, neighbours, dtype, generator) -> None:
    shape = (19, height, width)  # for numba a whole block of maps and a part of one; a single map goes by a heap
    kinds = torch.tensor([0.8, 1.2, 5.3, 7.7, 9.2], dtype=dtype)
    costs = (
        kinds[torch.randint(5, shape, generator=generator)]
        if tied
        else torch.rand(shape, generator=generator, dtype=dtype) + 0.05
    )
    wanted = torch.stack([plain(one, source, goal, neighbours) for one in costs])
    for name in BACKENDS:
        if name != "scipy" or dtype == torch.float64:
            options = {"source": source, "goal": goal, "neighbours": neighbours, "backend": name}
            assert torch.equal(shortest_path(costs, **options), wanted), name
            assert torch.equal(shortest_path(costs[:1], **options), wanted[:1]), name
            assert shortest_path(costs[:0], **options).shape == (0, height, width)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neighbours", [4, 8])
@pytest.mark.parametrize(("side", "count"), [(12, 40), (60, 12), (260, 4)])
def test_back_ends_break_ties_alike(
    side: int, count: int, neighbours: int, dtype: torch.dtype, generator: torch.Generator
) -> None:
    kinds = torch.tensor([0.8, 1.2, 5.3, 7.7, 9.2], dtype=dtype)
    costs = kinds[torch.randint(5, (count, side, side), generator=generator)]
    costs[0] = 1
    found = [
        shortest_path(costs, neighbours=neighbours, backend=name)
        for name in BACKENDS
        if name != "scipy" or dtype == torch.float64
    ]
    for other in found[1:]:
        assert torch.equal(found[0], other)


def test_ties_go_to_the_first_neighbour_in_reading_order() -> None:
    costs = torch.ones(1, 4, 3)
    # Walked back from the goal: (2, 1) comes before (2, 2), then (1, 0) before (1, 1).
    expected = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    for name in ANY_DTYPE:
        assert torch.equal(shortest_path(costs, backend=name)[0], expected.float())


def test_a_path_that_winds_through_the_whole_map() -> None:
    costs = torch.full((9, 9), 1000.0, dtype=torch.float64)
    costs[::2] = 1.0
    costs[1::4, -1] = 1.0
    costs[3::4, 0] = 1.0
    for name in BACKENDS:
        path = shortest_path(costs, neighbours=4, backend=name)
        assert torch.equal(path, (costs == 1).double())


@pytest.mark.parametrize("shape", [(5, 6), (0, 5, 6), (2, 3, 5, 6)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shapes_and_dtypes(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> None:
    costs = (torch.rand(shape, generator=generator) + 0.5).to(dtype).requires_grad_()
    before = costs.detach().clone()
    for name in ANY_DTYPE:
        path = shortest_path(costs, backend=name)
        assert path.shape == costs.shape
        assert path.dtype == dtype
        assert not path.requires_grad
        assert torch.equal(costs, before)


def test_layout_and_chunks_do_not_matter(generator: torch.Generator) -> None:
    costs = torch.rand(700, 12, 12, generator=generator) + 0.1
    turned = costs.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    for name in ANY_DTYPE:
        whole = shortest_path(costs, backend=name)
        assert torch.equal(whole, shortest_path(turned, backend=name))
        assert torch.equal(whole[600:], shortest_path(costs[600:], backend=name))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c: c.long(), DtypeError, r"torch\.int64.*\.float\(\)"),
        (lambda c: c[0, 0], ShapeError, r"shape \[4\]"),
        (lambda c: c[:, :0], ShapeError, r"\[3, 0, 4\]"),
        (lambda c: c.tolist(), ContractError, "costs is a list"),
        (lambda c: c.index_fill(0, torch.tensor(1), 0.0), ContractError, r"samples 1 .*sample 1 has 0 at \(0, 0\)"),
        (lambda c: -c, ContractError, r"samples 0, 1, 2 .*softplus"),
        (lambda c: c.index_fill(0, torch.tensor(2), float("nan")), NonFiniteError, r"sample 2 has nan"),
        (lambda c: c.index_fill(2, torch.tensor(2), float("inf")), NonFiniteError, r"inf at \(0, 2\)"),
    ],
)
def test_wrong_costs(change, error, message) -> None:
    with pytest.raises(error, match=message):
        shortest_path(change(torch.ones(3, 4, 4)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": (4, 0)}, r"source \(4, 0\) lies outside the map of 4 rows"),
        ({"goal": (0, -5)}, r"goal \(0, -5\).*a column from -4 to 3"),
        ({"neighbours": 6}, "neighbours was given 6"),
        ({"backend": "numbe"}, "did you mean 'numba'"),
    ],
)
def test_wrong_options(options, message) -> None:
    with pytest.raises(ConfigError, match=message):
        shortest_path(torch.ones(4, 4), **options)


def test_scipy_refuses_float32() -> None:
    if "scipy" in BACKENDS:
        with pytest.raises(DtypeError, match=r"\.double\(\)"):
            shortest_path(torch.ones(4, 4), backend="scipy")


def test_costs_beyond_the_precision_are_refused() -> None:
    costs = torch.full((1, 30), 1e-3)
    costs[0, -1] = 1e7
    for name in ANY_DTYPE:
        with pytest.raises(NumericalError, match=r"map 0 differ by more than torch\.float32"):
            shortest_path(costs[None], source=(0, 29), goal=(0, 0), backend=name)
    assert shortest_path(costs.double(), source=(0, 29), goal=(0, 0)).sum() == 30


def test_costs_whose_sum_overflows_are_refused() -> None:
    costs = torch.ones(500, 12, 12)
    costs[460] = 3e38
    for name in ANY_DTYPE:
        with pytest.raises(NumericalError, match=r"map 460 .*overflows"):
            shortest_path(costs, backend=name)
    assert shortest_path(costs.double(), backend="torch")[460].sum() == 12


def test_importing_imports_no_torch() -> None:
    code = "import sys, nlcore_shortest_paths._plugin; assert not {'torch', 'numba', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(find_spec("scipy") is None, reason="scipy is not installed")
class TestGraphs:
    def test_costs_are_those_of_networkx(self, generator: torch.Generator) -> None:
        for seed in range(20):
            random = nx.gnp_random_graph(30, 0.15, seed=seed, directed=True)
            edges = torch.tensor(list(random.edges))
            costs = torch.rand(5, len(edges), generator=generator, dtype=torch.float64) + 0.01
            if not nx.has_path(random, 0, 29):
                continue
            mask = graph_shortest_path(costs, edges, source=0, goal=29)
            for values, chosen in zip(costs, mask, strict=True):
                weighted = nx.DiGraph()
                weighted.add_weighted_edges_from((*e, w) for e, w in zip(edges.tolist(), values.tolist(), strict=True))
                wanted = nx.dijkstra_path_length(weighted, 0, 29)
                assert float((values * chosen).sum()) == pytest.approx(wanted, rel=1e-12)
                used = nx.DiGraph(edges[chosen.bool()].tolist())
                assert nx.has_path(used, 0, 29)

    def test_parallel_edges_and_ties(self) -> None:
        edges = torch.tensor([[0, 1], [0, 1], [1, 2], [0, 2]])
        costs = torch.tensor([[2.0, 1.0, 1.0, 5.0], [1.0, 1.0, 1.0, 2.0]])
        mask = graph_shortest_path(costs, edges, source=0, goal=2)
        assert mask.tolist() == [[0, 1, 1, 0], [1, 0, 1, 0]]

    @pytest.mark.parametrize(
        ("costs", "options", "error", "message"),
        [
            ([1.0, -1.0], {}, ContractError, "sample 0 has -1 on edge 1"),
            ([1.0, float("nan")], {}, NonFiniteError, "samples 0"),
            ([1.0, 1.0], {"goal": 7}, ConfigError, "goal 7 is not a node"),
            ([1.0, 1.0], {"source": 2, "goal": 0}, ContractError, "no edges lead from node 2 to node 0"),
            ([1.0], {}, ShapeError, r"\[1, 1\] and edges \[2, 2\]"),
        ],
    )
    def test_wrong_use(self, costs, options, error, message) -> None:
        edges = torch.tensor([[0, 1], [1, 2]])
        with pytest.raises(error, match=message):
            graph_shortest_path(torch.tensor([costs]), edges, **{"source": 0, "goal": 2, **options})

    def test_edges_in_two_rows(self) -> None:
        edges = torch.tensor([[0, 0, 1], [1, 2, 2]])
        with pytest.raises(ShapeError, match=r"edges has shape \[2, 3\], but .* transpose \[2, E\] by edges\.T"):
            graph_shortest_path(torch.ones(1, 3), edges, source=0, goal=2)
        with pytest.raises(ConfigError, match=r"GraphMaxEntropy: option 'edges' was given .*: these are two rows of 3"):
            GraphMaxEntropy(edges=edges.tolist(), source=0, goal=2)
