"""Weights are repetitions, padding is absence."""

from __future__ import annotations

import math

import pytest
import torch

from nlcore import Auto, Bounded, EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, compose, newton_step
from nlcore.errors import ContractError, NonFiniteError, ShapeError

from .losses import SPLIT, MaskedMean, Wavy, data, half_square

CURVATURES = {
    "fisher": EmpiricalFisher(damping=Relative(0.3)),
    "fisher-absolute": EmpiricalFisher(damping=0.3),
    "fisher-kernel": EmpiricalFisher(damping=0.3, solver="kernel"),
    "fisher-capped": EmpiricalFisher(damping=Relative(0.3), max_step=0.2),
    "hessian": Hessian(damping=Relative(0.1)),
    "hessian-batch": Hessian(damping=Relative(0.1), psd_scope="batch"),
    "hessian-none": Hessian(damping=20.0, psd="none"),
    "hessian-sample": Hessian(damping=Relative(0.1), aggregate="sample", max_ratio=None),
    "hessian-normalised": Hessian(damping=Relative(0.1), normalize=True),
    "hessian-bounded": Hessian(damping=Bounded()),
    "hessian-sample-capped": Hessian(damping=Relative(0.1), aggregate="sample", max_ratio=0.7),
}


every = pytest.mark.parametrize("curvature", [pytest.param(c, id=k) for k, c in CURVATURES.items()])


def gradient(criterion, prediction, target, **options):
    y = prediction.detach().clone().requires_grad_()
    loss = criterion(y, target, **options)
    loss.sum().backward()
    return y.grad, loss.detach()


def close(found, expected, rtol=1e-11):
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.float64])
@every
def test_an_integer_weight_is_repetition(curvature, dtype):
    prediction, target = data(6, seed=11)
    prediction[1] *= 0.1  # a short step that counts five times
    counts = torch.tensor([1, 5, 1, 1, 0, 1])
    repeated = newton_step(
        Wavy(), prediction.repeat_interleave(counts, 0), target.repeat_interleave(counts, 0), curvature
    )
    weighted = newton_step(Wavy(), prediction, target, curvature, weight=counts.to(dtype))
    close(weighted.direction.repeat_interleave(counts, 0), repeated.direction)
    for reduction in ("mean", "sum"):
        criterion = NewtonLoss(Wavy(), curvature, reduction=reduction)
        found, loss = gradient(criterion, prediction, target, weight=counts.to(dtype))
        y = prediction.clone().requires_grad_()
        expected = criterion(y.repeat_interleave(counts, 0), target.repeat_interleave(counts, 0))
        expected.backward()
        close(found, y.grad)
        close(loss, expected.detach())


@every
def test_a_weight_of_zero_is_removal(curvature):
    prediction, target = data(7, seed=4)
    weight = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    prediction[4:] *= 3
    expected = newton_step(Wavy(), prediction[:4], target[:4], curvature)
    step = newton_step(Wavy(), prediction, target, curvature, weight=weight)
    close(step.direction[:4], expected.direction)
    found, loss = gradient(NewtonLoss(Wavy(), curvature), prediction, target, weight=weight)
    close(found[:4], expected.direction / 4)
    assert torch.equal(found[4:], torch.zeros(3, 4, dtype=torch.float64))
    close(loss, expected.value.mean())


@every
def test_only_the_ratio_of_weights_matters_to_the_direction(curvature):
    prediction, target = data()
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.1], dtype=torch.float64)
    step = newton_step(Wavy(), prediction, target, curvature, weight=weight)
    for factor in (1e-6, 0.5, 1e6):
        close(newton_step(Wavy(), prediction, target, curvature, weight=factor * weight).direction, step.direction)
    equal = newton_step(Wavy(), prediction, target, curvature, weight=torch.full((5,), 3.0))
    close(equal.direction, newton_step(Wavy(), prediction, target, curvature).direction)


@every
def test_reductions_of_a_weighted_loss(curvature):
    prediction, target = data()
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0, 0.1], dtype=torch.float64)
    direction = newton_step(Wavy(), prediction, target, curvature, weight=weight).direction
    plain = Wavy()(prediction, target)
    for reduction, share in (("mean", weight / weight.sum()), ("sum", weight), ("none", weight)):
        criterion = NewtonLoss(Wavy(), curvature, reduction=reduction)
        found, loss = gradient(criterion, prediction, target, weight=weight)
        close(found, share.unsqueeze(1) * direction)
        close(loss.sum(), (share * plain).sum())
        with torch.no_grad():
            close(criterion(prediction, target, weight=weight), loss)


@every
def test_no_weight_at_all_gives_zero(curvature):
    prediction, target = data()
    found, loss = gradient(NewtonLoss(Wavy(), curvature), prediction, target, weight=torch.zeros(5))
    assert torch.equal(found, torch.zeros_like(prediction))
    assert loss == 0


@pytest.mark.parametrize("weight", [(1.0, -1.0, 1.0, 1.0, 1.0), (1.0, float("nan"), 1.0, 1.0, 1.0)], ids=str)
@every
def test_negative_and_nan_weights_are_named(curvature, weight):
    with pytest.raises(ContractError, match=r"weight.*1"):
        newton_step(half_square, *data(), curvature, weight=torch.tensor(weight))


@every
def test_a_column_padded_everywhere_is_a_column_removed(curvature):
    def loss(prediction, target, mask=None):
        return (prediction.sin() * target).sum(1) + 0.2 * prediction.sum(1).square()

    prediction, target = data()
    kept = [0, 2, 3]
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:, 1] = True
    prediction[:, 1] = 0.0  # so that the coupling is that of the others
    expected = newton_step(loss, prediction[:, kept], target[:, kept], curvature)
    step = newton_step(loss, prediction, target, curvature, mask=mask)
    close(step.direction[:, kept], expected.direction)
    assert torch.equal(step.direction[:, 1], torch.zeros(5, dtype=torch.float64))
    assert torch.equal(step.gradient[:, 1], torch.zeros(5, dtype=torch.float64))
    assert step.stats["damping"] == pytest.approx(expected.stats["damping"], rel=1e-12)
    assert step.stats["mean_curvature"] == pytest.approx(expected.stats["mean_curvature"], rel=1e-12)


@every
def test_a_sample_padded_everywhere_is_a_sample_removed(curvature):
    prediction, target = data(6, seed=4)
    mask = torch.zeros(6, 4, dtype=torch.bool)
    mask[[1, 4]] = True
    kept = [0, 2, 3, 5]
    step = newton_step(Wavy(), prediction, target, curvature, mask=mask)
    expected = newton_step(Wavy(), prediction[kept], target[kept], curvature)
    close(step.direction[kept], expected.direction)
    assert torch.equal(step.direction[[1, 4]], torch.zeros(2, 4, dtype=torch.float64))


@every
def test_a_sample_padded_everywhere_takes_no_part_in_the_mean_of_the_losses(curvature):
    prediction, target = data(6, seed=4)
    mask = torch.zeros(6, 4, dtype=torch.bool)
    mask[[1, 4]] = True
    kept = [0, 2, 3, 5]
    weight = torch.tensor([1.0, 7.0, 2.0, 1.0, 9.0, 0.5], dtype=torch.float64)
    for reduction in ("mean", "sum"):
        criterion = NewtonLoss(Wavy(), curvature, reduction=reduction)
        for w in (None, weight):
            found, loss = gradient(criterion, prediction, target, mask=mask, weight=w)
            options = {} if w is None else {"weight": w[kept]}
            expected, value = gradient(criterion, prediction[kept], target[kept], **options)
            close(found[kept], expected)
            close(loss, value)
            with torch.no_grad():
                close(criterion(prediction, target, mask=mask, weight=w), value)


@pytest.mark.filterwarnings("ignore:.*marks 100% of the outputs:nlcore.errors.NumericalWarning")
@every
def test_everything_padded_gives_no_step(curvature):
    prediction, target = data()
    step = newton_step(Wavy(), prediction, target, curvature, mask=torch.ones(5, 4, dtype=torch.bool))
    assert torch.equal(step.direction, torch.zeros_like(prediction))


@every
def test_no_padding_in_a_mask_changes_nothing(curvature):
    prediction, target = data()
    step = newton_step(Wavy(), prediction, target, curvature, mask=torch.zeros(5, 4, dtype=torch.bool))
    close(step.direction, newton_step(Wavy(), prediction, target, curvature).direction)


@pytest.mark.parametrize("garbage", [0.0, 1e30, float("inf"), float("nan")])
@every
def test_what_stands_in_padded_outputs_does_not_matter(curvature, garbage):
    prediction, target = data()
    mask = torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) < 0.3
    filled = prediction.masked_fill(mask, garbage)
    found = newton_step(MaskedSafe(), filled, target, curvature, mask=mask)
    close(found.direction, newton_step(MaskedSafe(), prediction, target, curvature, mask=mask).direction)
    y = filled.clone().requires_grad_()
    NewtonLoss(MaskedSafe(), curvature, on_failure="fallback")(y, target, mask=mask).backward()
    close(y.grad * 5, found.direction)


class MaskedSafe(MaskedMean):
    """MaskedMean that replaces padded values before it looks at them."""

    def __call__(self, prediction, target, *, generator=None, mask=None):
        if mask is not None:
            prediction = torch.where(mask, target, prediction)
        return super().__call__(prediction, target, generator=generator, mask=mask)


@every
def test_a_loss_that_takes_the_mask_gets_it(curvature):
    prediction, target = data()
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[:, 3] = True
    criterion = NewtonLoss(MaskedMean(), curvature)
    _, loss = gradient(criterion, prediction, target, mask=mask)
    expected = MaskedMean()(prediction[:, :3], target[:, :3]).mean()
    close(loss, expected)
    with torch.no_grad():
        close(criterion(prediction, target, mask=mask), expected)


@pytest.mark.parametrize("aggregate", ["batch", "sample"])
def test_gauss_newton_with_padding_and_repetition(aggregate):
    prediction, target = data()[0], data(5, 7)[1]
    curvature = GaussNewton(damping=Relative(0.1), aggregate=aggregate, max_ratio=None)
    counts = torch.tensor([2, 1, 3, 0, 1])
    weighted = newton_step(SPLIT, prediction, target, curvature, weight=counts)
    repeated = newton_step(
        SPLIT, prediction.repeat_interleave(counts, 0), target.repeat_interleave(counts, 0), curvature
    )
    close(weighted.direction.repeat_interleave(counts, 0), repeated.direction)
    mask = torch.zeros(5, 4, dtype=torch.bool)
    mask[[1, 2]] = True
    kept = [0, 3, 4]
    step = newton_step(SPLIT, prediction, target, curvature, mask=mask)
    close(step.direction[kept], newton_step(SPLIT, prediction[kept], target[kept], curvature).direction)


def test_weights_of_single_outputs_are_told_of_the_mask():
    prediction, target = data()
    with pytest.raises(ShapeError, match=r"got \[5, 4\]\. Mark padded outputs by mask="):
        newton_step(Wavy(), prediction, target, EmpiricalFisher(), weight=torch.ones(5, 4))


@pytest.mark.parametrize("weight", [torch.ones(4), torch.ones(5, 1), torch.ones(()), [1.0] * 5, 2.0], ids=repr)
def test_weights_of_a_wrong_shape(weight):
    prediction, target = data()
    got = str(list(weight.shape)).replace("[", r"\[").replace("]", r"\]") if hasattr(weight, "shape") else ""
    with pytest.raises(ShapeError, match=rf"weight needs one number per sample, shape \[5\], got.*{got}"):
        newton_step(Wavy(), prediction, target, EmpiricalFisher(), weight=weight)
    for y in (prediction, prediction.clone().requires_grad_()):
        with pytest.raises(ShapeError, match="weight"):
            NewtonLoss(Wavy(), EmpiricalFisher())(y, target, weight=weight)


@pytest.mark.parametrize(
    "mask", [torch.zeros(5, 4), torch.zeros(5, dtype=torch.bool), torch.zeros(4, 5, dtype=torch.bool), True], ids=repr
)
def test_masks_of_a_wrong_kind(mask):
    prediction, target = data()
    with pytest.raises(ContractError, match=r"mask must be bool and of the prediction's shape \[5, 4\]"):
        newton_step(Wavy(), prediction, target, EmpiricalFisher(), mask=mask)
    with torch.no_grad(), pytest.raises(ContractError, match="mask must be bool"):
        NewtonLoss(Wavy(), EmpiricalFisher())(prediction, target, mask=mask)


WITHOUT_WEIGHT = [
    None,
    Auto(aim="outputs"),
    EmpiricalFisher(),
    EmpiricalFisher(damping=0.1, weighting="normalized"),
    Hessian(damping=Relative(0.1)),
    GaussNewton(damping=Relative(0.1), aggregate="sample"),
    GaussNewton(damping=Relative(0.1), solver="cg"),
    GaussNewton(damping=Relative(0.1), solver="low_rank"),
    GaussNewton(damping=Bounded(validated=True)),
]


@pytest.mark.parametrize("where", ["prediction", "target"])
@pytest.mark.parametrize("curvature", WITHOUT_WEIGHT, ids=str)
def test_a_sample_without_weight_may_be_nan(curvature, where):
    generator = torch.Generator().manual_seed(0)
    prediction, target = torch.randn(2, 6, 3, generator=generator)
    (prediction if where == "prediction" else target)[2] = math.nan
    weight, kept = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 3.0]), [0, 1, 3, 4, 5]
    loss = compose(lambda y: y.cumsum(1).sin())
    found, value = gradient(NewtonLoss(loss, curvature), prediction, target, weight=weight)
    expected, alone = gradient(NewtonLoss(loss, curvature), prediction[kept], target[kept], weight=weight[kept])
    close(value, alone, rtol=1e-5)
    torch.testing.assert_close(found[kept], expected)
    assert found[2].tolist() == [0.0, 0.0, 0.0]
    with torch.no_grad():
        close(NewtonLoss(loss, curvature)(prediction, target, weight=weight), alone, rtol=1e-5)
    with pytest.raises(NonFiniteError, match="in 1 of 6 samples: 2"):
        gradient(NewtonLoss(loss, curvature), prediction, target, weight=torch.ones(6))


def test_the_step_in_the_statistics_is_over_the_outputs_that_count():
    prediction = torch.ones(3, 5, requires_grad=True)
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[:, 3:] = True

    def loss(y, t, mask):
        return torch.where(mask, 0.0, (y - t).square()).sum(-1) / 2

    criterion = NewtonLoss(loss, EmpiricalFisher(damping=1.0, power=0.0))
    criterion(prediction, torch.zeros(3, 5), mask=mask).backward()
    assert criterion.stats["step"] == pytest.approx(1.0)


def test_samples_at_their_optimum_do_not_hold_the_others_back():
    target = torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    prediction = torch.zeros(4, 2, requires_grad=True)
    NewtonLoss(compose(lambda y: y), Hessian(damping=1.0, aggregate="sample"))(prediction, target).backward()
    # Steps of norm √2/2 and √2, of which the lower is the median of those that move: the longer one is cut to it.
    expected = torch.tensor([0.0, 0.0, -0.125, -0.125]).unsqueeze(1).expand(4, 2)
    torch.testing.assert_close(prediction.grad, expected)
