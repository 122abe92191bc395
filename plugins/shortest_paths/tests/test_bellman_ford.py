"""Relaxed Bellman–Ford against its definition, AlgoVision, finite differences and the exact path."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from nlcore import GaussNewton, Hessian, newton_step
from nlcore.capabilities import read_capabilities
from nlcore_shortest_paths import BellmanFord, shortest_path
from nlcore_shortest_paths._bellman_ford_plain import Relaxation, plain_path
from nlcore_shortest_paths._t_conorms import conorm
from nlcore_shortest_paths.solvers.grid import grid

CONORMS = ("probabilistic", "hamacher", "yager")
VARIANTS = list(itertools.product(("for", "while"), CONORMS))
CASES = [(4, 5, (0, 0), (-1, -1), 8), (5, 3, (2, 1), (0, 2), 4), (1, 4, (0, 3), (0, 0), 8), (1, 1, (0, 0), (0, 0), 8)]


def maps(generator: torch.Generator, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=dtype) * 4 + 0.2


def by_hand(costs: list[list[float]], loss: BellmanFord) -> list[list[float]]:
    """The definition, cell by cell, on Python numbers, for a loop 'for'."""
    import math

    height, width = len(costs), len(costs[0])
    graph = grid(height, width, loss.source, loss.goal, loss.neighbours)
    cells = list(itertools.product(range(height), range(width)))
    near = {(i, j): [(i + a, j + b) for a, b in graph.directions if (i + a, j + b) in set(cells)] for i, j in cells}
    d = dict.fromkeys(cells, math.inf) | {graph.source: 0.0}
    rounds = loss.iterations or height + width + 1
    weights: dict[tuple[int, int], dict[tuple[int, int], float]] = {}
    for _ in range(rounds):
        after = {}
        for v in cells:
            known = {u: d[u] for u in near[v] if d[u] < math.inf}
            low = min(known.values(), default=0.0)
            soft = {u: math.exp(-loss.beta * (x - low)) for u, x in known.items()}
            weights[v] = {u: w / sum(soft.values()) for u, w in soft.items()}
            after[v] = sum(w * d[u] for u, w in weights[v].items()) + costs[v[0]][v[1]] if known else math.inf
        d = after | {graph.source: 0.0}
    x, q = dict.fromkeys(cells, 0.0), dict.fromkeys(cells, 0.0) | {graph.goal: 1.0}
    join: Any = conorm(loss.t_conorm, loss.p)
    for _ in range(rounds):
        x = {v: float(join(*torch.tensor([x[v], q[v]], dtype=torch.float64))) for v in cells}
        q = {u: sum(q[v] * weights[v].get(u, 0.0) for v in cells) for u in cells}
    return [[x[i, j] for j in range(width)] for i in range(height)]


@pytest.mark.parametrize("t_conorm", CONORMS)
@pytest.mark.parametrize(("height", "width", "source", "goal", "neighbours"), CASES[:3])
def test_it_is_the_definition(height, width, source, goal, neighbours, t_conorm, generator) -> None:
    loss = BellmanFord(source=source, goal=goal, neighbours=neighbours, t_conorm=t_conorm, beta=2.0)
    costs = maps(generator, 2, height, width)
    wanted = torch.tensor([by_hand(one, loss) for one in costs.tolist()], dtype=torch.float64)
    torch.testing.assert_close(loss.path(costs), wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("loop", "t_conorm"), VARIANTS)
@pytest.mark.parametrize(("height", "width", "source", "goal", "neighbours"), CASES)
def test_the_fast_way_is_the_plain_one(height, width, source, goal, neighbours, loop, t_conorm, generator) -> None:
    loss = BellmanFord(source=source, goal=goal, neighbours=neighbours, loop=loop, t_conorm=t_conorm, beta=3.0)
    costs = maps(generator, 3, height, width).requires_grad_()
    direction = torch.randn(costs.shape, generator=generator, dtype=torch.float64)
    graph = grid(height, width, source, goal, neighbours)
    how = Relaxation(graph, 3.0, height + width + 1, conorm(t_conorm, 5.0), loop)
    plain, fast = plain_path(costs, how), loss.path(costs)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-14)
    wanted, found = (torch.autograd.grad(path, costs, direction)[0] for path in (plain, fast))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loop", ["for", "while"])
def test_many_large_maps_in_single_precision(loop, generator) -> None:
    loss = BellmanFord(loop=loop, beta=3.0, neighbours=4)
    costs = maps(generator, 80, 17, 25, dtype=torch.float32)  # more cells than are taken at once
    direction = torch.randn(costs.shape, generator=generator)
    how = Relaxation(grid(17, 25, (0, 0), (-1, -1), 4), 3.0, 43, conorm("hamacher", 5.0), loop)
    single, double = costs.clone().requires_grad_(), costs.double().requires_grad_()
    fast, plain = loss.path(single), plain_path(double, how)
    torch.testing.assert_close(fast.double(), plain, rtol=0, atol=1e-4)
    found, wanted = torch.autograd.grad(fast, single, direction)[0], torch.autograd.grad(plain, double, direction)[0]
    assert (found - wanted).norm() <= 1e-4 * wanted.norm()
    assert loss.path(costs[:0]).shape == (0, 17, 25)


@pytest.mark.parametrize(("loop", "t_conorm"), VARIANTS)
def test_gradient_equals_central_differences(loop, t_conorm, generator) -> None:
    loss = BellmanFord(loop=loop, t_conorm=t_conorm, beta=2.0)
    costs = maps(generator, 2, 4, 3).requires_grad_()
    target = shortest_path(maps(generator, 2, 4, 3))
    (found,) = torch.autograd.grad(loss(costs, target).sum(), costs)
    step = 1e-5
    for place in itertools.product(range(4), range(3)):
        e = torch.zeros(4, 3, dtype=torch.float64)
        e[place] = step
        quotient = (loss(costs.detach() + e, target) - loss(costs.detach() - e, target)) / (2 * step)
        torch.testing.assert_close(found[(slice(None), *place)], quotient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("loop", ["for", "while"])
@pytest.mark.filterwarnings("ignore")
def test_values_and_gradients_are_those_of_algovision(loop, generator) -> None:
    algovision = pytest.importorskip("algovision")
    costs = maps(generator, 3, 12, 10, dtype=torch.float32).requires_grad_()
    target = shortest_path(maps(generator, 3, 12, 10, dtype=torch.float32))
    peer = peers_algorithm(algovision, loop)
    for t_conorm in CONORMS:
        loss = BellmanFord(loop=loop, t_conorm=t_conorm, iterations=25)
        theirs = torch.cat([peer(t_conorm)(one[None]) for one in costs])
        mine = loss.path(costs)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-4)
        gradients = [torch.autograd.grad((path - target).square().sum(), costs)[0] for path in (mine, theirs)]
        assert (gradients[0] - gradients[1]).norm() <= 1e-4 * gradients[1].norm()


def peers_algorithm(av: Any, loop: str) -> Any:
    """Write the algorithm in the language of the peer, with β = 10, 25 sweeps and p = 5."""
    steps = [step for step in itertools.product((-1, 0, 1), repeat=2) if step != (0, 0)]
    pad = torch.nn.functional.pad

    def sweep(d: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        height, width = c.shape[1:]
        near = torch.stack([d[:, 1 + i : 1 + i + height, 1 + j : 1 + j + width] for i, j in steps], dim=-1)
        weights = torch.softmax(-10 * near, dim=-1)
        return pad((weights * near).sum(-1) + c, (1, 1, 1, 1), value=1e12), weights

    def walk(q: Tensor, w: Tensor) -> Tensor:
        height, width = q.shape[1:]
        flow = pad(q[..., None] * w, (0, 0, 1, 1, 1, 1))
        parts = [flow[:, 1 - i : 1 - i + height, 1 - j : 1 - j + width, k] for k, (i, j) in enumerate(steps)]
        return torch.stack(parts).sum(0)

    join = {
        "probabilistic": lambda x, q: x + q - x * q,
        "hamacher": lambda x, q: (x + q + 3 * x * q) / (1 + 4 * x * q),
        "yager": lambda x, q: torch.clamp(x + q, max=1.0),
    }
    make = {
        "for": lambda *body: av.For("round", 25, *body),
        "while": lambda *body: av.While(av.LEq(lambda x: x[:, 0, 0], 1.0), *body),
    }[loop]
    return lambda name: av.Algorithm(
        av.Input("c"),
        av.Var("d", lambda c: torch.full((c.shape[1] + 2, c.shape[2] + 2), 1e12)),
        av.Var("w", lambda c: torch.zeros(c.shape[1], c.shape[2], 8)),
        av.Var("q", lambda c: torch.zeros(c.shape[1], c.shape[2])),
        av.Var("x", lambda c: torch.zeros(c.shape[1], c.shape[2])),
        av.Let("d", [1, 1], 0.0),
        av.Let("q", [-1, -1], 1.0),
        av.For("sweep", 25, av.Let(["d", "w"], lambda d, c: sweep(d, c)), av.Let("d", [1, 1], 0.0)),
        make(av.Let("x", join[name]), av.Let("q", lambda q, w: walk(q, w))),
        av.Output("x"),
        beta=10.0,
    )


@pytest.mark.parametrize(("loop", "t_conorm"), VARIANTS)
def test_a_large_beta_gives_the_exact_path(loop, t_conorm, generator) -> None:
    costs = maps(generator, 4, 6, 7)
    loss = BellmanFord(loop=loop, t_conorm=t_conorm, beta=1e4, goal=(-1, -1))
    exact = shortest_path(costs)
    relaxed = loss.path(costs)
    outside = torch.ones(6, 7, dtype=torch.bool)
    outside[:2, :2] = False  # mass that has arrived walks on beside the source
    assert (relaxed - exact)[:, outside].abs().max() < 1e-3


@pytest.mark.parametrize("objective", ["l1", "l2"])
def test_objectives(objective, generator) -> None:
    loss = BellmanFord(objective=objective)
    costs, target = maps(generator, 2, 4, 4), shortest_path(maps(generator, 2, 4, 4))
    gap = loss.path(costs) - target
    wanted = gap.abs().sum((1, 2)) if objective == "l1" else gap.square().sum((1, 2))
    torch.testing.assert_close(loss(costs, target), wanted)
    assert ("split" in read_capabilities(loss).supplies) == (objective == "l2")
    other = dataclasses.replace(loss, objective="l1" if objective == "l2" else "l2")
    assert other != loss
    assert dataclasses.replace(other, objective=objective) == loss


@pytest.mark.parametrize("curvature", [GaussNewton(), Hessian()])
def test_second_derivatives_reach_the_engine(curvature, generator) -> None:
    loss = BellmanFord(beta=2.0, iterations=6)
    costs, target = maps(generator, 2, 3, 3), shortest_path(maps(generator, 2, 3, 3))
    step = newton_step(loss, costs, target, curvature)
    assert step.direction.isfinite().all()
    assert ((step.direction * step.gradient).sum((1, 2)) > 0).all()


def test_a_graph_can_be_gone_back_over_twice(generator) -> None:
    costs = maps(generator, 3, 5, 5).requires_grad_()
    value = BellmanFord(loop="while").path(costs).square().sum()
    first = torch.autograd.grad(value, costs, retain_graph=True)[0].clone()
    assert torch.equal(first, torch.autograd.grad(value, costs)[0])


def test_extreme_costs_keep_value_and_gradient_finite() -> None:
    for scale in (1e-6, 1e4, 1e8):
        for loop in ("for", "while"):
            costs = (torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0)) + 0.1) * scale
            costs.requires_grad_()
            value = BellmanFord(loop=loop)(costs, shortest_path(costs)).sum()
            value.backward()
            assert value.isfinite()
            assert costs.grad.isfinite().all()
