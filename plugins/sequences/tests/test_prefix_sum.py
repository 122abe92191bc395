"""The running-totals loss against its definition, its closed form and finite differences."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, ShapeError
from nlcore.protocol import AlgorithmicLoss, GaussNewtonSplit, SuppliesHessian
from nlcore_sequences import PrefixSum

LOSS = PrefixSum()


def example(batch: int, m: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(m)
    draw = [torch.randn(batch, m, generator=generator, dtype=dtype) for _ in range(2)]
    return draw[0], draw[1].cumsum(1)


def gradient(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    leaf = prediction.clone().requires_grad_()
    return torch.autograd.grad(LOSS(leaf, target).sum(), leaf)[0]


@pytest.mark.parametrize(("batch", "m"), [(4, 1), (1, 5), (3, 16)])
def test_value_is_the_definition(batch: int, m: int) -> None:
    prediction, target = example(batch, m)
    expected = []
    for numbers, totals in zip(prediction.tolist(), target.tolist(), strict=True):
        pairs = zip(itertools.accumulate(numbers), totals, strict=True)
        expected.append(0.5 * sum((mine - theirs) ** 2 for mine, theirs in pairs))
    torch.testing.assert_close(
        LOSS(prediction, target), torch.tensor(expected, dtype=torch.float64), rtol=1e-14, atol=0
    )


@pytest.mark.parametrize("m", [1, 2, 7])
def test_gradient_equals_central_differences(m: int) -> None:
    prediction, target = example(3, m)
    step = 1e-4
    basis = torch.eye(m, dtype=torch.float64) * step
    numeric = torch.stack(
        [(LOSS(prediction + e, target) - LOSS(prediction - e, target)) / (2 * step) for e in basis], dim=1
    )
    analytic = gradient(prediction, target)
    assert (numeric - analytic).norm() <= 1e-6 * analytic.norm()


@pytest.mark.parametrize("m", [1, 2, 7])
def test_hessian_equals_central_differences_of_the_gradient(m: int) -> None:
    prediction, target = example(3, m)
    step = 1e-4
    basis = torch.eye(m, dtype=torch.float64) * step
    numeric = torch.stack(
        [(gradient(prediction + e, target) - gradient(prediction - e, target)) / (2 * step) for e in basis], dim=2
    )
    analytic = LOSS.hessian(prediction, target)
    assert (numeric - analytic).norm() <= 1e-6 * analytic.norm()


@pytest.mark.parametrize("m", [1, 2, 16])
def test_hessian_is_the_product_of_triangles(m: int) -> None:
    lower = torch.ones(m, m, dtype=torch.float64).tril()
    hessian = LOSS.hessian(*example(2, m))
    assert hessian.shape == (2, m, m)
    assert torch.equal(hessian[0], lower.T @ lower)
    assert torch.equal(hessian[0], hessian[1])


def test_condition_number_is_the_one_in_the_docstring() -> None:
    values = [round(float(torch.linalg.cond(LOSS.hessian(*example(1, m))[0]))) for m in (8, 16)]
    assert values == [113, 438]


def test_split_composes_to_the_loss_and_its_jacobian_gives_the_hessian() -> None:
    prediction, target = example(3, 5)
    torch.testing.assert_close(LOSS.outer(LOSS.inner(prediction), target), LOSS(prediction, target))
    jacobian = torch.func.jacrev(lambda row: LOSS.inner(row[None])[0])(prediction[0])
    torch.testing.assert_close(jacobian.T @ jacobian, LOSS.hessian(prediction, target)[0])


def test_one_newton_step_lands_on_the_numbers() -> None:
    numbers = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
    start = torch.zeros_like(numbers)
    target = numbers.cumsum(1)
    step = torch.linalg.solve(LOSS.hessian(start, target)[0], gradient(start, target)[0])
    torch.testing.assert_close(start[0] - step, numbers[0])


def test_torch_func_differentiates_it() -> None:
    prediction, target = example(2, 4)

    def sample(y: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return LOSS(y[None], t[None])[0]

    hessian = torch.func.vmap(torch.func.jacrev(torch.func.grad(sample)))(prediction, target)
    torch.testing.assert_close(hessian, LOSS.hessian(prediction, target))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_keeps_dtype_and_inputs(dtype: torch.dtype) -> None:
    prediction, target = example(2, 4, dtype)
    before = prediction.clone(), target.clone()
    assert LOSS(prediction, target).dtype == dtype
    assert LOSS.hessian(prediction, target).dtype == dtype
    assert torch.equal(prediction, before[0])
    assert torch.equal(target, before[1])


def test_empty_batch() -> None:
    prediction = torch.zeros(0, 3, requires_grad=True)
    loss = LOSS(prediction, torch.zeros(0, 3))
    assert loss.shape == (0,)
    assert torch.autograd.grad(loss.sum(), prediction)[0].shape == (0, 3)
    assert LOSS.hessian(prediction, torch.zeros(0, 3)).shape == (0, 3, 3)


def test_a_bad_sample_leaves_the_others_alone() -> None:
    prediction, target = example(3, 4)
    clean = LOSS(prediction, target)
    prediction[1, 2] = torch.nan
    loss = LOSS(prediction, target)
    assert loss.isnan().tolist() == [False, True, False]
    assert torch.equal(loss[[0, 2]], clean[[0, 2]])


@pytest.mark.parametrize(
    ("prediction", "target", "error", "words"),
    [
        (torch.zeros(3), torch.zeros(3), ShapeError, ["[3]", "[batch, m]"]),
        (torch.zeros(2, 0), torch.zeros(2, 0), ShapeError, ["[2, 0]"]),
        (torch.zeros(2, 3), torch.zeros(2, 1), ShapeError, ["[2, 3]", "[2, 1]"]),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 3), DtypeError, ["int64"]),
        (torch.zeros(2, 3), torch.zeros(2, 3).double(), DtypeError, ["float32", "float64"]),
        (torch.zeros(2, 3), [[0.0] * 3] * 2, ContractError, ["list"]),
        (torch.zeros(2, 3), torch.zeros(2, 3, device="meta"), DeviceError, ["cpu", "meta"]),
    ],
)
def test_wrong_inputs_are_refused_by_name(
    prediction: torch.Tensor, target: torch.Tensor, error: type[Exception], words: list[str]
) -> None:
    with pytest.raises(error) as caught:
        LOSS(prediction, target)
    assert str(caught.value).startswith("sequences/prefix_sum-v1:")
    assert all(word in str(caught.value) for word in words)


def test_example_is_valid_and_repeatable() -> None:
    first, second = (
        LOSS.example(4, generator=torch.Generator().manual_seed(3), dtype=torch.float64, device="cpu") for _ in "ab"
    )
    assert LOSS(*first).shape == (4,)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_capabilities() -> None:
    loss: object = LOSS
    assert isinstance(loss, AlgorithmicLoss)
    assert isinstance(loss, GaussNewtonSplit)
    assert isinstance(loss, SuppliesHessian)
    assert not hasattr(loss, "gradient")  # autodiff of the value is right
    assert LOSS.traits.psd_hessian
    assert LOSS.traits.constant_curvature
    assert PrefixSum() == LOSS


def test_padding_is_taken_out_wherever_it_stands() -> None:
    nan = torch.nan
    prediction = torch.tensor([[1.0, nan, 2.0, 5.0], [nan, nan, 3.0, nan]], requires_grad=True)
    target = torch.tensor([[1.0, nan, 4.0, 7.0], [nan, 1e30, 1.0, nan]])
    mask = torch.tensor([[False, True, False, False], [True, True, False, True]])
    assert LOSS.traits.takes_mask
    assert LOSS.inner(prediction.detach(), mask=mask).tolist() == [[1.0, 0.0, 3.0, 8.0], [0.0, 0.0, 3.0, 0.0]]
    loss = LOSS(prediction, target, mask=mask)
    assert loss.tolist() == [1.0, 2.0]  # ½(0² + 1² + 1²) and ½·2²
    (gradient,) = torch.autograd.grad(loss.sum(), prediction)
    assert gradient.tolist() == [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 2.0, 0.0]]
    hessian = LOSS.hessian(prediction.detach(), target, mask=mask)
    assert hessian[0].tolist() == [[3, 0, 2, 1], [0, 0, 0, 0], [2, 0, 2, 1], [1, 0, 1, 1]]
    assert hessian[1].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]


def test_a_mask_of_another_kind_is_refused() -> None:
    zeros = torch.zeros(2, 3)
    for call in (LOSS, LOSS.hessian):
        with pytest.raises(DtypeError, match=r"prefix_sum-v1: mask is torch\.float32, but bool is needed\. It is True"):
            call(zeros, zeros, mask=zeros)
        with pytest.raises(ShapeError, match=r"mask has shape \[3\]"):
            call(zeros, zeros, mask=torch.zeros(3) > 0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_at_the_end(dtype: torch.dtype) -> None:
    prediction, target = example(3, 50, dtype)
    torch.testing.assert_close(
        LOSS(prediction, target), LOSS(prediction.float(), target.float()).to(dtype), rtol=0, atol=0
    )


def test_specification_imports_no_torch() -> None:
    code = (
        "import sys, nlcore_sequences, nlcore_sequences._plugin as plugin\n"
        "assert 'sequences/prefix_sum-v1' in [spec.id for spec in plugin.nlcore_algorithms()]\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_option_that_it_does_not_have_is_refused() -> None:
    import nlcore

    assert isinstance(nlcore.make("sequences/prefix_sum"), PrefixSum)
    with pytest.raises(ConfigError):
        nlcore.make("sequences/prefix_sum", length=3)
