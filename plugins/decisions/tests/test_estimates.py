"""Estimates from samples against exact smoothed values, gradients and Hessians.

The least of n independent noisy costs has a mean that is an integral in one dimension; its derivatives by autograd are
the exact smoothed solution and its Jacobian. Gumbel noise gives a softmax. Two vertices with common elements have a
normal difference. Means over many batches must lie within five standard errors of these.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nlcore_decisions import (
    IMLE,
    AdaptiveIMLE,
    BlackBox,
    CentralDifference,
    PerturbedFenchelYoung,
    Vertices,
)
from nlcore_decisions import perturbed as P

CONTROLS = ("none", "leave_one_out", "antithetic")
COSTS = torch.tensor([1.0, 1.3, 0.8, 1.6], dtype=torch.float64)
TARGET = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
ONE_OF_FOUR = Vertices(torch.eye(4).tolist())


def estimates(compute: Callable[[torch.Generator], Tensor], rounds: int = 30) -> tuple[Tensor, Tensor]:
    """Return mean and standard error of what `compute` returns for samples of a batch, over batches."""
    found = torch.cat([compute(torch.Generator().manual_seed(seed)) for seed in range(rounds)])
    return found.mean(0), found.std(0) / math.sqrt(len(found))


def assert_unbiased(compute: Callable[[torch.Generator], Tensor], wanted: Tensor, *, bias: float = 0.0) -> None:
    mean, error = estimates(compute)
    assert float(error.max()) < 0.03, "the error bar is too wide to tell anything"
    assert ((mean - wanted).abs() <= 5 * error + bias + 1e-12).all(), (mean, wanted, error)


def many(count: int = 1000) -> tuple[Tensor, Tensor]:
    return COSTS.expand(count, 4), TARGET.expand(count, 4)


def least(costs: Tensor, sigma: float, noise: str) -> Tensor:
    """Return E min of independent noisy costs, ∫ P(all > x) dx from a point below which none lies."""
    if noise == "additive":
        x = torch.linspace(-8, 8, 8_001, dtype=torch.float64)
        survival = torch.special.ndtr((costs[:, None] - x) / sigma).prod(0)
        return x[0] + torch.trapezoid(survival, x)
    x = torch.linspace(-12, 4, 8_001, dtype=torch.float64)  # logarithms
    survival = torch.special.ndtr((costs[:, None].log() - sigma**2 / 2 - x) / sigma).prod(0)
    return torch.trapezoid(survival * x.exp(), x) + x[0].exp()


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("samples", [5, 6])
@pytest.mark.parametrize(("noise", "sigma"), [("additive", 0.4), ("multiplicative", 0.5)])
def test_fenchel_young(noise, sigma, control, samples) -> None:
    loss = PerturbedFenchelYoung(ONE_OF_FOUR, num_samples=samples, sigma=sigma, noise=noise, control=control)

    def exact(costs: Tensor) -> Tensor:
        return costs @ TARGET - least(costs, sigma, noise)

    assert_unbiased(lambda g: loss(*many(), generator=g), exact(COSTS))
    assert_unbiased(lambda g: loss.gradient(*many(), generator=g), torch.func.grad(exact)(COSTS))
    assert_unbiased(lambda g: loss.hessian(*many(1500), generator=g), torch.func.jacrev(torch.func.grad(exact))(COSTS))


def test_the_exact_integrals_are_exact() -> None:
    two = torch.tensor([1.0, 1.5], dtype=torch.float64)
    spread, gap = 0.4 * math.sqrt(2), 0.5
    first = 0.5 * (1 + math.erf(gap / spread / math.sqrt(2)))
    torch.testing.assert_close(
        torch.func.grad(lambda c: least(c, 0.4, "additive"))(two), torch.tensor([first, 1 - first]).double()
    )
    # E[M₁; c₁M₁ < c₂M₂]: weighting with M₁ moves the mean of Z₁ to σ
    where = (math.log(1.5) - 0.4**2) / spread
    found = torch.func.grad(lambda c: least(c, 0.4, "multiplicative"))(two)
    assert float(found[0]) == pytest.approx(0.5 * (1 + math.erf(where / math.sqrt(2))), rel=1e-6)


def test_multiplicative_noise_keeps_signs_and_its_hessian_has_the_costs_in_its_null_space(generator) -> None:
    costs = torch.tensor([[-1.0, 2.0, -0.5, 1.0]], dtype=torch.float64).expand(200_000, 4)
    noise = P.draw_noise(costs, 2, generator=generator)
    changed = P.perturb(costs, noise, 0.5, "multiplicative")
    assert ((changed < 0) == (costs < 0)).all()
    assert float(P.factors(noise, 0.5).mean()) == pytest.approx(1, abs=5e-3)
    loss = PerturbedFenchelYoung(ONE_OF_FOUR, num_samples=2, noise="multiplicative", sigma=0.5)
    target = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64).expand_as(costs)
    matrix = loss.hessian(costs, target, generator=generator)
    product = (matrix @ costs[0]).mean(0)
    assert (product.abs() <= 5 * (matrix @ costs[0]).std(0) / math.sqrt(len(costs)) + 1e-12).all()
    assert float(matrix.mean(0).abs().max()) > 0.1


def test_multiplicative_gradient_has_no_variance_where_the_solution_is_certain(generator) -> None:
    costs = torch.tensor([[1.0, 50.0, 50.0, 50.0]])
    loss = PerturbedFenchelYoung(ONE_OF_FOUR, noise="multiplicative")
    assert (loss.gradient(costs, torch.eye(4)[:1], generator=generator) == 0).all()


def test_costs_of_zero_stay_and_have_a_finite_hessian(generator) -> None:
    loss = PerturbedFenchelYoung(ONE_OF_FOUR, noise="multiplicative")
    costs = torch.tensor([[0.0, 1.0, 2.0, 1.0]])
    assert loss.hessian(costs, torch.eye(4)[:1], generator=generator).isfinite().all()


def test_vertices_with_common_elements(generator) -> None:
    a, b = torch.tensor([[1.0, 1.0, 0.0, 1.0], [0.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    argmin, sigma = Vertices([a.tolist(), b.tolist()]), 0.6
    apart = a - b

    def mean(costs: Tensor) -> Tensor:
        first = torch.special.ndtr(-(costs @ apart) / (sigma * apart.norm()))
        return first * a + (1 - first) * b

    loss = PerturbedFenchelYoung(argmin, num_samples=4, sigma=sigma)
    target = b.expand(2000, 4)
    costs = (COSTS - torch.tensor([0.5, 0, 0, 1.0])).expand(2000, 4)
    assert_unbiased(lambda g: loss.gradient(costs, target, generator=g), b - mean(costs[0]))
    jacobian = torch.func.jacrev(mean)(costs[0])
    assert_unbiased(lambda g: loss.hessian(costs, target, generator=g), -(jacobian + jacobian.mT) / 2)


@pytest.mark.parametrize("objective", ["hamming", "squared_error", "regret"])
def test_implicit_maximum_likelihood(objective) -> None:
    sigma, step = 0.3, 0.5
    loss = IMLE(ONE_OF_FOUR, sigma=sigma, interpolation=step, noise="gumbel", num_samples=50, objective=objective)
    true = torch.tensor([0.5, 0.1, 1.0, 0.7], dtype=torch.float64)
    now = torch.softmax(-COSTS / sigma, 0)
    slope = {"hamming": 1 - 2 * TARGET, "squared_error": 2 * (now - TARGET), "regret": true}[objective]
    value = {"hamming": now @ (1 - 2 * TARGET) + 1, "squared_error": 2 * (1 - now @ TARGET), "regret": now @ true - 0.1}
    target = true.expand(400, 4) if objective == "regret" else many(400)[1]
    assert_unbiased(lambda g: loss(many(400)[0], target, generator=g), value[objective])
    wanted = (torch.softmax(-(COSTS + step * slope) / sigma, 0) - now) / step
    # the slope of the squared error is taken at the mean of 50 draws: a bias of second order in its error
    bias = 0.02 if objective == "squared_error" else 0.0
    assert_unbiased(lambda g: loss.gradient(many(400)[0], target, generator=g), wanted, bias=bias)


def test_central_difference_of_a_regret_is_the_difference_of_exact_means() -> None:
    sigma, step = 0.4, 0.5
    true = torch.tensor([0.5, 0.1, 1.0, 0.7], dtype=torch.float64)
    loss = CentralDifference(ONE_OF_FOUR, num_samples=3, sigma=sigma, step=step, objective="regret")
    mean = torch.func.grad(lambda costs: least(costs, sigma, "additive"))
    h = step * sigma / float(true.max())
    wanted = (mean(COSTS + h * true) - mean(COSTS - h * true)) / (2 * h)
    assert_unbiased(lambda g: loss.gradient(many()[0], true.expand(1000, 4), generator=g), wanted)
    exact = torch.func.jacrev(mean)(COSTS).mT @ true
    torch.testing.assert_close(wanted, exact, rtol=0, atol=0.02)  # and that is near the derivative


def test_central_difference_of_the_squared_error() -> None:
    sigma = 0.4
    loss = CentralDifference(ONE_OF_FOUR, num_samples=200, sigma=sigma, step=0.2)
    mean = torch.func.grad(lambda costs: least(costs, sigma, "additive"))
    wanted = torch.func.jacrev(mean)(COSTS).mT @ (2 * (mean(COSTS) - TARGET))
    assert_unbiased(lambda g: loss.gradient(*many(50), generator=g), wanted, bias=0.03)


class TestAdaptiveIMLE:
    def test_it_takes_the_smallest_step_that_changes_the_gradient(self, generator) -> None:
        loss = AdaptiveIMLE(ONE_OF_FOUR, sigma=1e-9, largest=4.0, halvings=7)
        costs = torch.rand(200, 4, generator=generator, dtype=torch.float64) + 0.5
        target = ONE_OF_FOUR(torch.rand(200, 4, generator=generator, dtype=torch.float64))
        found = loss.gradient(costs, target, generator=generator)
        most = 4 * costs.norm(dim=1) / (1 - 2 * target).norm(dim=1)
        for i in range(200):
            levels = (most[i] * 0.5**k for k in range(7, -1, -1))
            wanted = torch.zeros(4, dtype=torch.float64)
            for step in levels:
                fixed = BlackBox(ONE_OF_FOUR, interpolation=float(step))
                wanted = fixed.gradient(costs[i : i + 1], target[i : i + 1])[0]
                if bool(wanted.any()):
                    break
            torch.testing.assert_close(found[i], wanted)
        assert float((found != 0).any(1).double().mean()) > 0.7

    def test_samples_are_independent_of_each_other(self, generator) -> None:
        loss = AdaptiveIMLE(ONE_OF_FOUR, sigma=1e-9)
        costs = torch.rand(9, 4, generator=generator) + 0.5
        target = ONE_OF_FOUR(torch.rand(9, 4, generator=generator))
        together = loss.gradient(costs, target)
        alone = torch.cat([loss.gradient(costs[i : i + 1], target[i : i + 1]) for i in range(9)])
        torch.testing.assert_close(together, alone)

    def test_more_entries_need_a_longer_step(self, generator) -> None:
        costs = torch.rand(100, 4, generator=generator) + 0.5
        target = ONE_OF_FOUR(torch.rand(100, 4, generator=generator))
        few, more = (
            AdaptiveIMLE(ONE_OF_FOUR, num_samples=10, sigma=0.3, nonzeros=count).gradient(
                costs, target, generator=torch.Generator().manual_seed(0)
            )
            for count in (1.0, 4.0)
        )
        assert float((more != 0).sum(1).float().mean()) > float((few != 0).sum(1).float().mean())

    def test_costs_or_slopes_of_zero_give_no_gradient(self, generator) -> None:
        loss = AdaptiveIMLE(ONE_OF_FOUR, objective="regret")
        zero, costs = torch.zeros(2, 4), torch.rand(2, 4, generator=generator)
        assert (loss.gradient(zero, costs, generator=generator) == 0).all()
        assert (loss.gradient(costs, zero, generator=generator) == 0).all()
