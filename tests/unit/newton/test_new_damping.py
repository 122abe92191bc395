"""A new rule of damping is one class with one method: every curvature takes it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, newton_step
from nlcore.errors import ConfigError
from nlcore.newton import Damped, DampingRule

from .losses import SPLIT, Wavy, data, half_square


@dataclass(frozen=True)
class OfLargest(DampingRule):
    """λ is a share of the largest entry of C."""

    share: float = 0.5

    def choose(self, matrix, state, derivatives):
        return Damped(self.share * matrix.largest)


@dataclass(frozen=True)
class OfOwn(OfLargest):
    """The same, of matrices that a Fisher matrix does not form."""

    needs_own = True


@pytest.mark.parametrize(
    ("loss", "curvature"),
    [
        (Wavy(), Hessian),
        (SPLIT, GaussNewton),
        (half_square, EmpiricalFisher),
        (half_square, lambda d: EmpiricalFisher(d, weighting="normalized")),
    ],
    ids=["hessian", "gauss-newton", "fisher", "normalised"],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_curvature_takes_it(loss, curvature, dtype):
    prediction, target = data(dtype=dtype) if loss is not SPLIT else (data(dtype=dtype)[0], data(5, 7, dtype=dtype)[1])
    step = newton_step(loss, prediction, target, curvature(OfLargest()))
    strength = float(step.detail.strength)
    same = newton_step(loss, prediction, target, curvature(strength))
    tolerance = 1e-9 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(step.direction, same.direction, rtol=tolerance, atol=tolerance)
    leaf = prediction.clone().requires_grad_()
    criterion = NewtonLoss(loss, curvature(OfLargest()))
    criterion(leaf, target).backward()
    torch.testing.assert_close(leaf.grad, step.direction / len(leaf))
    assert "OfLargest(share=0.5)" in criterion.explain()


def test_what_it_needs_is_formed_or_refused():
    found = newton_step(Wavy(), *data(), Hessian(OfOwn()))
    assert bool(torch.isfinite(found.direction).all())
    with pytest.raises(ConfigError, match=r"OfOwn\(share=0\.5\).*Use nlcore\.Relative"):
        EmpiricalFisher(OfOwn())
    with pytest.raises(ConfigError, match="every sample's formed matrix"):
        Hessian(OfOwn(), solver="cg")
