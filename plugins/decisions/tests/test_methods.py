"""Methods against their definitions by enumeration, and what all of them share."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
import nlcore_decisions
from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError
from nlcore.testing import check_algorithm
from nlcore_decisions import (
    IMLE,
    AdaptiveIMLE,
    BlackBox,
    CentralDifference,
    ListwiseRanking,
    MaximumAPosteriori,
    NegativeIdentity,
    NoiseContrastive,
    PairwiseRanking,
    PerturbedFenchelYoung,
    PointwiseRanking,
    RegularizedFenchelYoung,
    SolutionPool,
    SPOPlus,
    Vertices,
    regularized_argmin,
)
from nlcore_decisions.problems.config import METHODS, POOLED, method_class

PAIRS = torch.tensor([p for p in itertools.product([0.0, 1.0], repeat=5) if sum(p) == 2], dtype=torch.float64)
ANY = Vertices(PAIRS.tolist())
POOL = SolutionPool(ANY, PAIRS[::2])

CASES = [(method_class(method), POOL if method in POOLED else ANY, {}) for method in METHODS]
CASES += [(make, ANY, {"objective": "regret"}) for make in (BlackBox, IMLE, AdaptiveIMLE, CentralDifference)]
CASES += [(BlackBox, ANY, {"objective": "squared_error"}), (MaximumAPosteriori, POOL, {"margin": 1.0})]
CASES += [(PerturbedFenchelYoung, ANY, {"noise": "multiplicative"}), (PairwiseRanking, POOL, {"margin": 0.3})]
CASES += [(NegativeIdentity, ANY, {"projection": one}) for one in ("mean", "norm", "standardise")]
CASES += [(SPOPlus, POOL, {})]


def named(case: tuple[Any, Any, dict[str, Any]]) -> str:
    make, argmin, options = case
    return "-".join([make.__name__, type(argmin).__name__, *map(str, options.values())])


def drawn(generator: torch.Generator, count: int = 40) -> tuple[Tensor, Tensor]:
    """Return predicted and true costs."""
    costs = torch.randn(2, count, 5, generator=generator, dtype=torch.float64)
    return costs[0], costs[1]


@pytest.mark.parametrize("sense", ["minimise", "maximise"])
@pytest.mark.parametrize(("make", "argmin", "options"), CASES, ids=map(named, CASES))
class TestAll:
    def test_conforms(self, make, argmin, options, sense) -> None:
        check_algorithm(make(argmin, sense=sense, **options))

    def test_values_are_negated_costs(self, make, argmin, options, sense, generator) -> None:
        if sense == "minimise":
            return
        costs, other = make(argmin, **options), make(argmin, sense=sense, **options)
        prediction, target = costs.example(6, generator=generator, dtype=torch.float64, device="cpu")
        mirrored = -target if costs._wants[0] == "costs" else target
        seeded = torch.Generator().manual_seed
        torch.testing.assert_close(
            other(-prediction, mirrored, generator=seeded(1)), costs(prediction, target, generator=seeded(1))
        )
        slopes = []
        for loss, y, t in ((costs, prediction, target), (other, -prediction, mirrored)):
            leaf = y.clone().requires_grad_()
            loss(leaf, t, generator=seeded(1)).sum().backward()
            slopes.append(leaf.grad)
            if hasattr(loss, "gradient"):
                torch.testing.assert_close(loss.gradient(y, t, generator=seeded(1)), leaf.grad)
        torch.testing.assert_close(slopes[0], -slopes[1])

    def test_identity(self, make, argmin, options, sense) -> None:
        loss = make(argmin, sense=sense, **options)
        for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), dataclasses.replace(loss)):
            assert twin == loss
            assert hash(twin) == hash(loss)
            assert repr(twin) == repr(loss)
        assert repr(loss).startswith(f"{make.__name__}({'Vertices' if argmin is ANY else 'SolutionPool'}(")


class TestDefinitions:
    def test_spo_plus_by_enumeration(self, generator) -> None:
        predicted, true = drawn(generator)
        best = ANY(true)
        worst = ((true - 2 * predicted) @ PAIRS.mT).amax(1)
        expected = worst + 2 * (predicted * best).sum(1) - (true * best).sum(1)
        value = SPOPlus(ANY)(predicted, true)
        torch.testing.assert_close(value, expected)
        assert (value >= nlcore_decisions.regret(ANY, predicted, true) - 1e-12).all()
        assert (SPOPlus(ANY)(true, true) == 0).all()
        for target in ({"costs": true, "solution": best}, {"costs": true}):
            torch.testing.assert_close(SPOPlus(ANY)(predicted, target), value)

    @pytest.mark.parametrize("objective", ["hamming", "squared_error", "regret"])
    def test_black_box(self, objective, generator) -> None:
        predicted, true = drawn(generator)
        target, found = ANY(true), ANY(predicted)
        loss = BlackBox(ANY, interpolation=1.5, objective=objective)
        given = true if objective == "regret" else target
        slope = {"hamming": 1 - 2 * target, "squared_error": 2 * (found - target), "regret": true}[objective]
        torch.testing.assert_close(loss.gradient(predicted, given), (ANY(predicted + 1.5 * slope) - found) / 1.5)
        value = (true * (found - target)).sum(1) if objective == "regret" else (found != target).sum(1).double()
        torch.testing.assert_close(loss(predicted, given), value)

    def test_implicit_methods_without_noise_are_the_black_box(self, generator) -> None:
        predicted, true = drawn(generator)
        for objective in ("hamming", "squared_error", "regret"):
            target = true if objective == "regret" else ANY(true)
            quiet = IMLE(ANY, sigma=1e-9, interpolation=3.0, objective=objective)
            wanted = BlackBox(ANY, interpolation=3.0, objective=objective).gradient(predicted, target)
            torch.testing.assert_close(quiet.gradient(predicted, target, generator=generator), wanted)

    @pytest.mark.parametrize("projection", ["none", "mean", "norm", "standardise"])
    def test_negative_identity(self, projection, generator) -> None:
        predicted, true = drawn(generator)
        target = ANY(true)
        found = NegativeIdentity(ANY, projection=projection).gradient(predicted, target)
        leaf = predicted.clone().requires_grad_()
        projected = leaf - leaf.mean(1, keepdim=True) if projection in ("mean", "standardise") else leaf
        if projection in ("norm", "standardise"):
            projected = projected / projected.norm(dim=1, keepdim=True)
        (wanted,) = torch.autograd.grad(projected, leaf, 2 * (target - ANY(predicted)))
        torch.testing.assert_close(found, wanted)
        torch.testing.assert_close(ANY(projected.detach()), ANY(predicted))  # as the pairs have all the sum 2

    def test_sums_of_gamma_are_gumbel(self, generator) -> None:
        from nlcore_decisions.imle import implicit_noise

        noise = implicit_noise(torch.zeros(20_000, 6, dtype=torch.float64), 1, "sum_of_gamma", 6, generator)[0].sum(1)
        assert float(noise.mean()) == pytest.approx(0.6264, abs=0.05)  # ten terms: .05 above Euler's constant
        assert float(noise.var()) == pytest.approx(torch.pi**2 / 6, rel=0.08)


class TestRegularized:
    def test_it_is_the_projection_onto_the_simplex(self, generator) -> None:
        simplex = Vertices(torch.eye(6).tolist())
        costs = torch.randn(50, 6, generator=generator, dtype=torch.float64)
        for strength in (0.1, 1.0, 10.0):
            ordered = (-costs / strength).sort(dim=1, descending=True).values
            sums = ordered.cumsum(1) - 1
            count = (ordered * torch.arange(1, 7) > sums).sum(1, keepdim=True)
            threshold = sums.gather(1, count - 1) / count
            wanted = (-costs / strength - threshold).clamp(min=0)
            found = RegularizedFenchelYoung(simplex, regularization_strength=strength).solution(costs)
            torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)

    def test_the_optimum_of_random_polytopes(self, generator) -> None:
        for m in (2, 7, 30):
            points = torch.randn(60, m, generator=generator, dtype=torch.float64)
            argmin = Vertices(points.tolist())
            costs = torch.randn(20, m, generator=generator, dtype=torch.float64)
            found = regularized_argmin(argmin, costs, 0.5)
            y = found.solution
            assert found.steps < 100
            torch.testing.assert_close((found.weights[:, None] @ found.vertices)[:, 0], y)
            assert (found.weights >= 0).all()
            torch.testing.assert_close(found.weights.sum(1), torch.ones(20).double())
            slope = costs + 0.5 * y  # no vertex is better along the slope: the condition of an optimum
            assert ((slope @ points.mT).amin(1) >= (slope * y).sum(1) - 1e-9).all()

    def test_value(self, generator) -> None:
        predicted, true = drawn(generator)
        loss, target = RegularizedFenchelYoung(ANY, regularization_strength=0.7), ANY(true)
        y = loss.solution(predicted)
        wanted = (predicted * (target - y)).sum(1) + 0.35 * (target.square().sum(1) - y.square().sum(1))
        torch.testing.assert_close(loss(predicted, target), wanted)
        assert (wanted >= 0.35 * (target - y).square().sum(1) - 1e-9).all()
        assert (loss(-10 * target, target).abs() < 1e-9).all()

    def test_float32_and_few_steps(self, generator) -> None:
        predicted = torch.randn(30, 5, generator=generator)
        loss = RegularizedFenchelYoung(ANY)
        torch.testing.assert_close(loss.solution(predicted), loss.solution(predicted.double()).float())
        rough = RegularizedFenchelYoung(ANY, max_steps=2).solution(predicted)
        assert rough.isfinite().all()
        torch.testing.assert_close(rough.sum(1), torch.full((30,), 2.0))


class TestPools:
    def test_losses_by_enumeration(self, generator) -> None:
        predicted, true = drawn(generator)
        target, pool = ANY(true), POOL.solutions
        ahead = (predicted * target).sum(1, keepdim=True) - predicted @ pool.mT
        torch.testing.assert_close(NoiseContrastive(POOL)(predicted, target), ahead.mean(1))
        torch.testing.assert_close(MaximumAPosteriori(POOL)(predicted, target), ahead.amax(1).clamp(min=0))
        behind = true @ pool.mT - (true * target).sum(1, keepdim=True)
        margin, both = MaximumAPosteriori(POOL, margin=0.5), {"costs": true, "solution": target}
        torch.testing.assert_close(margin(predicted, both), (ahead + 0.5 * behind).amax(1).clamp(min=0))
        p, q = predicted @ pool.mT, true @ pool.mT
        torch.testing.assert_close(PointwiseRanking(POOL)(predicted, true), (p - q).square().mean(1))
        wanted = torch.nn.functional.cross_entropy(-p / 0.5, torch.softmax(-q / 0.5, 1), reduction="none")
        torch.testing.assert_close(ListwiseRanking(POOL, temperature=0.5)(predicted, true), wanted)
        for i in range(len(p)):
            b = int(q[i].argmin())
            hinges = [max(0.0, 0.2 + float(p[i, b] - p[i, s])) for s in range(len(pool)) if s != b]
            value = PairwiseRanking(POOL, margin=0.2)(predicted[i : i + 1], true[i : i + 1])
            assert float(value) == pytest.approx(sum(hinges) / (len(pool) - 1))

    def test_a_pool_grows_and_is_the_best_of_what_it_has(self, generator) -> None:
        pool = SolutionPool(ANY, PAIRS[:3].int(), solve_ratio=0.5, seed=1)
        costs = torch.randn(500, 8, 5, generator=generator)
        solved = 0
        for one in costs:
            before = pool.like(one).clone()
            found = pool(one)
            torch.testing.assert_close(pool.best(one), found) if len(pool) == len(before) else None
            exact = torch.equal((one * found).sum(1), (one * ANY(one)).sum(1))
            solved += exact
            if not exact:
                torch.testing.assert_close((one * found).sum(1), (one @ before.mT).amin(1))
        assert len(pool) == 10  # all pairs, each once
        assert torch.equal(torch.unique(pool.solutions, dim=0), torch.unique(PAIRS, dim=0))
        assert pool.add(PAIRS) == 0
        assert solved > 200

    def test_the_share_of_solved_batches(self) -> None:
        calls = []

        def counted(costs: Tensor) -> Tensor:
            calls.append(len(costs))
            return ANY(costs)

        pool = SolutionPool(counted, PAIRS[:3], solve_ratio=0.2)
        for _ in range(1000):
            pool(torch.ones(1, 5))
        assert 160 < len(calls) < 240
        for ratio, expected in ((0.0, 0), (1.0, 7)):
            calls.clear()
            pool = SolutionPool(counted, PAIRS[:3], solve_ratio=ratio)
            for _ in range(7):
                pool(torch.ones(1, 5))
            assert len(calls) == expected

    def test_a_copy_goes_on_alike(self, generator) -> None:
        pool = SolutionPool(ANY, PAIRS[:3], solve_ratio=0.5)
        for _ in range(5):
            pool(torch.randn(2, 5, generator=generator))
        twin = pickle.loads(pickle.dumps(pool))
        assert twin == pool
        assert hash(twin) == hash(pool)
        for _ in range(20):
            costs = torch.randn(2, 5, generator=generator)
            assert torch.equal(twin(costs), pool(costs))
        pool.add(PAIRS)
        assert twin != pool

    def test_a_loss_refreshes_its_pool(self, generator) -> None:
        pool = SolutionPool(ANY, PAIRS[:2], solve_ratio=1.0)
        loss = NoiseContrastive(pool)
        loss(torch.randn(500, 5, generator=generator), PAIRS[:1].expand(500, 5).float())
        assert len(pool) == 10

    def test_wrong_use(self) -> None:
        with pytest.raises(ConfigError, match="needs solutions to compare: give SolutionPool"):
            NoiseContrastive(ANY)
        with pytest.raises(ConfigError, match=r"solve_ratio was given 1\.5"):
            SolutionPool(ANY, PAIRS, solve_ratio=1.5)
        with pytest.raises(ShapeError, match=r"\[0, 5\]; \[P, \*event\]"):
            SolutionPool(ANY, PAIRS[:0])
        with pytest.raises(ShapeError, match=r"add has shape \[10, 4\]"):
            SolutionPool(ANY, PAIRS).add(PAIRS[:, :4])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c, t: (c[0], t[0]), ShapeError, r"shape \[5\], but \[batch, n\]"),
        (lambda c, t: (c[:, :4], t[:, :4]), ShapeError, r"\[batch, 5\] is needed, the shape that"),
        (lambda c, t: (c.long(), t), DtypeError, r"\.float\(\)"),
        (lambda c, t: (c, t[:2]), ShapeError, r"has shape \[2, 5\]"),
        (lambda c, t: (c, t.to("meta")), DeviceError, "on meta"),
        (lambda c, t: (c, t.tolist()), ContractError, "is a list"),
        (lambda c, t: (c * torch.nan, t), NonFiniteError, r"samples 0, 1, 2.*sample 0 has nan at 0"),
        (lambda c, t: (c, t * torch.inf), NonFiniteError, "are NaN or infinite"),
        (lambda c, t: (c, {"cost": t}), ContractError, r"'cost' \(did you mean 'costs'\?\)"),
        (lambda c, t: (c, {}), ContractError, "the target holds nothing"),
    ],
)
@pytest.mark.parametrize(("make", "argmin", "options"), CASES[::3], ids=map(named, CASES[::3]))
def test_wrong_inputs(make, argmin, options, change, error, message, generator) -> None:
    loss = make(argmin, **options)
    with pytest.raises(error, match=message) as caught:
        loss(*change(*loss.example(3, generator=generator, dtype=torch.float64, device="cpu")))
    assert str(caught.value).startswith(f"{make.__name__}: ")


def test_a_missing_part_of_the_target_is_named(generator) -> None:
    predicted, true = drawn(generator, 3)
    with pytest.raises(ContractError, match="SPOPlus: the target lacks the true costs"):
        SPOPlus(ANY)(predicted, {"solution": ANY(true)})
    solution = PerturbedFenchelYoung(ANY)(predicted, ANY(true), generator=torch.Generator().manual_seed(0))
    costs = PerturbedFenchelYoung(ANY)(predicted, {"costs": true}, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(solution, costs)


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (PerturbedFenchelYoung, {"sigma": 0.0}, "'sigma' was given 0.0"),
        (PerturbedFenchelYoung, {"num_samples": 1}, "needs num_samples ≥ 2"),
        (PerturbedFenchelYoung, {"noise": "gumbel"}, "'noise' was given 'gumbel'"),
        (SPOPlus, {"sense": "max"}, "'sense' was given 'max'"),
        (SPOPlus, {"min_cost": -1.0}, "'min_cost' was given -1.0"),
        (BlackBox, {"objective": "l1"}, "'objective' was given 'l1'"),
        (RegularizedFenchelYoung, {"regularization_strength": 0}, "'regularization_strength'"),
    ],
)
def test_bad_options(make, wrong, message) -> None:
    with pytest.raises(ConfigError, match=message):
        make(ANY, **wrong)
    with pytest.raises(ConfigError, match="argmin was given"):
        make(PAIRS)
    with pytest.raises(ConfigError, match="argmin was given"):
        make(Vertices)


def test_costs_that_a_method_changes_are_kept_above_min_cost(generator) -> None:
    seen = []

    def positive(costs: Tensor) -> Tensor:
        seen.append(float(costs.min()))
        return ANY(costs)

    for make in (SPOPlus, PerturbedFenchelYoung, IMLE, AdaptiveIMLE, BlackBox, CentralDifference):
        seen.clear()
        loss = make(positive, shape=(5,), min_cost=0.25)
        costs, target = loss.example(20, generator=generator, dtype=torch.float64, device="cpu")
        costs = (costs / 4).clamp(min=0.3)
        loss.gradient(costs, target, generator=generator)
        assert min(seen) == 0.25


def test_decisions(generator) -> None:
    predicted, _ = drawn(generator)
    assert torch.equal(SPOPlus(ANY).decide(predicted), ANY(predicted))
    assert torch.equal(SPOPlus(ANY, sense="maximise").decide(predicted), ANY(-predicted))
    assert SPOPlus(ANY).decide(predicted.half()).dtype == torch.float16


@pytest.mark.parametrize("curvature", [nlcore.EmpiricalFisher(), nlcore.Hessian(psd="abs")], ids=["Fisher", "Hessian"])
def test_a_newton_step_solves_once(curvature, generator, monkeypatch) -> None:
    calls = []
    solve = Vertices._solved
    monkeypatch.setattr(Vertices, "_solved", lambda self, flat: calls.append(len(flat)) or solve(self, flat))
    criterion = nlcore.NewtonLoss(PerturbedFenchelYoung(ANY, num_samples=7), curvature, generator=generator)
    predicted, target = criterion.loss.example(20, generator=generator, dtype=torch.float64, device="cpu")
    criterion(predicted.requires_grad_(), target)  # the first use has checks of its own
    calls.clear()
    criterion(predicted, target)
    assert calls == [7 * len(predicted)]


@pytest.mark.parametrize("make", [PerturbedFenchelYoung, SPOPlus, BlackBox, IMLE, CentralDifference])
def test_solutions_that_are_kept_change_no_number(make, monkeypatch) -> None:
    def numbers(loss: Any) -> list[Tensor]:
        first = torch.Generator().manual_seed(0)
        costs, target = loss.example(20, generator=first, dtype=torch.float64, device="cpu")
        found = []
        for _ in range(2):
            for seed in (1, 1, 2):
                state = torch.Generator().manual_seed(seed)
                found += [loss(costs, target, generator=state), loss.gradient(costs, target, generator=state)]
            costs += 1e-3 * found[-1]  # in place, as an optimiser changes a parameter
        return found

    kept = numbers(make(ANY))
    monkeypatch.setattr(make, "_repeatable", False)
    torch.testing.assert_close(kept, numbers(make(ANY)), rtol=0, atol=0)


def test_solutions_of_a_users_argmin_which_may_change_are_not_kept(generator) -> None:
    calls = []

    def argmin(costs: Tensor) -> Tensor:
        calls.append(len(costs))
        return ANY(costs)

    loss = NegativeIdentity(argmin, shape=(5,))
    costs, target = loss.example(20, generator=generator, dtype=torch.float64, device="cpu")
    loss(costs, target)
    calls.clear()
    loss(costs, target)
    assert calls == [20]


def test_kept_solutions_are_not_pickled(generator) -> None:
    loss = NegativeIdentity(ANY)
    size = len(pickle.dumps(loss))
    loss(*loss.example(20, generator=generator, dtype=torch.float64, device="cpu"))
    assert len(pickle.dumps(loss)) < size + 200
    assert pickle.loads(pickle.dumps(loss)) == loss == copy.deepcopy(loss)
