"""Context: what a loss needs of every sample beside prediction and target goes wherever a share of the batch goes."""

from __future__ import annotations

import pytest
import torch

import nlcore
from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Traits, compose, newton_step
from nlcore.errors import ContractError, DeviceError, ShapeError

COUNT, SIZE = 12, 5


def driven(pushes, start):
    """Return the places of a body that is pushed, from its own start, [N, m]."""
    place, speed = start["place"], start["speed"]
    places = []
    for push in pushes.unbind(-1):
        speed = speed + 0.3 * (push - torch.tanh(place))
        place = place + 0.3 * speed
        places.append(place)
    return torch.stack(places, -1)


def starts(count=COUNT, seed=0):
    generator = torch.Generator().manual_seed(seed)
    place, speed = torch.randn(2, count, generator=generator, dtype=torch.float64)
    return {"place": place, "speed": speed}


def data(count=COUNT, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, count, SIZE, generator=generator, dtype=torch.float64))


@pytest.mark.parametrize(
    "curvature", [GaussNewton(), GaussNewton(aggregate="sample"), Hessian(), EmpiricalFisher(), None]
)
@pytest.mark.parametrize("backend", ["autograd", "func"])
def test_a_context_is_what_a_closure_over_the_batch_would_be(curvature, backend):
    (y, t), context = data(), starts()
    closed = newton_step(compose(lambda y: driven(y, context)), y, t, curvature, backend=backend)
    given = newton_step(compose(driven), y, t, curvature, context=context, backend=backend)
    assert torch.equal(given.value, closed.value)
    assert torch.equal(given.direction, closed.direction)


def test_the_module_hands_it_on_in_training_and_validation():
    (y, t), context = data(), starts()
    criterion = NewtonLoss(compose(driven))
    leaf = y.clone().requires_grad_()
    value = criterion(leaf, t, context=context)
    value.backward()
    plain = compose(driven)(y, t, context=context).mean()
    torch.testing.assert_close(value.detach(), plain)
    torch.testing.assert_close(criterion(y, t, context=context), plain)
    assert leaf.grad.abs().sum() > 0


def test_a_diagnosis_takes_the_share_of_its_samples():
    (y, t), context = data(2000), starts(2000)
    found = nlcore.diagnose(compose(driven), 0.1 * y, t, context=context)
    few = nlcore.diagnose(compose(driven), 0.1 * y[:200], t[:200], context={k: v[:200] for k, v in context.items()})
    assert found.condition == pytest.approx(few.condition, rel=0.3)
    with pytest.raises(ContractError, match=r"the whole batch and not .*context="):
        nlcore.diagnose(compose(lambda p: driven(p, context)), 0.1 * y, t)


class Weighted:
    """An algorithmic loss of its own that takes a context."""

    traits = Traits(takes_context=True)

    def __call__(self, prediction, target, *, generator=None, context=None):
        return (context * (prediction - target).square()).sum(1) / 2

    def hessian(self, prediction, target, *, generator=None, context=None):
        return torch.diag_embed(context)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, SIZE, generator=generator, dtype=dtype, device=device))


def test_a_loss_of_the_protocol_says_that_it_takes_one():
    y, t = data()
    context = torch.rand(COUNT, SIZE, dtype=torch.float64) + 0.5
    step = newton_step(Weighted(), y, t, Hessian(damping=0.0, aggregate="sample", max_ratio=None), context=context)
    torch.testing.assert_close(step.target, t, rtol=1e-12, atol=1e-12)


def test_a_plain_callable_with_the_parameter_is_handed_it():
    y, t = data()
    context = torch.rand(COUNT, dtype=torch.float64)

    def loss(prediction, target, context):
        return context * (prediction - target).square().sum(1)

    torch.testing.assert_close(
        newton_step(loss, y, t, EmpiricalFisher(), context=context).value, loss(y, t, context), rtol=0, atol=0
    )


@pytest.mark.parametrize("loss", [compose(lambda y: y.cumsum(-1)), lambda p, t: (p - t).square().sum(1)])
def test_a_loss_that_takes_none_refuses_one(loss):
    y, t = data()
    for call in (
        lambda: newton_step(loss, y, t, EmpiricalFisher(), context=starts()),
        lambda: NewtonLoss(loss, EmpiricalFisher())(y, t, context=starts()),
        lambda: nlcore.diagnose(loss, y, t, context=starts()),
    ):
        with pytest.raises(ContractError, match=r"takes no context.*parameter `context`"):
            call()


def test_a_loss_with_a_parameter_of_another_name_is_told_of_the_context():
    def scaled(prediction, target, lengths, *, mask=None):
        return ((prediction - target) / lengths).square().sum(1)

    y, t = data()
    for call in (lambda: NewtonLoss(scaled)(y, t), lambda: NewtonLoss(scaled)(y.requires_grad_(), t)):
        with pytest.raises(TypeError, match="lengths") as caught:
            call()
        assert "scaled needs lengths" in caught.value.__notes__[0]
        assert "context=" in caught.value.__notes__[0]


def test_an_error_of_a_loss_that_needs_no_more_has_no_note():
    y, t = data()
    with pytest.raises(TypeError) as caught:
        NewtonLoss(lambda prediction, target, *, mask=None: prediction.sum(1) + "1")(y, t)
    assert not hasattr(caught.value, "__notes__")


def test_a_missing_context_is_named():
    y, t = data()
    with pytest.raises(ContractError, match=r"needs a context, its parameter 'start'.*context=.*without compose"):
        newton_step(compose(driven), y, t, GaussNewton())


def test_a_default_of_a_second_parameter_is_not_a_context():
    """As in `lambda y, k=k: …`, which binds a value."""
    y, t = data()
    loss = compose(lambda y, factor=2.0: factor * y)
    assert not loss.traits.takes_context
    torch.testing.assert_close(loss(y, t), (2 * y - t).square().sum(1) / 2)


def test_a_context_needs_the_batch_in_front_and_its_device():
    y, t = data()
    with pytest.raises(ShapeError, match=r"the context \[3\]"):
        newton_step(compose(driven), y, t, GaussNewton(), context=starts(3))
    with pytest.raises(DeviceError, match=r"context\.to\(prediction\.device\)"):
        newton_step(compose(driven), y, t, GaussNewton(), context={k: v.to("meta") for k, v in starts().items()})


def test_half_precision_widens_the_context():
    (y, t), context = data(), starts()
    narrow = {k: v.bfloat16() for k, v in context.items()}
    step = newton_step(compose(driven), y.bfloat16(), t.bfloat16(), GaussNewton(), context=narrow)
    wide = {k: v.float() for k, v in narrow.items()}
    expected = newton_step(compose(driven), y.bfloat16().float(), t.bfloat16().float(), GaussNewton(), context=wide)
    assert torch.equal(step.direction, expected.direction)
