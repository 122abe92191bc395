"""The built-in losses: masks where the registry's examples do not reach, and half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nlcore.builtin.losses import AbsoluteError, BinaryCrossEntropy, CrossEntropy, SquaredError
from nlcore.errors import ContractError, DtypeError, ShapeError

ALL = [SquaredError(), AbsoluteError(), BinaryCrossEntropy(), CrossEntropy()]
MASK = torch.tensor([[False, True, False, False], [True, True, False, True], [True, True, True, True]])
each = pytest.mark.parametrize("loss", ALL, ids=lambda loss: type(loss).__name__)


def test_probabilities_of_padded_classes_are_not_looked_at() -> None:
    loss = CrossEntropy()
    logits = torch.randn(3, 4, dtype=torch.float64).masked_fill(MASK, torch.nan).requires_grad_()
    target = torch.rand(3, 4, dtype=torch.float64)
    target = (target / target.masked_fill(MASK, 0.0).sum(1, keepdim=True)).masked_fill(MASK, torch.inf)
    value = loss(logits, target, mask=MASK)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    for row in range(2):
        kept = ~MASK[row]
        own = logits[row, kept].detach()[None].requires_grad_()
        expected = loss(own, target[row, kept][None])
        torch.testing.assert_close(value[row : row + 1], expected)
        torch.testing.assert_close(gradient[row, kept][None], torch.autograd.grad(expected.sum(), own)[0])
    assert value[2] == 0
    assert (gradient[MASK] == 0).all()


def test_a_true_class_that_is_padded_is_refused() -> None:
    with pytest.raises(ContractError, match=r"class of samples 1 is padded; sample 1 has class 1\. .*attention mask"):
        CrossEntropy()(torch.zeros(3, 4), torch.tensor([0, 1, 2]), mask=MASK)


@each
@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (torch.zeros(3, 4), DtypeError, r"mask is torch\.float32, but bool is needed. It is True at padded outputs"),
        (torch.zeros(3, 3) > 0, ShapeError, r"mask has shape \[3, 3\], but \[batch, m\] = \[3, 4\]"),
        ([[True]], ContractError, "mask is a list; a bool tensor"),
    ],
)
def test_wrong_masks(loss: Any, mask: Any, error: type[Exception], message: str) -> None:
    target = torch.zeros(3, 4)
    with pytest.raises(error, match=message):
        loss(torch.zeros(3, 4), target, mask=mask)
    if hasattr(loss, "hessian"):
        with pytest.raises(error, match=message):
            loss.hessian(torch.zeros(3, 4), target, mask=mask)


@each
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("target_dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_half_precision_is_float32_rounded_at_the_end(loss: Any, dtype: torch.dtype, target_dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(3)
    prediction = (4 * torch.randn(3, 40, generator=generator)).to(dtype)
    target = torch.rand(3, 40, generator=generator).softmax(1).to(target_dtype)
    value = loss(prediction, target)
    assert value.dtype == dtype
    torch.testing.assert_close(value, loss(prediction.float(), target.float()).to(dtype), rtol=0, atol=0)
    if hasattr(loss, "hessian"):
        wide = loss.hessian(prediction.float(), target.float()).to(dtype)
        torch.testing.assert_close(loss.hessian(prediction, target), wide, rtol=0, atol=0)


def test_a_subclass_whose_call_takes_no_mask_does_not_promise_one() -> None:
    class Scaled(CrossEntropy):
        def __call__(self, prediction, target, *, generator=None):  # type: ignore[no-untyped-def,override]
            return 2 * super().__call__(prediction, target)

    class Renamed(CrossEntropy):
        pass

    assert not Scaled().traits.takes_mask
    assert Scaled().traits.psd_hessian
    assert Renamed().traits.takes_mask
    assert CrossEntropy().traits.takes_mask


def test_squares_that_half_precision_cannot_hold_are_summed_in_float32() -> None:
    prediction = torch.full((1, 2), 160.0, dtype=torch.float16)
    assert SquaredError()(prediction, torch.zeros_like(prediction)) == 160.0**2
    assert SquaredError()(prediction, torch.zeros(1, 2)).dtype == torch.float16
