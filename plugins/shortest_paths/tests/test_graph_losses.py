"""Losses on graphs against their definitions, enumeration, finite differences and their counterparts on grids."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore.errors import (
    ConfigError,
    ContractError,
    DeviceError,
    DtypeError,
    NonFiniteError,
    NumericalError,
    ShapeError,
)
from nlcore.testing import check_algorithm
from nlcore_decisions.errors import InfeasibleError
from nlcore_shortest_paths import (
    BellmanFord,
    GraphBellmanFord,
    GraphMaxEntropy,
    MaxEntropy,
    graph_shortest_path,
)
from nlcore_shortest_paths._t_conorms import conorm
from nlcore_shortest_paths.solvers.grid import grid

Pairs = list[tuple[int, int]]

CONORMS = ("probabilistic", "hamacher", "yager")
DAG: Pairs = [(3, 0), (3, 1), (0, 1), (0, 2), (1, 2), (0, 1), (1, 4), (2, 4), (5, 2), (4, 6), (2, 6)]  # 3 to 4
CYCLIC: Pairs = [(0, 1), (1, 0), (0, 2), (2, 1), (1, 2), (1, 3), (2, 3), (3, 1), (2, 4), (4, 5), (0, 1)]  # 0 to 3
CASES: list[tuple[Pairs, int, int]] = [(DAG, 3, 4), (CYCLIC, 0, 3), ([(0, 1)], 0, 1), (CYCLIC, 2, 2)]
GRIDS: list[dict[str, Any]] = [{}, {"neighbours": 4}, {"source": (2, 1), "goal": (0, 2)}]
LOSSES = [GraphBellmanFord(), GraphMaxEntropy()]


def of_grid(height: int, width: int, options: dict[str, Any]) -> tuple[dict[str, Any], Tensor]:
    """The graph of a grid, an edge for each step between cells, and the cell that each enters."""
    cells = grid(
        height, width, options.get("source", (0, 0)), options.get("goal", (-1, -1)), options.get("neighbours", 8)
    )
    edges = [
        (i * width + j, (i + a) * width + j + b)
        for i, j in itertools.product(range(height), range(width))
        for a, b in cells.directions
        if 0 <= i + a < height and 0 <= j + b < width
    ]
    ends = {name: end[0] * width + end[1] for name, end in (("source", cells.source), ("goal", cells.goal))}
    return {"edges": edges, **ends}, torch.tensor(edges)[:, 1]


def costs_of(generator: torch.Generator, *shape: int, least: float = 0.2) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 + least


def differences(function: Any, costs: Tensor, step: float = 1e-5) -> Tensor:
    """Central differences of a function of costs [N, E]; along the last dimension of the result."""
    columns = []
    for edge in range(costs.shape[1]):
        e = torch.zeros(costs.shape[1], dtype=torch.float64)
        e[edge] = step
        columns.append((function(costs + e) - function(costs - e)) / (2 * step))
    return torch.stack(columns, -1)


def paths_of(edges: Pairs, node: int, goal: int, used: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """All paths of a graph without cycles, as indices of edges."""
    if node == goal:
        yield used
    for index, (start, end) in enumerate(edges):
        if start == node:
            yield from paths_of(edges, end, goal, (*used, index))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
class TestContract:
    def test_it_conforms_with_other_graphs(self, loss) -> None:
        for edges, source, goal in CASES[:2]:
            check_algorithm(dataclasses.replace(loss, edges=edges, source=source, goal=goal))

    def test_identity(self, loss) -> None:
        for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), dataclasses.replace(loss)):
            assert twin == loss
            assert hash(twin) == hash(loss)
            assert repr(twin) == repr(loss)
        made = nlcore.make(loss.id, edges=[[0, 1], [1, 2]], goal=2)
        assert made == dataclasses.replace(loss, edges=((0, 1), (1, 2)), goal=2)
        assert nlcore.restore(nlcore.dump(made)) == made

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"goal": 9}, ConfigError, "goal 9 is not a node of an edge; the nodes are 0 to 3"),
            ({"source": -1}, ConfigError, "'source' was given -1"),
            ({"edges": []}, ConfigError, "'edges'"),
            ({"edges": [[0, 1, 2]]}, ConfigError, "'edges"),
            ({"edges": [[0, -1]], "goal": 0}, ConfigError, "'edges"),
            ({"edges": [[1, 0]], "goal": 1}, InfeasibleError, "no edges lead from node 0 to node 1; they lead to 0"),
            ({"beta": 0.0}, ConfigError, "'beta'"),
        ],
    )
    def test_wrong_options(self, loss, options, error, message) -> None:
        with pytest.raises(error, match=message):
            dataclasses.replace(loss, **options)

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            (lambda c, t: (c[0], t[0]), ShapeError, r"shape \[5\], but \[batch, 5\]"),
            (lambda c, t: (c[:, 1:], t), ShapeError, r"shape \[3, 4\], but \[batch, 5\]"),
            (lambda c, t: (c.long(), t), DtypeError, r"\.float\(\)"),
            (lambda c, t: (c, t[:2]), ShapeError, r"target has shape \[2, 5\]"),
            (lambda c, t: (c, t.to("meta")), DeviceError, "target is on meta"),
            (lambda c, t: (c, t.tolist()), ContractError, "target is a list"),
            (lambda c, t: (c, t * 3), ContractError, "samples 0, 1, 2 .*graph_shortest_path returns such masks"),
            (
                lambda c, t: (c.index_fill(1, torch.tensor(2), math.nan), t),
                NonFiniteError,
                "sample 0 has nan on edge 2",
            ),
        ],
    )
    def test_wrong_use(self, loss, change, error, message, generator) -> None:
        example = loss.example(3, generator=generator, dtype=torch.float64, device="cpu")
        with pytest.raises(error, match=message) as caught:
            loss(*change(*example))
        assert str(caught.value).startswith(f"{loss.id}: ")

    @pytest.mark.parametrize("batch", [0, 1])
    def test_small_batches(self, loss, batch, generator) -> None:
        costs, target = loss.example(batch, generator=generator, dtype=torch.float32, device="cpu")
        value = loss(costs.requires_grad_(), target)
        assert value.shape == (batch,)
        assert torch.autograd.grad(value.sum(), costs)[0].shape == costs.shape


class TestMaxEntropy:
    @pytest.mark.parametrize("options", GRIDS)
    def test_on_a_grid_it_is_the_loss_of_grids(self, options, generator) -> None:
        graph, entered = of_grid(3, 4, options)
        loss, of_cells = GraphMaxEntropy(**graph, beta=1.5), MaxEntropy(**options, beta=1.5)
        cells = costs_of(generator, 5, 3, 4, least=1.6).requires_grad_()
        edge_target = graph_shortest_path(
            costs_of(generator, 5, len(entered)),
            torch.tensor(graph["edges"]),
            source=graph["source"],
            goal=graph["goal"],
        )
        target = torch.zeros(5, 12, dtype=torch.float64).index_add(1, entered, edge_target)
        target[:, graph["source"]] = 1
        costs = cells.flatten(1)[:, entered]
        wanted, found = of_cells(cells, target.view(5, 3, 4)), loss(costs, edge_target)
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)
        visits = torch.zeros(5, 12, dtype=torch.float64).index_add(1, entered, loss.visits(costs.detach()))
        visits[:, graph["source"]] += 1
        torch.testing.assert_close(visits.view(5, 3, 4), of_cells.visits(cells.detach()), rtol=1e-10, atol=1e-12)
        slope = torch.autograd.grad(found.sum(), cells)[0].flatten(1)
        torch.testing.assert_close(
            slope, of_cells.gradient(cells, target.view(5, 3, 4)).flatten(1), rtol=1e-9, atol=1e-10
        )
        incidence = torch.nn.functional.one_hot(entered, 12).double()
        second = incidence.T @ loss.hessian(costs, edge_target) @ incidence
        torch.testing.assert_close(second, of_cells.hessian(cells, target.view(5, 3, 4)), rtol=1e-8, atol=1e-9)

    def test_on_a_dag_it_is_the_enumeration_of_paths(self, generator) -> None:
        loss = GraphMaxEntropy(edges=DAG, source=3, goal=4, beta=0.7)
        paths = [*paths_of(DAG, 3, 4)]
        every = torch.zeros(len(paths), len(DAG), dtype=torch.float64)
        for mask, path in zip(every, paths, strict=True):
            mask[list(path)] = 1
        costs = torch.randn(6, len(DAG), generator=generator, dtype=torch.float64) * 3
        target = every[torch.arange(6) % len(every)]
        chance = torch.softmax(-0.7 * costs @ every.T, 1)
        wanted = -chance.gather(1, (torch.arange(6) % len(every))[:, None])[:, 0].log()
        mean = chance @ every
        torch.testing.assert_close(loss(costs, target), wanted, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(loss.visits(costs), mean, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(loss.gradient(costs, target), 0.7 * (target - mean), rtol=1e-11, atol=1e-12)
        moments = torch.einsum("np,pe,pf->nef", chance, every, every) - mean[:, :, None] * mean[:, None]
        torch.testing.assert_close(loss.hessian(costs, target), 0.49 * moments, rtol=1e-10, atol=1e-12)

    def test_walks_of_a_graph_with_cycles(self, generator) -> None:
        loss = GraphMaxEntropy(edges=CYCLIC, source=0, goal=3, beta=1.0)
        costs = costs_of(generator, 4, len(CYCLIC), least=1.2)
        nodes = 6
        powers = torch.zeros(4, nodes, nodes, dtype=torch.float64)
        for index, (start, end) in enumerate(CYCLIC):
            powers[:, start, end] += (-costs[:, index]).exp()
        term, total = torch.eye(nodes, dtype=torch.float64).repeat(4, 1, 1), torch.zeros_like(powers)
        for _ in range(400):
            total, term = total + term, term @ powers
        target = torch.zeros(4, len(CYCLIC), dtype=torch.float64)
        torch.testing.assert_close(loss(costs, target), total[:, 0, 3].log(), rtol=1e-11, atol=1e-11)

    @pytest.mark.parametrize(("edges", "source", "goal"), CASES)
    def test_derivatives_equal_central_differences(self, edges, source, goal, generator) -> None:
        loss = GraphMaxEntropy(edges=edges, source=source, goal=goal, beta=1.1)
        costs = costs_of(generator, 3, len(edges), least=1.3)
        target = torch.randint(2, costs.shape, generator=generator).double()
        slopes = differences(lambda c: loss(c, target), costs)
        torch.testing.assert_close(loss.gradient(costs, target), slopes, rtol=1e-7, atol=1e-8)
        second = differences(lambda c: loss.gradient(c, target), costs)
        torch.testing.assert_close(loss.hessian(costs, target), second, rtol=1e-7, atol=1e-8)

    @pytest.mark.parametrize("edges", [CYCLIC, DAG])
    def test_sums_over_walks_are_the_linear_system(self, edges, generator) -> None:
        ends = {"source": 3, "goal": 4} if edges is DAG else {"source": 0, "goal": 3}
        loss = GraphMaxEntropy(edges=edges, **ends, beta=1.0)
        costs = costs_of(generator, 5, len(edges), least=1.3)
        for found, wanted in zip(loss._summed(costs, 2000), loss._solved(costs)[:2], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)

    def test_a_large_graph_with_cycles(self, generator) -> None:
        edges = of_grid(21, 21, {"neighbours": 4})[0]
        loss = GraphMaxEntropy(**edges, beta=1.0)
        costs = costs_of(generator, 2, len(edges["edges"]), least=1.8)
        log_z, uses = loss._solved(costs)[:2]
        torch.testing.assert_close(loss.visits(costs), uses, rtol=1e-9, atol=1e-12)
        zero = torch.zeros_like(costs)
        torch.testing.assert_close(loss(costs, zero), log_z, rtol=1e-11, atol=1e-9)
        slow = costs * 0 + 1.39  # Z is finite above log 4, and walks of more than 200 edges count
        assert loss._summed(slow, 200) is None
        torch.testing.assert_close(loss.visits(slow), loss._solved(slow)[1], rtol=1e-9, atol=1e-12)
        with pytest.raises(NumericalError, match="samples 0, 1 have no finite weight"):
            loss(costs * 0.2, zero)

    def test_a_graph_too_large_for_a_linear_system(self, generator) -> None:
        edges = of_grid(2, 600, {"neighbours": 4})[0]
        loss = GraphMaxEntropy(**edges, beta=1.0)
        costs = costs_of(generator, 2, len(edges["edges"]), least=2.0)
        torch.testing.assert_close(loss.visits(costs), loss._solved(costs)[1], rtol=1e-9, atol=1e-12)
        with pytest.raises(NumericalError, match="samples 1 have no finite weight"):
            loss.visits(costs * torch.tensor([[1.0], [0.1]]))

    def test_exponents_beyond_those_of_floating_point(self, generator) -> None:
        for edges, source, goal in CASES[:2]:
            loss = GraphMaxEntropy(edges=edges, source=source, goal=goal, beta=1.0)
            costs = costs_of(generator, 3, len(edges), least=1.3) * (1 + torch.arange(3)[:, None] * 1000.0)
            target = graph_shortest_path(costs, torch.tensor(edges), source=source, goal=goal)
            assert bool((loss(costs, target) >= -1e-9).all())
            torch.testing.assert_close(loss.visits(costs)[1:], target[1:], rtol=0, atol=1e-2)

    @pytest.mark.parametrize(("scale", "shift"), [(0.1, 0.0), (1.0, -2.0), (0.0, 0.0)])
    def test_sums_that_diverge(self, scale, shift, generator) -> None:
        loss = GraphMaxEntropy(edges=CYCLIC, source=0, goal=3, beta=1.0)
        costs = costs_of(generator, 3, len(CYCLIC), least=1.3)
        costs[1] = costs[1] * scale + shift
        with pytest.raises(NumericalError, match=r"samples 1 have no finite weight.*at least 1\.099 are safe"):
            loss(costs, torch.zeros_like(costs))


class TestBellmanFord:
    @pytest.mark.parametrize("t_conorm", CONORMS)
    @pytest.mark.parametrize(("edges", "source", "goal"), CASES)
    @pytest.mark.parametrize("loop", ["for", "while"])
    def test_it_is_the_definition(self, edges, source, goal, loop, t_conorm, generator) -> None:
        loss = GraphBellmanFord(edges=edges, source=source, goal=goal, loop=loop, t_conorm=t_conorm, beta=2.0)
        for iterations in (loss._sweeps, 2):
            loss = dataclasses.replace(loss, iterations=iterations)
            costs = costs_of(generator, 2, len(edges))
            wanted = torch.tensor([by_hand(one, loss, iterations) for one in costs.tolist()], dtype=torch.float64)
            torch.testing.assert_close(loss.path(costs), wanted, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("t_conorm", CONORMS)
    @pytest.mark.parametrize("options", GRIDS)
    def test_of_cells_split_in_two_it_is_the_loss_of_grids(self, options, t_conorm, generator) -> None:
        graph, _ = of_grid(3, 4, options)
        own = [(2 * cell, 2 * cell + 1) for cell in range(12)]
        between = [(2 * start + 1, 2 * end) for start, end in graph["edges"]]
        ends = {"source": 2 * graph["source"] + 1, "goal": 2 * graph["goal"] + 1}
        how: dict[str, Any] = {"t_conorm": t_conorm, "beta": 2.0}
        loss = GraphBellmanFord(edges=own + between, **ends, iterations=16, **how)
        cells = costs_of(generator, 4, 3, 4).requires_grad_()
        costs = torch.cat([cells.flatten(1), torch.full((4, len(between)), 1e-300, dtype=torch.float64)], 1)
        found = loss.path(costs)[:, :12].view(4, 3, 4)
        wanted = BellmanFord(**options, iterations=8, **how).path(cells)
        torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-12)
        direction = torch.randn(found.shape, generator=generator, dtype=torch.float64)
        slopes = [torch.autograd.grad(path, cells, direction)[0] for path in (found, wanted)]
        torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-11)

    @pytest.mark.parametrize("options", GRIDS)
    def test_of_cells_entered_the_traces_sum_to_those_of_grids(self, options, generator) -> None:
        graph, entered = of_grid(3, 4, options)
        how: dict[str, Any] = {"t_conorm": "yager", "beta": 1.5, "iterations": 6}
        cells = costs_of(generator, 4, 3, 4)
        found = GraphBellmanFord(**graph, **how).path(cells.flatten(1)[:, entered])
        sums = torch.zeros(4, 12, dtype=torch.float64).index_add(1, entered, found)
        wanted = BellmanFord(**options, **how).path(cells).flatten(1)
        below = wanted < 1  # above, the t-conorm is no sum
        assert int(below.sum()) > 12
        torch.testing.assert_close(sums[below], wanted[below], rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize(("edges", "source", "goal"), CASES)
    @pytest.mark.parametrize("loop", ["for", "while"])
    def test_derivatives_equal_central_differences(self, edges, source, goal, loop, generator) -> None:
        loss = GraphBellmanFord(edges=edges, source=source, goal=goal, loop=loop, beta=1.5)
        costs = costs_of(generator, 2, len(edges)).requires_grad_()
        target = torch.randint(2, costs.shape, generator=generator).double()
        (slope,) = torch.autograd.grad(loss(costs, target).sum(), costs, create_graph=True)
        plain = costs.detach()
        torch.testing.assert_close(slope, differences(lambda c: loss(c, target), plain), rtol=1e-6, atol=1e-8)
        direction = torch.randn(costs.shape, generator=generator, dtype=torch.float64)
        second = torch.autograd.grad((slope * direction).sum(), costs, allow_unused=True)[0]

        def along(c: Tensor) -> Tensor:
            c = c.requires_grad_()
            return (torch.autograd.grad(loss(c, target).sum(), c)[0] * direction).sum(1)

        wanted = differences(along, plain)
        torch.testing.assert_close(
            second if second is not None else torch.zeros_like(wanted), wanted, rtol=1e-5, atol=1e-7
        )

    @pytest.mark.parametrize(("edges", "source", "goal"), CASES[:3])
    @pytest.mark.parametrize("loop", ["for", "while"])
    def test_a_large_beta_gives_the_exact_path(self, edges, source, goal, loop, generator) -> None:
        loss = GraphBellmanFord(edges=edges, source=source, goal=goal, loop=loop, beta=1e5, iterations=8)
        costs = costs_of(generator, 20, len(edges))
        exact = graph_shortest_path(costs, torch.tensor(edges), source=source, goal=goal)
        inside = torch.tensor([end != source and start != goal for start, end in edges])
        reenters = any(end == source for _, end in edges)
        gap = (loss.path(costs) - exact).abs()[:, inside]
        assert float(gap.median() if reenters else gap.max()) < 1e-3

    def test_costs_of_any_sign_without_cycles(self, generator) -> None:
        loss = GraphBellmanFord(edges=DAG, source=3, goal=4, beta=1e5)
        costs = torch.randn(20, len(DAG), generator=generator, dtype=torch.float64)
        exact = torch.stack([min(masks(DAG, 3, 4), key=lambda mask, c=one: float(mask @ c)) for one in costs])
        torch.testing.assert_close(loss.path(costs), exact, rtol=0, atol=1e-3)
        with pytest.raises(ContractError, match=r"samples 0.*not positive.*on edge"):
            GraphBellmanFord(edges=CYCLIC).path(costs[:, :11])

    def test_extreme_costs_keep_value_and_gradient_finite(self, generator) -> None:
        for scale, loop, (edges, source, goal) in itertools.product((1e-6, 1e4, 1e8), ("for", "while"), CASES):
            loss = GraphBellmanFord(edges=edges, source=source, goal=goal, loop=loop)
            costs = (torch.rand(2, len(edges), generator=generator) + 0.1).mul(scale).requires_grad_()
            value = loss(costs, torch.zeros_like(costs)).sum()
            value.backward()
            assert value.isfinite()
            assert costs.grad is not None
            assert costs.grad.isfinite().all()


def masks(edges: Pairs, source: int, goal: int) -> list[Tensor]:
    found = []
    for path in paths_of(edges, source, goal):
        mask = torch.zeros(len(edges), dtype=torch.float64)
        mask[list(path)] = 1
        found.append(mask)
    return found


def by_hand(costs: list[float], loss: GraphBellmanFord, rounds: int) -> list[float]:
    """The definition, node by node, on Python numbers."""
    nodes = range(max(map(max, loss.edges)) + 1)
    edges = list(loss.edges)
    d = dict.fromkeys(nodes, math.inf) | {loss.source: 0.0}
    weights = [0.0] * len(edges)
    for _ in range(rounds):
        after = {}
        for v in nodes:
            known = {k: d[u] + costs[k] for k, (u, w) in enumerate(edges) if w == v and d[u] < math.inf}
            low = min(known.values(), default=0.0)
            soft = {k: math.exp(-loss.beta * (x - low)) for k, x in known.items()}
            for k, share in soft.items():
                weights[k] = share / sum(soft.values())
            after[v] = sum(weights[k] * x for k, x in known.items()) if known else math.inf
        d = after | {loss.source: 0.0}
    join: Any = conorm(loss.t_conorm, loss.p)

    def add(x: float, q: float) -> float:
        return float(join(*torch.tensor([x, q], dtype=torch.float64)))

    x, q, arrived = [0.0] * len(edges), dict.fromkeys(nodes, 0.0) | {loss.goal: 1.0}, 0.0
    total, go_on, rounds_back = [0.0] * len(edges), 1 / (1 + math.exp(-loss.beta)), 0
    while rounds_back < (rounds if loss.loop == "for" else 1024):
        flow = [weights[k] * q[v] for k, (_, v) in enumerate(edges)]
        x, arrived = [add(*pair) for pair in zip(x, flow, strict=True)], add(arrived, q[loss.source])
        q = {node: sum(flow[k] for k, (u, _) in enumerate(edges) if u == node) for node in nodes}
        rounds_back += 1
        if loss.loop == "while":
            after_ = go_on / (1 + math.exp(-loss.beta * (1 - arrived)))
            after_ = after_ if after_ > 1e-5 else 0.0
            total, go_on = [t + (go_on - after_) * one for t, one in zip(total, x, strict=True)], after_
            if go_on == 0:
                break
    return x if loss.loop == "for" else [t + go_on * one for t, one in zip(total, x, strict=True)]
