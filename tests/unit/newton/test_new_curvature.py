"""A new curvature is one class with one method: everything else of a step serves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from nlcore import Bounded, NewtonLoss, Relative, newton_step
from nlcore.newton import Curvature, CurvatureMatrix, DenseMatrix

from .losses import data, half_square


@dataclass(frozen=True, repr=False)
class DiagonalFisher(Curvature):
    """The diagonal of the empirical Fisher matrix: the mean of the squared gradients."""

    kind: ClassVar[str] = "gradient"

    damping: float | Relative = 0.5
    normalize: bool = False

    def matrix(self, derivatives, problem):
        samples = problem.samples
        squares = derivatives.gradient.double().square() * samples.counted
        mean = torch.diag((samples.weight @ squares) * samples.scale.square())
        size, kept = len(mean), len(mean) if samples.outputs is None else samples.outputs
        return DenseMatrix(samples, None, size, mean.diagonal().sum() / kept, mean.amax(), mean=mean)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagonal(CurvatureMatrix):
    """A structure that no solver knows."""

    entries: torch.Tensor

    def matvec(self, rows):
        return rows * self.entries


@dataclass(frozen=True, repr=False)
class StructuredFisher(DiagonalFisher):
    """The same matrix by its structure."""

    def matrix(self, derivatives, problem):
        dense = DiagonalFisher.matrix(self, derivatives, problem)
        known = dense.samples, None, dense.size, dense.mean_curvature, dense.largest
        return Diagonal(*known, entries=dense.mean.diagonal())


def expected(prediction, target, weight, damping):
    gradient = prediction - target
    squares = (weight.unsqueeze(1) * gradient.square()).sum(0) / weight.sum()
    strength = damping if isinstance(damping, float) else damping.rho * squares.mean()
    return gradient / (squares + strength)


@pytest.mark.parametrize("damping", [0.5, Relative(0.1)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_it_is_damped_solved_and_trained_with(damping, dtype):
    prediction, target = data(dtype=dtype)
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 3.0])
    wanted = expected(prediction.double(), target.double(), weight, damping).to(dtype)
    step = newton_step(half_square, prediction, target, DiagonalFisher(damping), weight=weight)
    torch.testing.assert_close(step.direction, wanted, rtol=1e-5, atol=1e-6)
    leaf = prediction.clone().requires_grad_()
    criterion = NewtonLoss(half_square, DiagonalFisher(damping))
    criterion(leaf, target, weight=weight).backward()
    shares = (weight / weight.sum()).unsqueeze(1).to(dtype)
    torch.testing.assert_close(leaf.grad, shares * wanted, rtol=1e-5, atol=1e-6)
    assert criterion.stats["curvature"] == "DiagonalFisher"
    assert repr(criterion.curvature) == (
        "DiagonalFisher()" if damping == 0.5 else f"DiagonalFisher(damping={damping!r})"
    )


def test_its_padding_its_lengths_and_its_failures_are_those_of_any_other():
    prediction, target = data()
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[0, 3] = mask[1, 2:] = True
    step = newton_step(half_square, prediction, target, DiagonalFisher(normalize=True), mask=mask)
    kept = ~mask
    assert not step.direction[mask].any()
    assert step.direction[kept].square().mean().sqrt() == pytest.approx(1.0)
    prediction[2, 0] = torch.nan
    fallen = newton_step(half_square, prediction, target, DiagonalFisher(), on_failure="fallback")
    rest = [0, 1, 3, 4]
    alone = newton_step(half_square, prediction[rest], target[rest], DiagonalFisher())
    torch.testing.assert_close(fallen.direction[rest], alone.direction)
    assert fallen.codes.tolist() == [0, 0, 3, 0, 0]


@pytest.mark.parametrize("damping", [0.5, Relative(0.1)])
def test_a_structure_without_a_solver_is_solved_in_its_dense_form(damping):
    one, other = (newton_step(half_square, *data(), kind(damping)) for kind in (DiagonalFisher, StructuredFisher))
    assert torch.equal(one.direction, other.direction)


def test_a_damping_that_needs_more_than_it_forms_is_refused():
    with pytest.raises(TypeError, match="own matrices"):
        newton_step(half_square, *data(), DiagonalFisher(Bounded()))
