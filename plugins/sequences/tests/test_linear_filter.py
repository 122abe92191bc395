"""Linear filters against their definitions, at the ends, with masks, by derivatives."""

from __future__ import annotations

import math

import pytest
import torch

import nlcore
from nlcore.errors import ConfigError, ShapeError
from nlcore_sequences import LinearFilter


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mirrored(index: int, m: int) -> int:
    turn = index % (2 * m)
    return min(turn, 2 * m - 1 - turn)


AT_END = {
    "zero": lambda row, index: row[index] if 0 <= index < len(row) else 0.0,
    "reflect": lambda row, index: row[mirrored(index, len(row))],
    "circular": lambda row, index: row[index % len(row)],
}


def filtered(row: list[float], weights: dict[int, float], ends: str) -> list[float]:
    """The definition: Σ over the lags, element by element."""
    at = AT_END[ends]
    return [math.fsum(h * at(row, k - lag) for lag, h in weights.items()) for k in range(len(row))]


KERNELS = {
    "gaussian": (LinearFilter(width=1.3), {lag: math.exp(-(lag**2) / (2 * 1.3**2)) for lag in range(-13, 14)}, True),
    "half gaussian": (
        LinearFilter(width=1.3, causal=True),
        {lag: math.exp(-(lag**2) / (2 * 1.3**2)) for lag in range(14)},
        True,
    ),
    "average": (LinearFilter(kernel="moving_average", width=4), dict.fromkeys(range(-1, 3), 1.0), True),
    "causal average": (LinearFilter(kernel="moving_average", width=4, causal=True), dict.fromkeys(range(4), 1.0), True),
    "exponential": (
        LinearFilter(kernel="exponential", width=3.0, causal=True),
        {lag: (2 / 3) ** lag for lag in range(120)},
        True,
    ),
    "two-sided": (
        LinearFilter(kernel="exponential", width=3.0),
        {lag: (2 / 3) ** abs(lag) for lag in range(-120, 121)},
        True,
    ),
    "weights": (LinearFilter(kernel=(1.0, -2.0, 4.0)), {-1: 1.0, 0: -2.0, 1: 4.0}, False),
    "causal weights": (LinearFilter(kernel=(1.0, -2.0), causal=True), {0: 1.0, 1: -2.0}, False),
}


@pytest.mark.parametrize("ends", ["zero", "reflect", "circular"])
@pytest.mark.parametrize("name", KERNELS)
def test_features_are_the_definition(name: str, ends: str) -> None:
    loss, weights, normalised = KERNELS[name]
    total = math.fsum(weights.values()) if normalised else 1.0
    weights = {lag: one / total for lag, one in weights.items()}
    loss = LinearFilter(kernel=loss.kernel, width=loss.width, causal=loss.causal, boundary=ends)
    for m in (4, 9, 300):
        row = draw(m)
        wanted = torch.tensor(filtered(row.tolist(), weights, ends), dtype=torch.float64)
        torch.testing.assert_close(loss.inner(row[None])[0], wanted, rtol=1e-12, atol=1e-12)


def test_the_exponential_kernel_is_the_recursion_from_zero() -> None:
    row, state, wanted = draw(50), 0.0, []
    for one in row.tolist():
        state = 0.2 * one + 0.8 * state
        wanted.append(state)
    found = LinearFilter(kernel="exponential", width=5.0, causal=True).inner(row[None])[0]
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("ends", ["zero", "reflect", "circular"])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "moving_average"])
def test_padded_elements_do_not_exist(kernel: str, causal: bool, ends: str) -> None:
    loss = LinearFilter(kernel=kernel, width=3, causal=causal, boundary=ends)
    prediction, target = draw(3, 9), draw(3, 9, seed=1)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[0, 6:] = True
    mask[1, [0, 3, 4]] = True
    prediction[mask] = torch.nan
    target[mask] = torch.nan
    values, features = loss(prediction, target, mask=mask), loss.inner(prediction, mask=mask)
    for k in range(3):
        kept = ~mask[k]
        short = prediction[k, kept][None]
        torch.testing.assert_close(values[k : k + 1], loss(short, target[k, kept][None]))
        torch.testing.assert_close(features[k, kept], loss.inner(short)[0])
    leaf = prediction.nan_to_num().requires_grad_()
    (slope,) = torch.autograd.grad(loss(leaf, target.nan_to_num(), mask=mask).sum(), leaf)
    assert not slope[mask].any()


@pytest.mark.parametrize("m", [5, 400])
def test_derivatives_equal_differences(m: int) -> None:
    for loss in (LinearFilter(), LinearFilter(kernel="exponential", causal=True), LinearFilter(kernel=(1.0, 2.0, 3.0))):
        prediction, target = draw(2, m).requires_grad_(), draw(2, m, seed=1)
        direction = draw(2, m, seed=2)
        assert torch.autograd.gradcheck(
            lambda y, loss=loss, target=target: loss(y, target), (prediction,), fast_mode=True
        )
        (slope,) = torch.autograd.grad(loss(prediction, target).sum(), prediction, create_graph=True)
        product = torch.autograd.grad(slope, prediction, direction)[0]
        image = loss.inner(direction)
        assert float((direction * product).sum()) == pytest.approx(float(image.square().sum()), rel=1e-10)


def test_float32_is_near_float64_and_half_precision_computes_in_float32() -> None:
    prediction, target = draw(2, 1000), draw(2, 1000, seed=1)
    exact = LinearFilter()(prediction, target)
    torch.testing.assert_close(LinearFilter()(prediction.float(), target.float()).double(), exact, rtol=1e-5, atol=0)
    half = LinearFilter()(prediction.bfloat16(), target.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), exact, rtol=2e-2, atol=0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kernel": (1.0, 2.0)}, "odd number; add a 0, or give causal=True"),
        ({"kernel": (0.0, 0.0, 0.0)}, "no weight other than 0"),
        ({"kernel": "moving_average", "width": 2.5}, "give a whole number"),
        ({"kernel": "exponential", "width": 0.5}, "at least 1"),
        ({"kernel": "boxcar"}, "moving_average"),
        ({"width": 0}, "greater than 0"),
        ({"width": 1e8}, "less than or equal to 100000"),
        ({"boundary": "wrap"}, "'circular'"),
    ],
)
def test_an_option_that_cannot_be_is_refused(options, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LinearFilter(**options)


def test_a_kernel_longer_than_the_sequence_is_refused() -> None:
    for loss in (LinearFilter(kernel="moving_average", width=5), LinearFilter(kernel=(1.0,) * 5)):
        with pytest.raises(ShapeError, match=r"the kernel has 5 weights, and the sequence 4 elements"):
            loss(torch.zeros(2, 4), torch.zeros(2, 4))


def test_a_newton_target_undoes_the_filter() -> None:
    loss, truth = LinearFilter(kernel="exponential", width=4.0, causal=True), draw(2, 600)
    step = nlcore.newton_step(loss, torch.zeros(2, 600).double(), loss.inner(truth), nlcore.GaussNewton(damping=1e-9))
    torch.testing.assert_close(step.target, truth, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_half_precision_autocast_and_empty_batches(name: str) -> None:
    for loss in (KERNELS[name][0], LinearFilter(width=30.0)):
        prediction, target = draw(3, 300).float(), draw(3, 300, seed=1).float()
        with torch.autocast("cpu", torch.bfloat16):
            found = loss(prediction, target)
        assert torch.equal(found, loss(prediction, target))
        for dtype in (torch.float16, torch.bfloat16):
            half = prediction.to(dtype)
            assert torch.equal(loss.inner(half), loss.inner(half.float()).to(dtype))
        assert loss(prediction[:0], target[:0]).shape == (0,)
        step = nlcore.newton_step(loss, prediction[:0], target[:0], nlcore.GaussNewton())
        assert step.direction.shape == (0, 300)
        nlcore.NewtonLoss(loss)(prediction[:0].requires_grad_(), target[:0]).backward()
