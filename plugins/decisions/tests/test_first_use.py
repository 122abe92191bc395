"""What the first use of an argmin finds, and regret."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore.errors import (
    ConfigError,
    ContractError,
    DtypeError,
    InPlaceError,
    NonFiniteError,
    NumericalWarning,
    ShapeError,
)
from nlcore_decisions import (
    CentralDifference,
    NegativeIdentity,
    PerturbedFenchelYoung,
    SolutionPool,
    SPOPlus,
    TopK,
    Vertices,
    normalised_regret,
    regret,
)

PAIRS = torch.tensor([p for p in itertools.product([0.0, 1.0], repeat=5) if sum(p) == 2])
BEST = Vertices(PAIRS.tolist())


def largest(costs: Tensor) -> Tensor:
    return BEST(-costs)


def second_best(costs: Tensor) -> Tensor:
    return PAIRS.to(costs)[(costs @ PAIRS.to(costs).mT).topk(2, dim=1, largest=False).indices[:, 1]]


def random(costs: Tensor) -> Tensor:
    return BEST(costs + 2 * torch.randn_like(costs))


def of_the_mean(costs: Tensor) -> Tensor:
    return BEST(costs.mean(0, keepdim=True).expand_as(costs) + 0 * costs)


def in_place(costs: Tensor) -> Tensor:
    found = BEST(costs)
    costs.mul_(2)
    return found


def emptied(costs: Tensor) -> Tensor:
    found = BEST(costs)
    costs.zero_()
    return found


def not_finite(costs: Tensor) -> Tensor:
    return BEST(costs) / 0


@pytest.mark.parametrize(
    ("argmin", "error", "message"),
    [
        (largest, ContractError, r"does not minimise: for samples .* costs .*, and that of sample .*solver\(-costs\)"),
        (second_best, ContractError, "does not minimise"),
        (random, ContractError, r"is random: called twice .* for sample \d"),
        (of_the_mean, ContractError, r"mixes samples: sample \d has a solution of cost .* alone"),
        (in_place, InPlaceError, "changes its costs in place"),
        (emptied, InPlaceError, "changes its costs in place"),
        (not_finite, NonFiniteError, r"the argmin's solutions of samples .* are NaN or infinite.* call the argmin"),
        (lambda costs: BEST(costs).to(torch.int64), DtypeError, r"returned torch\.int64.*\.to\(costs\.dtype\)"),
        (lambda costs: BEST(costs).tolist(), ContractError, r"returned a list.*torch\.as_tensor"),
        (lambda costs: BEST(costs).argmax(1), ShapeError, r"\[16, 5\] and returned \[16\]"),
        (lambda costs: None, ContractError, "returned a NoneType"),
    ],
)
@pytest.mark.parametrize("make", [SPOPlus, PerturbedFenchelYoung, NegativeIdentity])
def test_what_is_no_argmin_is_told(make, argmin, error, message, generator) -> None:
    loss = make(argmin)
    costs, true = torch.randn(2, 40, 5, generator=generator)
    with pytest.raises(error, match=message) as caught:
        loss(costs, true if make is SPOPlus else BEST(true))
    assert str(caught.value).startswith(f"{make.__name__}: the ")


def test_an_error_of_a_function_for_one_problem_names_the_wrapper(generator) -> None:
    def first_is_cheap(costs: Any) -> Any:
        return BEST(costs) if costs[0] < 0 else BEST(-costs)

    costs, true = torch.randn(2, 40, 5, generator=generator)
    with pytest.raises(RuntimeError, match="ambiguous") as caught:
        PerturbedFenchelYoung(first_is_cheap)(costs, BEST(true))
    assert "a batch of costs, [16, 5]" in caught.value.__notes__[0]
    assert "Instances(function)" in caught.value.__notes__[0]
    assert "give context=" in caught.value.__notes__[0]


def test_targets_that_are_no_solutions_are_told(generator) -> None:
    costs, true = torch.randn(2, 40, 5, generator=generator)
    everything = torch.ones_like(costs)
    with pytest.raises(ContractError, match=r"the target of samples .* better than the best solution: with the predic"):
        PerturbedFenchelYoung(lambda costs: BEST(costs))(-costs.abs(), everything)
    with pytest.raises(ContractError, match=r"with its true numbers, the target of sample \d+ has the objective"):
        SPOPlus(BEST)(costs, {"costs": true, "solution": BEST(true) - 0.2 * true})
    PerturbedFenchelYoung(BEST)(costs, BEST(true))


def test_values_passed_as_costs_are_told(generator) -> None:
    values = torch.rand(30, 5, generator=generator) + 0.1
    predicted = torch.rand(30, 5, generator=generator)
    target = {"costs": values, "solution": TopK(2)(-values)}
    with pytest.warns(NumericalWarning, match=r"is not the best solution .* sense='maximise' is for"):
        SPOPlus(TopK(2))(predicted, target)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SPOPlus(TopK(2), sense="maximise")(predicted, target)


def test_samples_have_their_index_in_the_batch(generator) -> None:
    costs = torch.randn(40, 5, generator=generator)
    found = {tuple(row): i for i, row in enumerate(BEST(costs).tolist())}
    assert len(found) > 5

    def argmin(given: Tensor) -> Tensor:
        solutions = BEST(given)
        solutions[(given == costs[39]).all(1)] = torch.nan
        return solutions

    with pytest.raises(NonFiniteError, match="solutions of samples 39 are NaN or infinite; sample 39 has nan at 0"):
        NegativeIdentity(argmin)(costs, BEST(costs))


@pytest.mark.parametrize("make", [SPOPlus, PerturbedFenchelYoung, NegativeIdentity])
def test_a_target_that_is_no_solution_is_told_whatever_it_costs(make, generator) -> None:
    costs, true = torch.randn(2, 40, 5, generator=generator)
    solution = TopK(2)(true)
    solution[7] = 0
    solution[7, 3] = 1
    target = {"costs": true, "solution": solution}
    with pytest.raises(ContractError, match=r"of samples 7 is not a solution of TopK: .* sample 7 is \[0, 0, 0, 1"):
        make(TopK(2))(costs, target)
    solution[7] = 0.4  # the mean of all solutions, as of several that are as good
    target["costs"][7] = 1
    make(TopK(2))(costs, target)


def test_solutions_in_place_of_true_costs_are_told(generator) -> None:
    costs, true = torch.randn(2, 40, 5, generator=generator)
    solution = TopK(2)(true)
    with pytest.raises(ContractError, match=r"those of every sample are a solution of TopK: that of sample 0 is \["):
        SPOPlus(TopK(2))(costs, solution)
    SPOPlus(TopK(2))(costs, {"costs": solution})
    SPOPlus(TopK(2), sense="maximise")(costs, solution)  # as values, they have themselves as solutions
    SPOPlus(BEST)(costs, torch.ones_like(true))


def test_a_target_that_is_not_the_best_is_warned_of(generator) -> None:
    costs, true = torch.randn(2, 40, 5, generator=generator)
    solution = BEST(true)
    solution[11] = BEST(-true)[11]
    with pytest.warns(NumericalWarning, match=r"of samples 11 is not the best .* Leave 'solution' out"):
        PerturbedFenchelYoung(BEST)(costs, {"costs": true, "solution": solution})


def test_an_argmin_that_takes_nothing_is_warned_of(generator) -> None:
    knapsack = Vertices([[0.0] * 5, *PAIRS.tolist()])
    values = torch.rand(2, 20, 5, generator=generator)
    with pytest.warns(NumericalWarning, match=r"every solution is 0, .* \(sense='minimise'\).* Values need sense='max"):
        SPOPlus(knapsack)(*values)
    with pytest.warns(NumericalWarning, match=r"every solution is 0"):
        SPOPlus(lambda costs: knapsack(-costs), sense="maximise")(*values)
    SPOPlus(knapsack, sense="maximise")(*values)
    SPOPlus(knapsack)(values[0], -values[1])


def test_a_maximiser_is_told_by_the_true_costs_if_the_predictions_are_equal(generator) -> None:
    with pytest.raises(ContractError, match=r"does not minimise: .* with the true costs of sample \d+"):
        SPOPlus(largest)(torch.ones(20, 5), torch.randn(20, 5, generator=generator))


@pytest.mark.parametrize("deviation", [1e-9, 1e-7, 1e-6])
@pytest.mark.parametrize("make", [SPOPlus, PerturbedFenchelYoung, NegativeIdentity])
def test_the_tolerance_of_a_solver_is_no_fault(make, deviation, generator) -> None:
    exact = Vertices([[0.0] * 5, *PAIRS.tolist()])

    def near(costs: Tensor) -> Tensor:
        return exact(costs) + deviation * torch.sin(1e3 * costs)

    for scale in (1e-12, 1.0, 1e12):
        for sign in (1, -1):  # of which one has no solution but 0
            costs, true = sign * scale * torch.rand(2, 20, 5, generator=generator, dtype=torch.float64)
            true[0] *= -1
            for argmin, target in ((near, exact), (exact, near), (near, near)):
                make(argmin)(costs, {"costs": true, "solution": target(true)})
                regret(argmin, costs, true, solution=target(true))


def test_under_transforms(generator) -> None:
    pytest.importorskip("numpy")

    def elsewhere(costs: Tensor) -> Tensor:  # needs the memory of a plain tensor
        return torch.from_numpy(BEST(costs).numpy().copy())

    costs, true = torch.randn(2, 20, 5, generator=generator)
    for loss in (SPOPlus(elsewhere), NegativeIdentity(elsewhere)):
        target = {"costs": true, "solution": BEST(true)}
        found = torch.func.grad(lambda x, loss=loss, target=target: loss(x, target).sum())(costs)
        assert torch.equal(found, loss.gradient(costs, target))
        rows = torch.func.jacrev(lambda x, loss=loss, target=target: loss(x, target))(costs)
        assert torch.equal(rows.sum(0), found)
        with pytest.raises(ContractError, match=r"cannot run under torch\.vmap.* part of the batch"):
            torch.func.vmap(lambda x, loss=loss, target=target: loss(x, target))(costs.expand(3, 20, 5))


def test_it_is_checked_once_and_for_few_samples(generator) -> None:
    sizes = []

    def counted(costs: Tensor) -> Tensor:
        sizes.append(len(costs))
        return BEST(costs)

    loss = NegativeIdentity(counted)
    costs = torch.randn(100, 5, generator=generator)
    for _ in range(3):
        loss(costs, BEST(costs))
    assert sizes == [16, 16, 1, 1, 1, 100, 100, 100]
    sizes.clear()
    equal = NegativeIdentity(counted)
    for _ in range(5):
        equal(torch.ones(4, 5), BEST(torch.ones(4, 5)))  # all solutions are the same, so nothing can be found
    assert len(sizes) == 5 + 3 * 6


def test_a_pool_is_checked_by_its_argmin(generator) -> None:
    costs, true = torch.randn(2, 40, 5, generator=generator)
    SPOPlus(SolutionPool(BEST, PAIRS[:3]))(costs, true)
    with pytest.raises(ContractError, match="does not minimise"):
        SPOPlus(SolutionPool(largest, PAIRS[:3]))(costs, true)
    assert torch.equal(SPOPlus(SolutionPool(BEST, PAIRS[:3])).decide(costs), BEST(costs))


def test_no_check_where_values_cannot_be_read(generator) -> None:
    loss = NegativeIdentity(lambda costs: torch.zeros_like(costs))
    assert loss(torch.empty(3, 5, device="meta"), torch.empty(3, 5, device="meta")).shape == (3,)


class TestContext:
    """Capacities that differ between samples: y is 1 on the `count` cheapest elements."""

    @staticmethod
    def cheapest(costs: Tensor, count: Tensor) -> Tensor:
        return (costs.argsort(1).argsort(1) < count[:, None]).to(costs.dtype)

    @pytest.mark.parametrize("make", [SPOPlus, PerturbedFenchelYoung, NegativeIdentity, CentralDifference])
    def test_each_sample_is_solved_with_its_own(self, make, generator) -> None:
        loss = make(self.cheapest)
        costs, true = torch.randn(2, 20, 5, generator=generator)
        count = torch.arange(20) % 4 + 1
        target = true if make is SPOPlus else self.cheapest(true, count)
        assert loss.traits.takes_context
        gradient = loss.gradient(costs, target, context=count, generator=generator)
        assert (gradient.sum(1).abs() < 1e-4).all()  # both solutions have as many elements
        leaf = costs.clone().requires_grad_()
        nlcore.NewtonLoss(loss)(leaf, target, context=count).backward()
        assert leaf.grad.isfinite().all()
        assert torch.equal(loss.decide(costs, context=count).sum(1), count.float())

    def test_wrong_use(self, generator) -> None:
        costs = torch.randn(4, 5, generator=generator)
        with pytest.raises(ContractError, match=r"a tensor \[4\], but Vertices takes no context.*NegativeIdentity\("):
            NegativeIdentity(BEST)(costs, BEST(costs), context=torch.ones(4))
        with pytest.raises(ContractError, match="takes no context; give it a second positional parameter"):
            NegativeIdentity(largest)(costs, BEST(costs), context=torch.ones(4))
        with pytest.raises(ContractError, match="takes no context; a pool serves problems over one set"):
            NegativeIdentity(SolutionPool(BEST, PAIRS))(costs, BEST(costs), context=torch.ones(4))
        with pytest.raises(ContractError, match="regret: a context was given, and the argmin takes none"):
            regret(BEST, costs, costs, context=torch.ones(4))
        with pytest.raises(ContractError, match="needs a context"):
            NegativeIdentity(self.cheapest)(costs, BEST(costs))
        with pytest.raises(ContractError, match="the example lacks a context"):
            NegativeIdentity(self.cheapest).example(2, generator=generator, dtype=torch.float32, device="cpu")

    @pytest.mark.parametrize(
        ("context", "error", "message"),
        [
            (
                None,
                ContractError,
                r"needs a context, its parameter 'context': give \w+\(.*, context=…",
            ),
            (torch.ones(4), ContractError, r"raised IndexError: .* costs \[4, 5\] and the context a tensor \[4\]"),
            (
                {"counts": torch.ones(4)},
                ContractError,
                r"raised KeyError: 'count'.* \{'counts': a tensor \[4\]\}",
            ),
            ({"count": 2}, ContractError, r"raised TypeError: .*the context \{'count': 2\}"),
            ({"count": [1, 2, 3, 4]}, ContractError, r"raised TypeError: .* context \{'count': \[1, 2, 3, 4\]\}"),
            ({"count": torch.ones(3)}, ShapeError, r"the context is \{'count': a tensor \[3\]\}.* here 4 samples"),
            ({"count": torch.tensor(2)}, ShapeError, r"'count': a tensor \[\]\}.*belong in the argmin"),
        ],
    )
    def test_another_context_than_the_argmin_reads(self, context, error, message, generator) -> None:
        def argmin(costs: Tensor, context: dict[str, Tensor]) -> Tensor:
            return self.cheapest(costs, context["count"])

        costs, loss = torch.randn(4, 5, generator=generator), NegativeIdentity(argmin)
        uses = (
            lambda: loss(costs, BEST(costs), context=context),
            lambda: loss.gradient(costs, BEST(costs), context=context),
            lambda: loss.decide(costs, context=context),
            lambda: regret(argmin, costs, costs, context=context),
        )
        for use in uses:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # torch warns of a key that is a list
                with pytest.raises(error, match=message):
                    use()

    def test_errors_of_an_argmin_itself_stay(self, generator) -> None:
        def argmin(costs: Tensor, count: Tensor) -> Tensor:
            raise InPlaceError("mine")

        with pytest.raises(InPlaceError, match=r"^mine$"):
            NegativeIdentity(argmin).decide(torch.ones(2, 5), context=torch.ones(2))

    def test_an_argmin_without_a_shape_has_no_example_until_it_is_given(self, generator) -> None:
        def argmin(costs: Tensor) -> Tensor:
            return BEST(costs)

        about: dict[str, Any] = {"generator": generator, "dtype": torch.float32, "device": "cpu"}
        with pytest.raises(ContractError, match=r"lacks the shape of a sample. Give the option shape"):
            NegativeIdentity(argmin).example(2, **about)
        assert NegativeIdentity(argmin, shape=(5,)).example(2, **about)[0].shape == (2, 5)


class TestRegret:
    def test_by_enumeration(self, generator) -> None:
        predicted, true = torch.randn(2, 50, 5, generator=generator, dtype=torch.float64)
        for sense, sign in (("minimise", 1), ("maximise", -1)):
            objectives = sign * true @ PAIRS.double().mT
            chosen = (sign * predicted @ PAIRS.double().mT).argmin(1, keepdim=True)
            wanted = objectives.gather(1, chosen)[:, 0] - objectives.amin(1)
            found = regret(BEST, predicted, true, sense=sense)
            torch.testing.assert_close(found, wanted)
            assert (found >= 0).all()
            share = normalised_regret(BEST, predicted, true, sense=sense)
            torch.testing.assert_close(share, wanted.sum() / objectives.amin(1).abs().sum())
            known = regret(BEST, predicted, true, sense=sense, solution=BEST(sign * true))
            torch.testing.assert_close(known, wanted)

    def test_a_negative_regret_is_an_error(self, generator) -> None:
        predicted, true = torch.randn(2, 50, 5, generator=generator)
        with pytest.raises(ContractError, match=r"the regret of samples .* is negative: .*sense='maximise'"):
            regret(largest, predicted, true)
        with pytest.raises(ContractError, match="is negative"):
            normalised_regret(BEST, predicted, true, solution=BEST(-true))

    def test_without_a_unit(self, generator) -> None:
        knapsack = Vertices([[0.0] * 5, *PAIRS.tolist()])
        values = torch.rand(2, 20, 5, generator=generator)
        with pytest.raises(ContractError, match=r"of all 20 samples are 0.* sense='maximise'"):
            normalised_regret(knapsack, *values)

    def test_with_a_context(self, generator) -> None:
        predicted, true = torch.randn(2, 20, 5, generator=generator)
        count = torch.arange(20) % 4 + 1
        assert (regret(TestContext.cheapest, predicted, true, context=count) >= 0).all()

    def test_wrong_use(self) -> None:
        with pytest.raises(ShapeError, match=r"true_costs has shape \[3, 4\]"):
            regret(BEST, torch.ones(3, 5), torch.ones(3, 4))
        with pytest.raises(ConfigError, match="sense was given 'max'"):
            regret(BEST, torch.ones(3, 5), torch.ones(3, 5), sense="max")  # type: ignore[arg-type]
        with pytest.raises(NonFiniteError, match="the predictions of samples 0"):
            regret(BEST, torch.full((1, 5), torch.nan), torch.ones(1, 5))
