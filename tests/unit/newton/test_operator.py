"""A curvature that the loss supplies by its structure: the steps of the dense matrix, which is never formed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

import nlcore
from nlcore.errors import SingularCurvatureError, UnsupportedCurvatureError
from nlcore.newton import newton_step

M = 300
PROFILE = torch.linspace(0.05, 3.0, M, dtype=torch.float64)


class Diagonal:
    """diag(PROFILE²) that counts its solves; only powers in `powers`."""

    def __init__(self, powers=(0.5, 1.0)):
        self.powers, self.solves = powers, 0
        self.trace, self.largest, self.features = float(PROFILE.square().sum()), float(PROFILE.max()) ** 2, M

    def matvec(self, rows):
        return rows * PROFILE.square()

    def solve(self, rows, damping, power):
        self.solves += 1
        return rows * (PROFILE.square() + damping) ** -power

    def supports(self, power):
        return power in self.powers


@dataclass(frozen=True)
class Scaled:
    """½‖PROFILE·y − t‖², whose Hessian refuses to be formed."""

    operator: Diagonal

    traits = nlcore.Traits(psd_hessian=True, constant_curvature=True, takes_mask=True)

    def __call__(self, prediction, target, *, mask=None, generator=None):
        return self.outer(self.inner(prediction, mask=mask), target, mask=mask)

    def inner(self, prediction, *, mask=None):
        image = prediction * PROFILE[: prediction.shape[1]].to(prediction)
        return image if mask is None else image.masked_fill(mask, 0.0)

    def outer(self, features, target, *, mask=None):
        errors = features - target
        return (errors if mask is None else errors.masked_fill(mask, 0.0)).square().sum(1) / 2

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, M, generator=generator, dtype=dtype, device=device))

    def curvature_operator(self, prediction):
        return self.operator if prediction.shape[1] == M else None


def draw(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, count, M, generator=generator, dtype=torch.float64)
    return prediction, target


@pytest.mark.parametrize("power", [1.0, 0.5])
@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_a_step_is_that_of_the_dense_matrix(power: float, aggregate: str) -> None:
    loss, (prediction, target) = Scaled(Diagonal()), draw()
    options = {"power": power, "aggregate": aggregate, "max_ratio": None}
    step = newton_step(loss, prediction, target, nlcore.GaussNewton(damping=nlcore.Relative(0.1), **options))
    damping = 0.1 * float(PROFILE.square().mean())
    gradient = PROFILE * (PROFILE * prediction - target)
    torch.testing.assert_close(step.direction, gradient * (PROFILE.square() + damping) ** -power)
    assert loss.operator.solves == 1
    assert step.stats["damping"] == pytest.approx(damping)
    assert step.stats["mean_curvature"] == pytest.approx(float(PROFILE.square().mean()))


@pytest.mark.parametrize("solver", ["cg", "low_rank"])
def test_a_solver_by_products_uses_those_of_the_operator(solver: str) -> None:
    loss, (prediction, target) = Scaled(Diagonal()), draw()
    step = newton_step(loss, prediction, target, nlcore.GaussNewton(damping=0.5, solver=solver))
    gradient = PROFILE * (PROFILE * prediction - target)
    torch.testing.assert_close(step.direction, gradient / (PROFILE.square() + 0.5), rtol=1e-6, atol=1e-8)
    assert loss.operator.solves == 0


def test_no_damping_is_a_singular_curvature() -> None:
    class Flat(Diagonal):
        def solve(self, rows, damping, power):
            return rows / damping

    prediction, target = draw()
    with pytest.raises(SingularCurvatureError, match="λ = 0 is singular"):
        newton_step(Scaled(Flat()), prediction, target, nlcore.GaussNewton(damping=0.0))


def test_a_power_that_it_cannot_solve_is_refused_with_a_remedy() -> None:
    prediction, target = draw()
    with pytest.raises(UnsupportedCurvatureError, match=r"power 1, the Newton step, and not 0\.5.*solver='low_rank'"):
        newton_step(Scaled(Diagonal((1.0,))), prediction, target, nlcore.GaussNewton(power=0.5))


def test_with_a_mask_or_few_outputs_it_is_not_asked() -> None:
    loss, (prediction, target) = Scaled(Diagonal()), draw()
    mask = torch.zeros(4, M, dtype=torch.bool)
    mask[:, -1] = True
    step = newton_step(loss, prediction, target, nlcore.GaussNewton(damping=0.1), mask=mask)
    assert not step.direction[:, -1].any()
    newton_step(loss, prediction[:, :8], target[:, :8], nlcore.GaussNewton(damping=0.1))
    assert loss.operator.solves == 0


def test_cross_validation_sees_noise_as_it_does_with_the_dense_matrix() -> None:
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(16, M, generator=generator, dtype=torch.float64)
    for noise in (0.0, 0.5):
        target = PROFILE * truth + noise * torch.randn(16, M, generator=generator, dtype=torch.float64)
        bounded = nlcore.GaussNewton(damping=nlcore.Bounded(validated=True))
        found = newton_step(Scaled(Diagonal()), 0 * truth, target, bounded).stats["damping"]
        dense = nlcore.compose(lambda y: y * PROFILE)
        wanted = newton_step(dense, 0 * truth, target, bounded).stats["damping"]
        assert found == pytest.approx(wanted, rel=3.2)  # a step of the grid of ρ, as the trace is estimated
        assert (found > 1e-2 * float(PROFILE.square().mean())) == (noise > 0)


@pytest.mark.parametrize("powers", [(0.5, 1.0), (1.0,)])
def test_the_default_probes_its_powers_and_trains(powers: tuple[float, ...]) -> None:
    loss, target = Scaled(Diagonal(powers)), draw(8)[1]
    torch.manual_seed(0)
    network = torch.nn.Linear(6, M, dtype=torch.float64)
    inputs = torch.randn(8, 6, dtype=torch.float64)
    criterion = nlcore.NewtonLoss(loss)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    values = []
    for _ in range(60):
        optimizer.zero_grad()
        value = criterion(network(inputs), target)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    halves = [one for one in criterion.directions if "power=0.5" in one]
    assert len(halves) == 1
    assert ("EmpiricalFisher" in halves[0]) == (0.5 not in powers)
    assert loss.operator.solves > 0


@pytest.mark.parametrize("first", [200, M, M + 1, "masked"])
@pytest.mark.parametrize("powers", [(0.5, 1.0), (1.0,)])
def test_the_default_forms_no_large_matrix_whatever_the_first_batch_was(first: int | str, powers) -> None:
    class Summed(Scaled):
        def inner(self, prediction, *, mask=None):
            image = prediction.cumsum(1) if prediction.shape[1] != M else prediction * PROFILE.to(prediction)
            return image if mask is None else image.masked_fill(mask, 0.0)

    torch.manual_seed(0)
    network = torch.nn.Linear(6, M + 1, dtype=torch.float64)
    criterion = nlcore.NewtonLoss(Summed(Diagonal(powers)))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    sizes = [first, 200, M, "masked", M + 1]
    for k in range(30):
        size = sizes[k % 5]
        m = size if isinstance(size, int) else M
        mask = torch.zeros(4, m, dtype=torch.bool) if size == "masked" else None
        optimizer.zero_grad()
        prediction = network(torch.randn(4, 6, dtype=torch.float64))[:, :m]
        criterion(prediction, torch.randn(4, m, dtype=torch.float64), mask=mask).backward()
        optimizer.step()
        used = criterion.last_step.curvature
        operator = m == M and mask is None
        assert used.kind == "gradient" or m == 200 or operator, used
    assert len(criterion.history) > (1 if first in (200, M) else 0)


def test_the_aim_outputs_takes_the_operator_and_the_fisher_without_one() -> None:
    prediction, target = draw()
    auto = nlcore.Auto(aim="outputs")
    step = newton_step(Scaled(Diagonal()), prediction, target, auto)
    assert type(step.curvature).__name__ == "GaussNewton"
    longer = torch.cat([prediction, prediction], 1)
    loss = nlcore.compose(lambda y: y.cumsum(1))
    assert type(newton_step(loss, longer, longer, auto).curvature).__name__ == "EmpiricalFisher"
    criterion = nlcore.NewtonLoss(Scaled(Diagonal()), auto)
    criterion(prediction.requires_grad_(), target).backward()
    assert "GaussNewton" in criterion.explain()


def test_a_value_that_does_not_count_does_not_reach_cross_validation() -> None:
    loss, (prediction, target) = Scaled(Diagonal()), draw(6)
    curvature = nlcore.GaussNewton(damping=nlcore.Bounded(validated=True))
    weight, kept = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 3.0]), [0, 1, 3, 4, 5]
    target[2] = torch.nan
    step = newton_step(loss, prediction, target, curvature, weight=weight)
    alone = newton_step(loss, prediction[kept], target[kept], curvature, weight=weight[kept])
    torch.testing.assert_close(step.direction[kept], alone.direction)
