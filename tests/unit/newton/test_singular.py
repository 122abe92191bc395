"""A matrix that is singular up to the rounding of the prediction's dtype is named, in float32 as in float64.

A loss that does not change when all outputs shift has C·1 = 0. Rounded to float32 that eigenvalue is a small number and
not zero; dividing by it would make a step of any size along the ones.
"""

import pytest
import torch

from nlcore import EmpiricalFisher, Hessian, inject_fisher, newton_step
from nlcore.builtin.losses import CrossEntropy
from nlcore.errors import SingularCurvatureError

CURVATURES = [
    Hessian(damping=0.0),
    Hessian(damping=0.0, psd="none"),
    Hessian(damping=0.0, solver="eigen"),
    EmpiricalFisher(damping=0.0),
    EmpiricalFisher(damping=0.0, solver="eigen"),
]


def data(seed: int, size: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(4 * size, size, generator=generator, dtype=torch.float64).to(dtype)
    return logits, torch.randint(size, (4 * size,), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("curvature", CURVATURES, ids=repr)
@pytest.mark.parametrize("size", [2, 5, 10, 32])
def test_shift_invariance_without_damping_is_singular_in_every_dtype(curvature, size, dtype):
    for seed in range(5):
        with pytest.raises(SingularCurvatureError, match="Increase the damping"):
            newton_step(CrossEntropy(), *data(seed, size, dtype), curvature)


@pytest.mark.parametrize("curvature", [Hessian(damping=1e-4), Hessian(damping=1e-4, psd="none")], ids=repr)
def test_a_small_damping_gives_float32_the_step_of_float64(curvature):
    logits, target = data(0, 5, torch.float64)
    exact = newton_step(CrossEntropy(), logits.float().double(), target, curvature).direction
    found = newton_step(CrossEntropy(), logits.float(), target, curvature).direction.double()
    assert (found - exact).abs().max() < 1e-2 * exact.abs().max()


def test_a_regular_matrix_needs_no_damping_in_float32():
    totals = torch.randn(8, 16, generator=torch.Generator().manual_seed(0))
    step = newton_step(lambda y, t: (y.cumsum(-1) - t).square().sum(-1) / 2, torch.zeros(8, 16), totals, Hessian(0.0))
    torch.testing.assert_close(step.target.cumsum(-1), totals, rtol=0, atol=1e-5)


def test_an_injected_fisher_that_is_singular_leaves_the_gradient():
    logits, target = data(0, 5, torch.float32)
    plain, injected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    torch.nn.functional.cross_entropy(plain, target).backward()
    torch.nn.functional.cross_entropy(inject_fisher(injected, 0.0), target).backward()
    torch.testing.assert_close(injected.grad, plain.grad)
