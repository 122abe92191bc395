"""Losses that keep the contract, some of them in unusual ways."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from nlcore import AlgorithmConfig, Traits
from nlcore.errors import DeviceError, DtypeError, NonFiniteError, ShapeError


def refuse_wrong(prediction, target, event_ndim=1):
    if prediction.ndim != 1 + event_ndim or prediction.shape != target.shape:
        raise ShapeError(f"prediction has shape {list(prediction.shape)}, the target {list(target.shape)}")
    if not prediction.is_floating_point():
        raise DtypeError(f"the prediction is {prediction.dtype}, not floating point")
    if prediction.device != target.device:
        raise DeviceError(f"the prediction is on {prediction.device}, the target on {target.device}")


@dataclass(frozen=True)
class Sound:
    """Σ t sin y + ½ Σ y_k y_{k+1}: smooth, and indefinite.

    Shape:
        prediction, target: [batch, n].
    """

    traits = Traits()

    def __call__(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target, self.traits.event_ndim)
        return self.formula(prediction, target)

    def formula(self, y, t):
        return (t * y.sin()).sum(1) + 0.5 * (y[:, :-1] * y[:, 1:]).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = torch.randn(2, batch_size, 4, generator=generator, dtype=dtype, device=device)
        return prediction, target


def sound_gradient(y, t):
    return t * y.cos() + 0.5 * F.pad(y[:, 1:], (0, 1)) + 0.5 * F.pad(y[:, :-1], (1, 0))


def sound_hessian(y, t):
    beside = torch.diag_embed(torch.full_like(y[:, 1:], 0.5), offset=1)
    return torch.diag_embed(-t * y.sin()) + beside + beside.mT


class Number(Sound):
    """An event without dimensions; prediction, target: [batch]."""

    traits = Traits(event_ndim=0)

    def formula(self, y, t):
        return t * y.sin()

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = torch.randn(2, batch_size, generator=generator, dtype=dtype, device=device)
        return prediction, target


class Picture(Sound):
    """An event of two dimensions; prediction, target: [batch, rows, columns]."""

    traits = Traits(event_ndim=2)

    def formula(self, y, t):
        return (t * y.sin()).flatten(1).sum(1) + (y[:, 0] * y[:, 1]).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = torch.randn(2, batch_size, 2, 3, generator=generator, dtype=dtype, device=device)
        return prediction, target


class Nested(Sound):
    """A target of several tensors in a dict; prediction: [batch, n]."""

    def __call__(self, prediction, target, *, generator=None):
        inside, classes = target["inside"]
        refuse_wrong(prediction, inside)
        if classes.shape != prediction.shape[:1]:
            raise ShapeError(f"{list(classes.shape)} classes for a prediction of shape {list(prediction.shape)}")
        return self.formula(prediction, inside) + F.cross_entropy(prediction, classes, reduction="none")

    def example(self, batch_size, *, generator, dtype, device):
        prediction, inside = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        classes = torch.randint(4, (batch_size,), generator=generator, device=device)
        return prediction, {"inside": (inside, classes), "note": "no tensor"}


class Noisy(Sound):
    """Noise on the outputs, from the generator; prediction, target: [batch, n]."""

    traits = Traits(stochastic=True)

    def __call__(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype, device=prediction.device)
        return self.formula(prediction + 0.3 * noise, target)


class PiecewiseLinear(Sound):
    """Linear pieces, so of order 1; prediction, target: [batch, n]."""

    traits = Traits(order=1, psd_hessian=True)

    def formula(self, y, t):
        return (y - t).abs().sum(1)


class OldSine(torch.autograd.Function):
    """Without setup_context, so torch.func refuses it."""

    @staticmethod
    def forward(ctx, y):
        ctx.save_for_backward(y)
        return y.sin()

    @staticmethod
    def backward(ctx, incoming):
        (y,) = ctx.saved_tensors
        return incoming * y.cos()


class OldStyle(Sound):
    """Through an old-style Function; prediction, target: [batch, n]."""

    traits = Traits(transforms="autograd")

    def formula(self, y, t):
        return (t * OldSine.apply(y)).sum(1) + 0.5 * (y[:, :-1] * y[:, 1:]).sum(1)


class BlackBox(Sound):
    """A count of right signs, with a gradient that is not its derivative; prediction, target: [batch, n]."""

    traits = Traits(order=0)

    def formula(self, y, t):
        return (y.sign() != t.sign()).to(y.dtype).sum(1) + 0 * y.sum(1)

    def gradient(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        return (prediction - target.sign()).clamp(-1, 1)


class Perturbed(Noisy):
    """A random value with an estimate as gradient; prediction, target: [batch, n]."""

    traits = Traits(stochastic=True, order=1)

    def gradient(self, prediction, target, *, generator=None):
        noise = torch.randn(prediction.shape, generator=generator, dtype=prediction.dtype, device=prediction.device)
        return (prediction + noise).sign() - target.sign()


class Supplied(Sound):
    """Gradient and Hessian in closed form; prediction, target: [batch, n]."""

    def gradient(self, prediction, target, *, generator=None):
        return sound_gradient(prediction, target)

    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction, target)


class Split(Sound):
    """½‖inner(y) − t‖² with a nonlinear inner part; prediction, target: [batch, n]."""

    def inner(self, prediction):
        return prediction + 0.5 * prediction.tanh().roll(1, dims=-1)

    def outer(self, features, target):
        return (features - target).square().sum(1) / 2

    def formula(self, y, t):
        return self.outer(self.inner(y), t)


class Refusing(Sound):
    """Refuses NaN and half precision by name; prediction, target: [batch, n]."""

    def __call__(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        if torch.finfo(prediction.dtype).bits < 32:
            raise DtypeError(f"the prediction is {prediction.dtype}, and float32 is the least it works in")
        if prediction.device.type != "meta" and not torch._C._functorch.maybe_get_level(prediction) >= 0:
            wrong = prediction.detach().isnan().any(1).nonzero().flatten().tolist()
            if wrong:
                raise NonFiniteError(f"the predictions of the samples {wrong} are NaN", wrong)
        return self.formula(prediction, target)


class Masked(Sound):
    """Leaves padded outputs out; prediction, target, mask: [batch, n]."""

    traits = Traits(takes_mask=True)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        refuse_wrong(prediction, target)
        prediction = prediction if mask is None else prediction.masked_fill(mask, 0.0)
        each = target * prediction.sin() + 0.1 * prediction.square()
        return (each if mask is None else each.masked_fill(mask, 0.0)).sum(1)


class InContext(Sound):
    """A field of numbers beside the target is the context; prediction, target, context: [batch, n]."""

    traits = Traits(takes_context=True)

    def __call__(self, prediction, target, *, generator=None, context=None):
        refuse_wrong(prediction, target)
        refuse_wrong(prediction, context["field"])
        return self.formula(prediction + context["field"], target)

    def example_context(self, batch_size, *, generator, dtype, device):
        return {"field": torch.randn(batch_size, 4, generator=generator, dtype=dtype, device=device)}


class SplitInContext(Split):
    """A split whose inner part takes the context; prediction, target, context: [batch, n]."""

    traits = Traits(takes_context=True)

    def __call__(self, prediction, target, *, generator=None, context=None):
        refuse_wrong(prediction, target)
        return self.outer(self.inner(prediction, context=context), target)

    def inner(self, prediction, *, context=None):
        return super().inner(prediction if context is None else prediction * context)

    def example_context(self, batch_size, *, generator, dtype, device):
        return torch.rand(batch_size, 4, generator=generator, dtype=dtype, device=device) + 0.5


class OptionalContext(SplitInContext):
    """A context that may be left out, as in its example; prediction, target: [batch, n]."""

    example_context = None


class MaskedInContext(Masked):
    """Padded outputs and a context; prediction, target, mask, context: [batch, n]."""

    traits = Traits(takes_mask=True, takes_context=True)

    def __call__(self, prediction, target, *, generator=None, mask=None, context=None):
        refuse_wrong(prediction, target)
        return super().__call__(prediction * context, target, mask=mask)

    example_context = SplitInContext.example_context


class ContextOfLengths(Sound):
    """The number of outputs of each sample is its context; prediction, target: [batch, n], context: [batch]."""

    traits = Traits(takes_context=True)

    def __call__(self, prediction, target, *, generator=None, context=None):
        refuse_wrong(prediction, target)
        each = target * prediction.sin() + 0.1 * prediction.square()
        return (each * (torch.arange(prediction.shape[1], device=context.device) < context[:, None])).sum(1)

    def example_context(self, batch_size, *, generator, dtype, device):
        return torch.randint(1, 5, (batch_size,), generator=generator, device=device)


class ConstantLengths(ContextOfLengths):
    """The same with one length for all; prediction, target: [batch, n], context: [batch]."""

    def example_context(self, batch_size, *, generator, dtype, device):
        return torch.full((batch_size,), 3, device=device)


class Module(nn.Module):
    """A module with a buffer and no options; prediction, target: [batch, 4]."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.linspace(0.5, 1.5, 4, dtype=torch.float64))

    @property
    def traits(self):
        return Traits(psd_hessian=True)

    def forward(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        return (self.weight.to(prediction.dtype) * (prediction - target).square()).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        return Sound().example(batch_size, generator=generator, dtype=dtype, device=device)


class Sample(Sound):
    """Written sample by sample, with data-dependent control flow; prediction, target: [batch, n]."""

    traits = Traits(transforms="autograd")

    def formula(self, y, t):
        each = [(b * (a.sin() if a[0].item() > 0 else a.cos())).sum() for a, b in zip(y, t, strict=True)]
        return torch.stack(each) if each else y.sum(1)


class Positive(Sound):
    """Logarithms of positive outputs, held against a mask of 0 and 1; prediction, target: [batch, n]."""

    def formula(self, y, t):
        return (t * y.log() + y.square()).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return prediction.exp(), (target > 0).to(dtype)


class Large(Sound):
    """An event of 20 × 15 outputs, convex; prediction, target: [batch, rows, columns]."""

    traits = Traits(event_ndim=2, psd_hessian=True)

    def formula(self, y, t):
        return ((y - t).square() + 0.1 * y.exp()).flatten(1).sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = torch.randn(2, batch_size, 20, 15, generator=generator, dtype=dtype, device=device)
        return prediction, target


class Unsupervised(Sound):
    """Knows no target; prediction: [batch, n]."""

    def __call__(self, prediction, target, *, generator=None):
        if target is not None:
            raise TypeError(f"there is no target, and {type(target).__name__} was given")
        refuse_wrong(prediction, prediction)
        return self.formula(prediction, prediction)

    def example(self, batch_size, *, generator, dtype, device):
        return super().example(batch_size, generator=generator, dtype=dtype, device=device)[0], None


class Linear(Sound):
    """t·y, whose second derivative is nothing; prediction, target: [batch, n]."""

    traits = Traits(order=1, psd_hessian=True)

    def formula(self, y, t):
        return (t * y).sum(1)


class FreeWidth(Sound):
    """Points that are softly assigned to any number of centres; prediction: [batch, n], target: [batch, k]."""

    def __call__(self, prediction, target, *, generator=None):
        if prediction.ndim != 2 or target.ndim != 2 or len(prediction) != len(target):
            raise ShapeError(f"prediction has shape {list(prediction.shape)}, the target {list(target.shape)}")
        refuse_wrong(prediction, prediction.detach().to(target.device))
        distances = (prediction[:, :, None] - target[:, None, :]).square() / 2
        return -torch.logsumexp(-distances, -1).sum(-1)


class WaveConfig(AlgorithmConfig):
    rate: float = Field(1.5, gt=0, description="Frequency.")
    orders: tuple[int, ...] = Field((1, 2), description="Powers that are added up.")


@dataclass(frozen=True, kw_only=True)
class Wave(Sound):
    """With options, one of them a sequence; prediction, target: [batch, n]."""

    rate: float = 1.5
    orders: tuple[int, ...] = (1, 2)

    def formula(self, y, t):
        return sum((t * (self.rate * y).sin().pow(order)).sum(1) for order in self.orders)


class RequiredConfig(AlgorithmConfig):
    rate: float = Field(gt=0, description="Frequency.")


@dataclass(frozen=True)
class Required(Sound):
    """With an option that has no default, and an operator that is none; prediction, target: [batch, n]."""

    rate: float
    operator: object = torch.sin

    def formula(self, y, t):
        return (t * self.operator(self.rate * y)).sum(1)


SOUND = {
    "sound": Sound(),
    "event_ndim_0": Number(),
    "event_ndim_2": Picture(),
    "nested_target": Nested(),
    "stochastic": Noisy(),
    "piecewise_linear": PiecewiseLinear(),
    "old_style_function": OldStyle(),
    "black_box": BlackBox(),
    "estimated_gradient": Perturbed(),
    "everything_supplied": Supplied(),
    "split": Split(),
    "refuses_nan_and_half": Refusing(),
    "takes_a_mask": Masked(),
    "takes_a_context": InContext(),
    "split_in_a_context": SplitInContext(),
    "context_left_out": OptionalContext(),
    "mask_and_context": MaskedInContext(),
    "context_of_lengths": ContextOfLengths(),
    "constant_lengths": ConstantLengths(),
    "module_with_buffer": Module(),
    "sample_by_sample": Sample(),
    "linear": Linear(),
    "positive_outputs": Positive(),
    "many_outputs": Large(),
    "no_target": Unsupervised(),
    "any_number_of_centres": FreeWidth(),
}
CONFIGURED = {
    "options": (Wave(), WaveConfig, {}),
    "other_options": (Wave(rate=2.0, orders=(3,)), WaveConfig, {"rate": 2.0, "orders": (3,)}),
    "required_option": (Required(0.7), RequiredConfig, {}),
}
