"""Gradients and Hessians read off samples against closed forms, and where there is none against each other.

On 2×2 maps with 4 neighbours there are two paths, and which is shorter depends on Δ = c(1, 0) − c(0, 1) alone. The
noise on Δ is normal with deviation s = σ√2, so the path through (0, 1) is taken with probability Φ(Δ/s): every smoothed
value, gradient and Hessian is known. Estimates are means over many batches; they must lie within five standard errors
of these means.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from nlcore_decisions import perturbed as P
from nlcore_shortest_paths import (
    IMLE,
    BlackBox,
    CentralDifference,
    MaxEntropy,
    NegativeIdentity,
    PerturbedFenchelYoung,
    SmoothedAlgorithm,
    SmoothedLoss,
    SPOPlus,
    shortest_path,
)

CONTROLS = ("none", "leave_one_out", "antithetic")
COSTS = torch.tensor([[[5.0, 5.0], [5.6, 5.0]]], dtype=torch.float64)
TARGET = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]], dtype=torch.float64)
SIGMA = 0.7
SPREAD = SIGMA * math.sqrt(2)
DELTA = 0.6
FIRST = 0.5 * (1 + math.erf(DELTA / SPREAD / math.sqrt(2)))  # probability of the path through (0, 1)
SLOPE = math.exp(-0.5 * (DELTA / SPREAD) ** 2) / math.sqrt(2 * math.pi) / SPREAD  # its derivative by Δ
BEND = -SLOPE * DELTA / SPREAD**2  # its second derivative
ACROSS = torch.tensor([0.0, -1.0, 1.0, 0.0], dtype=torch.float64)  # ∂Δ/∂c
MEAN = torch.tensor([[1.0, FIRST], [1 - FIRST, 1.0]], dtype=torch.float64)


def estimates(compute: Callable[[torch.Generator], Tensor], rounds: int = 40) -> tuple[Tensor, Tensor]:
    """Return mean and standard error of what `compute` returns for maps in a batch, over batches."""
    found = torch.cat([compute(torch.Generator().manual_seed(seed)) for seed in range(rounds)])
    return found.mean(0), found.std(0) / math.sqrt(len(found))


def assert_unbiased(compute: Callable[[torch.Generator], Tensor], wanted: Tensor, *, bias: float = 0.0) -> None:
    mean, error = estimates(compute)
    assert float(error.max()) < 0.02, "the error bar is too wide to tell anything"
    assert ((mean - wanted).abs() <= 5 * error + bias + 1e-12).all(), (mean, wanted, error)


def many(count: int = 500) -> tuple[Tensor, Tensor]:
    return COSTS.expand(count, 2, 2), TARGET.expand(count, 2, 2)


def options(control: Any, samples: int = 6) -> dict[str, Any]:
    return {"num_samples": samples, "sigma": SIGMA, "neighbours": 4, "control": control}


@pytest.mark.parametrize("control", CONTROLS)
class TestClosedForms:
    def test_fenchel_young(self, control) -> None:
        loss = PerturbedFenchelYoung(**options(control))
        assert_unbiased(lambda g: loss.gradient(*many(), generator=g), TARGET[0] - MEAN)
        assert_unbiased(lambda g: loss.hessian(*many(), generator=g), SLOPE * torch.outer(ACROSS, ACROSS))
        # E min = E c(0, 1) + E min(0, Δ + noise); the first and last cell are on either path
        least = 5 + DELTA * (1 - FIRST) - SPREAD**2 * SLOPE
        assert_unbiased(lambda g: loss(*many(), generator=g), torch.tensor(5.6 - least, dtype=torch.float64))

    def test_odd_numbers_of_samples(self, control) -> None:
        loss = PerturbedFenchelYoung(**options(control, samples=5))
        assert_unbiased(lambda g: loss.gradient(*many(), generator=g), TARGET[0] - MEAN)
        assert_unbiased(lambda g: loss.hessian(*many(), generator=g), SLOPE * torch.outer(ACROSS, ACROSS))

    def test_smoothed_loss(self, control) -> None:
        loss = SmoothedLoss(**options(control))
        assert_unbiased(lambda g: loss(*many(), generator=g), torch.tensor(2 * FIRST, dtype=torch.float64))
        wanted = 2 * SLOPE * ACROSS.reshape(2, 2)
        assert_unbiased(lambda g: loss.gradient(*many(2000), generator=g), wanted)
        bend = 2 * BEND * torch.outer(ACROSS, ACROSS)
        assert_unbiased(lambda g: loss.hessian(*many(3000), generator=g), bend)

    def test_smoothed_algorithm(self, control) -> None:
        # ℓ = 2 F², and both factors come from the same samples: a bias of the order of 1/S
        loss = SmoothedAlgorithm(**options(control, samples=200))
        gradient = 4 * FIRST * SLOPE * ACROSS.reshape(2, 2)
        assert_unbiased(lambda g: loss.gradient(*many(50), generator=g), gradient, bias=0.02)
        hessian = 4 * (SLOPE**2 + FIRST * BEND) * torch.outer(ACROSS, ACROSS)
        # JᵀJ of a noisy J has twice its variance on the diagonal: 2 E‖y‖²/(Sσ²) = .06 without a control variate
        assert_unbiased(lambda g: loss.hessian(*many(150), generator=g), hessian, bias=0.08)


def test_central_difference_on_two_paths() -> None:
    loss = CentralDifference(num_samples=200, sigma=SIGMA, neighbours=4, step=0.2)
    gradient = 4 * FIRST * SLOPE * ACROSS.reshape(2, 2)
    assert_unbiased(lambda g: loss.gradient(*many(50), generator=g), gradient, bias=0.02)


def random_maps(generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    costs = torch.rand(1, 4, 4, generator=generator, dtype=torch.float64) * 2 + 4
    target = shortest_path(torch.rand(1, 4, 4, generator=generator, dtype=torch.float64) + 1)
    return costs.expand(count, 4, 4), target.expand(count, 4, 4)


def test_difference_and_score_function_agree_on_larger_maps(generator) -> None:
    costs, _ = random_maps(generator, 400)
    vector = torch.randn(1, 4, 4, generator=generator, dtype=torch.float64).expand_as(costs)
    argmin = shortest_path

    def difference(g: torch.Generator) -> Tensor:
        noise = P.draw_noise(costs, 8, generator=g)
        return P.central_difference(argmin, costs, vector, noise, sigma=0.7, step=0.3)

    def score(g: torch.Generator) -> Tensor:
        noise = P.draw_noise(costs, 24, generator=g, control="antithetic")
        j = P.jacobian(P.solutions(argmin, costs + 0.7 * noise), noise, 0.7, control="antithetic")
        return (j.mT @ vector.flatten(1)[:, :, None]).reshape(costs.shape)

    (one, narrow), (other, wide) = estimates(difference, 20), estimates(score, 20)
    assert ((one - other).abs() <= 5 * (narrow + wide) + 0.01).all()
    assert (other / wide).abs().max() > 10  # there is something to agree on


def test_the_jacobian_is_symmetric_and_the_fenchel_young_hessian_semidefinite_in_the_mean(generator) -> None:
    costs, target = random_maps(generator, 400)
    loss = PerturbedFenchelYoung(num_samples=24, sigma=0.7, control="antithetic")
    mean, error = estimates(lambda g: loss.hessian(costs, target, generator=g), 20)
    assert torch.linalg.eigvalsh(mean)[0] > -5 * float(error.norm())
    noise = P.draw_noise(costs, 24, generator=generator, control="antithetic")
    j = P.jacobian(P.solutions(shortest_path, costs + 0.7 * noise), noise, 0.7, control="antithetic")
    gap = (j - j.mT).mean(0)
    assert (gap.abs() <= 5 * (j - j.mT).std(0) / math.sqrt(len(j)) + 1e-12).all()
    few = PerturbedFenchelYoung(num_samples=3, sigma=0.7).hessian(costs, target, generator=generator)
    assert torch.equal(few, few.mT)
    assert float(torch.linalg.eigvalsh(few).min()) < -0.1  # as its page says


@pytest.mark.parametrize("control", ["leave_one_out", "antithetic"])
def test_control_variates_reduce_the_variance(control, generator) -> None:
    costs, target = random_maps(generator, 300)
    target = torch.ones_like(target)  # far away, so that the values have a mean to subtract
    spread = {
        name: SmoothedLoss(num_samples=8, sigma=0.7, control=name)
        .gradient(costs, target, generator=torch.Generator().manual_seed(0))
        .var(0)
        .mean()
        for name in (control, "none")
    }
    assert spread[control] < 0.5 * spread["none"]


def test_samples_of_the_fenchel_young_value_are_never_negative(generator) -> None:
    costs = torch.rand(500, 4, 4, generator=generator) + 0.05
    target = shortest_path(torch.rand(500, 4, 4, generator=generator) + 0.1)
    assert (PerturbedFenchelYoung(num_samples=2, sigma=1.0)(costs, target, generator=generator) >= -1e-5).all()


@pytest.mark.parametrize("make", [PerturbedFenchelYoung, SmoothedLoss, SmoothedAlgorithm, CentralDifference, IMLE])
def test_training_by_autograd_takes_the_supplied_gradient(make, generator) -> None:
    loss = make()
    costs, target = random_maps(generator, 3)
    costs = costs.clone().requires_grad_()
    value = loss(costs, target, generator=torch.Generator().manual_seed(1))
    (found,) = torch.autograd.grad(value @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), costs)
    wanted = loss.gradient(costs, target, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, wanted * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)[:, None, None])
    torch.testing.assert_close(value, loss(costs.detach(), target, generator=torch.Generator().manual_seed(1)))


class TestComparison:
    def test_black_box_is_its_definition(self, generator) -> None:
        costs = torch.rand(20, 5, 5, generator=generator, dtype=torch.float64) * 9 + 0.8
        target = shortest_path(costs.flip(2))
        path, moved = shortest_path(costs), shortest_path((costs + 3 * (1 - 2 * target)).clamp(min=1e-3))
        loss = BlackBox(interpolation=3.0)
        assert torch.equal(loss(costs, target), (path - target).abs().sum((1, 2)))
        torch.testing.assert_close(loss.gradient(costs, target), (moved - path) / 3)

    def test_black_box_of_two_paths(self) -> None:
        near, far = (BlackBox(interpolation=value, neighbours=4) for value in (0.1, 1.0))
        assert (near.gradient(COSTS, TARGET) == 0).all()
        expected = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]], dtype=torch.float64)
        assert torch.equal(far.gradient(COSTS, TARGET), expected)

    def test_negative_identity_is_the_perceptron(self, generator) -> None:
        costs = torch.rand(4, 5, 5, generator=generator, dtype=torch.float64) + 0.5
        target = shortest_path(costs.flip(2))
        assert torch.equal(NegativeIdentity().gradient(costs, target), 2 * (target - shortest_path(costs)))
        assert (NegativeIdentity().gradient(costs, shortest_path(costs)) == 0).all()

    def test_spo_plus_by_enumeration(self, generator) -> None:
        true, predicted = torch.rand(2, 30, 2, 2, generator=generator, dtype=torch.float64) * 0.5 + 1
        paths = torch.tensor([[[1, 1], [0, 1]], [[1, 0], [1, 1]]], dtype=torch.float64)
        price = lambda costs: (costs[:, None] * paths).sum((2, 3))  # noqa: E731
        best = price(true).argmin(1)
        expected = (price(true) - 2 * price(predicted)).amax(1) + (
            (2 * price(predicted) - price(true)).gather(1, best[:, None])[:, 0]
        )
        value = SPOPlus(neighbours=4)(predicted, true)
        torch.testing.assert_close(value, expected)
        regret = price(true).gather(1, price(predicted).argmin(1)[:, None])[:, 0] - price(true).amin(1)
        assert (value >= regret - 1e-12).all()

    @pytest.mark.parametrize("noise", ["sum_of_gamma", "gumbel"])
    def test_imle_without_noise_is_the_black_box(self, noise, generator) -> None:
        costs = torch.rand(20, 5, 5, generator=generator, dtype=torch.float64) * 9 + 0.8
        target = shortest_path(costs.flip(2))
        quiet = IMLE(sigma=1e-9, interpolation=3.0, noise=noise)
        wanted = BlackBox(interpolation=3.0).gradient(costs, target)
        torch.testing.assert_close(quiet.gradient(costs, target, generator=generator), wanted)

    def test_imle_noise_of_a_path_is_gumbel(self, generator) -> None:
        loss = IMLE(sigma=1.0, length=6, num_samples=20_000)
        costs = torch.zeros(1, 1, 6, dtype=torch.float64)
        total = -loss._perturbed(costs, generator).sum((1, 2, 3))
        assert float(total.mean()) == pytest.approx(0.6264, abs=0.05)  # ten terms of Σ1/i − log: 0.05 above the limit
        assert float(total.var()) == pytest.approx(math.pi**2 / 6, rel=0.08)


class TestMaxEntropy:
    def test_it_sums_over_all_walks(self) -> None:
        loss = MaxEntropy(beta=1.0, neighbours=4)
        costs = torch.tensor([[[1.5, 2.0, 1.8], [2.2, 1.6, 2.1]]], dtype=torch.float64)
        weight = torch.exp(-costs[0]).flatten()
        cells = list(itertools.product(range(2), range(3)))
        adjacency = torch.tensor([[float(abs(a - c) + abs(b - d) == 1) for c, d in cells] for a, b in cells]).double()
        step, z = torch.diag(weight), 0.0
        for _ in range(200):
            z += float(step[0, 5])
            step = step @ adjacency @ torch.diag(weight)
        target = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]]], dtype=torch.float64)
        assert float(loss(costs, target)) == pytest.approx(float((costs * target).sum()) + math.log(z), rel=1e-12)

    def test_a_large_beta_gives_the_shortest_path(self, generator) -> None:
        costs = torch.rand(5, 6, 6, generator=generator) + 0.5
        torch.testing.assert_close(MaxEntropy(beta=90.0).visits(costs), shortest_path(costs), atol=0.2, rtol=0)

    def test_walks_without_end_are_named(self) -> None:
        from nlcore.errors import NumericalError

        costs = torch.full((2, 12, 12), 3.0)
        costs[1] = 0.2
        target = shortest_path(costs)
        with pytest.raises(NumericalError, match=r"samples 1 have no finite weight.*at least 0\.4159"):
            MaxEntropy()(costs, target)
        with pytest.raises(NumericalError, match=r"samples 0, 1 is less likely.*Lower beta"):
            MaxEntropy(beta=500.0)(costs + 1, target)


class TestPerturbed:
    """The module works for any argmin of a linear objective: here the cheapest k of n things."""

    @staticmethod
    def cheapest(costs: Tensor) -> Tensor:
        return torch.zeros_like(costs).scatter_(1, costs.topk(2, largest=False).indices, 1.0)

    def test_difference_is_the_gradient_of_the_smoothed_choice(self, generator) -> None:
        costs = torch.tensor([[1.0, 1.2, 1.5, 2.5]], dtype=torch.float64)
        noise = P.draw_noise(costs, 200_000, generator=generator)
        vector = torch.tensor([[0.3, -1.0, 0.5, 0.2]], dtype=torch.float64)
        j = P.jacobian(P.solutions(self.cheapest, costs + noise), noise, 1.0)
        wanted = (j.mT @ vector[:, :, None])[:, :, 0]
        found = P.central_difference(self.cheapest, costs, vector, noise[:50_000], sigma=1.0, step=0.2)
        torch.testing.assert_close(found, wanted, rtol=0, atol=0.015)

    @pytest.mark.parametrize("count", [3, 4, 5])
    def test_antithetic_samples_subtract_the_mean_of_the_others(self, count, generator) -> None:
        noise = P.draw_noise(torch.zeros(2, 3), count, control="antithetic", generator=generator)
        pairs = (count + 1) // 2
        assert noise.shape == (count, 2, 3)
        assert torch.equal(noise[pairs:], -noise[: count - pairs])
        values = torch.randn(count, 2, generator=generator)
        partner = {i: {i, i + pairs, i - pairs} & set(range(count)) for i in range(count)}
        wanted = torch.stack(
            [values[i] - values[[j for j in range(count) if j not in partner[i]]].mean(0) for i in range(count)]
        )
        torch.testing.assert_close(P.centred(values, "antithetic"), wanted)

    def test_no_slope_gives_no_gradient(self, generator) -> None:
        costs = torch.ones(2, 4)
        vector = torch.stack([torch.zeros(4), torch.arange(4.0)])
        noise = P.draw_noise(costs, 50, generator=generator)
        found = P.central_difference(self.cheapest, costs, vector, noise, sigma=1.0)
        assert (found[0] == 0).all()
        assert (found[1] != 0).any()

    def test_wrong_use(self) -> None:
        from nlcore.errors import ConfigError, ContractError, ShapeError

        with pytest.raises(ConfigError, match="at least 2"):
            P.draw_noise(torch.ones(2, 2), 1, control="leave_one_out")
        with pytest.raises(ShapeError, match=r"\[6, 2\] and returned \[6\]"):
            P.solutions(lambda c: c.sum(1), torch.ones(3, 2, 2))
        with pytest.raises(ContractError, match="returned a NoneType"):
            P.solutions(lambda c: None, torch.ones(3, 2, 2))


@pytest.mark.parametrize(
    ("make", "wrong", "message"),
    [
        (PerturbedFenchelYoung, {"sigma": 0.0}, "'sigma' was given 0.0"),
        (PerturbedFenchelYoung, {"num_samples": 0}, "'num_samples' was given 0"),
        (SmoothedLoss, {"num_samples": 1}, "needs num_samples ≥ 2"),
        (SmoothedAlgorithm, {"control": "mirrored"}, "'control' was given 'mirrored'"),
        (CentralDifference, {"step": -1.0}, "'step'"),
        (BlackBox, {"interpolation": 0.0}, "'interpolation'"),
        (IMLE, {"noise": "normal"}, "'noise' was given 'normal'"),
        (MaxEntropy, {"beta": float("inf")}, "beta"),
    ],
)
def test_bad_options(make, wrong, message) -> None:
    from nlcore.errors import ConfigError

    with pytest.raises(ConfigError, match=message):
        make(**wrong)


@pytest.mark.parametrize("make", [BlackBox, NegativeIdentity])
def test_costs_that_change_in_place_are_solved_again(make, generator) -> None:
    costs, other = torch.rand(2, 5, 6, 6, generator=generator, dtype=torch.float64) + 0.1
    target = shortest_path(other)
    loss = make()
    before = loss(costs, target)
    costs[:] = other  # the tensor whose solutions were kept
    assert bool((before > 0).any())
    assert not loss(costs, target).any()
