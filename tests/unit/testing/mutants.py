"""Losses with one fault each."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import torch
from pydantic import ConfigDict, Field

from nlcore import AlgorithmConfig, Traits

from .sound import (
    InContext,
    Large,
    Masked,
    Module,
    Noisy,
    OldSine,
    Sound,
    Split,
    SplitInContext,
    Supplied,
    Wave,
    refuse_wrong,
    sound_gradient,
    sound_hessian,
)


class InPlacePrediction(Sound):
    def formula(self, y, t):
        return super().formula(y.clamp_(-1, 1), t)


class InPlaceTarget(Sound):
    def formula(self, y, t):
        return super().formula(y, t.mul_(0.5))


class InPlaceInHessian(Supplied):
    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction.add_(1.0), target)


class BatchStatistics(Sound):
    def formula(self, y, t):
        return super().formula(y - y.mean(0), t)


class ReducedAndExpanded(Sound):
    def formula(self, y, t):
        return super().formula(y, t).mean().expand(len(y))


class Reduced(Sound):
    def formula(self, y, t):
        return super().formula(y, t).mean()


class KeptDimension(Sound):
    def formula(self, y, t):
        return super().formula(y, t)[:, None]


class WeighedByPlace(Sound):
    def formula(self, y, t):
        return super().formula(y, t) * torch.arange(1, len(y) + 1, dtype=y.dtype, device=y.device) / max(1, len(y))


class HessianOfTheBatch(Supplied):
    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction, target).mean(0).expand(len(prediction), -1, -1)


class DetachedSine(torch.autograd.Function):
    @staticmethod
    def forward(y):
        return y.sin(), y.cos()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.slope = output[1].detach()  # an intermediate behind the back of autograd
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx, incoming, _):
        return incoming * ctx.slope


class DetachedSecondDerivative(Sound):
    traits = Traits(transforms="autograd")

    def formula(self, y, t):
        return (t * DetachedSine.apply(y)[0]).sum(1) + 0.5 * (y[:, :-1] * y[:, 1:]).sum(1)


class UnguardedRoot(Sound):
    """Its gradient is finite, and its second derivative is 0 · ∞ below 0.3."""

    def formula(self, y, t):
        return super().formula(y, t) + (y - 0.3).clamp(min=0).sqrt().sum(1).square()


class WrongOrder(Sound):
    def formula(self, y, t):
        return (y - t).abs().sum(1)


class GlobalRandomDeclared(Noisy):
    def formula(self, y, t):
        return super().formula(y + 0.1 * torch.randn_like(y), t)


class GlobalRandom(Sound):
    def formula(self, y, t):
        return super().formula(y + 0.1 * torch.randn_like(y), t)


class PythonRandom(Sound):
    def formula(self, y, t):
        return super().formula(y * random.uniform(0.9, 1.1), t)


class WastefulRandom(Sound):
    """Draws what it does not use: the numbers of a user's next call change."""

    def formula(self, y, t):
        torch.rand(1)
        return super().formula(y, t)


class SilentFloat64(Sound):
    def formula(self, y, t):
        return super().formula(y.double(), t.double())


class FloatHalf(Sound):
    def formula(self, y, t):
        return super().formula(y, t) if y.dtype == torch.float64 else super().formula(y.float(), t.float())


class SilentFloat32(Sound):
    def formula(self, y, t):
        return super().formula(y.float(), t.float()).to(y.dtype)


class HessianInFloat32(Supplied):
    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction.float(), target.float())


class NanAtTies(Sound):
    def formula(self, y, t):
        return super().formula(y, t) + (y[:, :-1] - y[:, 1:]).square().sum(1).sqrt()


class NanAtTheTarget(Sound):
    def formula(self, y, t):
        return super().formula(y, t) + (y - t).square().sum(1).sqrt()


class ValueNanAtTies(Sound):
    def formula(self, y, t):
        gap = y[:, 0] - y[:, 1]
        return super().formula(y, t) + gap.sin() / gap


class WrongSuppliedGradient(Sound):
    def gradient(self, prediction, target, *, generator=None):
        return 1.01 * sound_gradient(prediction, target)


class InfiniteSuppliedGradient(Sound):
    def gradient(self, prediction, target, *, generator=None):
        return sound_gradient(prediction, target) / (prediction < 1).to(prediction.dtype)


class ZeroSuppliedGradient(Sound):
    def gradient(self, prediction, target, *, generator=None):
        return 0 * sound_gradient(prediction, target)


class WrongHessian(Sound):
    def hessian(self, prediction, target, *, generator=None):
        return 1.01 * sound_hessian(prediction, target)


class InfiniteHessian(Sound):
    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction, target) / (prediction[:, :1, None] < 1).to(prediction.dtype)


class AsymmetricHessian(Sound):
    def hessian(self, prediction, target, *, generator=None):
        found = sound_hessian(prediction, target)
        turn = torch.triu(torch.full_like(found, 0.1), 1)
        return found + turn - turn.mT


class FlatHessian(Sound):
    def hessian(self, prediction, target, *, generator=None):
        return sound_hessian(prediction, target).flatten(1)


class FalseConvex(Sound):
    traits = Traits(psd_hessian=True)


class FalseConvexLarge(Large):
    def formula(self, y, t):
        return super().formula(y, t) - 2 * (y[:, 0] ** 2).sum(1)


class FalseConvexSupplied(Supplied):
    traits = Traits(psd_hessian=True)


class _Doubled:
    """The curvature of `Sound` if it were twice the identity; `factor` is a fault in one of its parts."""

    features = 3

    def __init__(self, size, **faults):
        self.size, self.faults = size, faults

    trace = property(lambda self: 2.0 * self.size * self.faults.get("trace", 1))
    largest = property(lambda self: 2.0 * self.faults.get("largest", 1))

    def matvec(self, rows):
        return 2 * rows * self.faults.get("matvec", 1)

    def solve(self, rows, damping, power):
        return rows * (2 + damping) ** (-power * self.faults.get("solve", 1))

    def supports(self, power):
        return power == 1 or "solve" not in self.faults


@dataclass(frozen=True)
class Structured:
    """‖y − t‖², [batch, n], with a curvature operator."""

    fault: str = ""
    by: float = 1.0

    traits = Traits(psd_hessian=True, constant_curvature=True)

    def __call__(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        return (prediction - target).square().sum(1)

    def example(self, batch_size, *, generator, dtype, device):
        return tuple(torch.randn(2, batch_size, 3, generator=generator, dtype=dtype, device=device))

    def curvature_operator(self, prediction):
        return _Doubled(prediction[0].numel(), **({self.fault: self.by} if self.fault else {}))


class IgnoredGenerator(Noisy):
    def __call__(self, prediction, target, *, generator=None):
        own = torch.Generator(prediction.device if prediction.device.type != "meta" else "cpu").manual_seed(3)
        return super().__call__(prediction, target, generator=None if prediction.device.type == "meta" else own)


class FalseStochastic(Sound):
    traits = Traits(stochastic=True)


class UndeclaredStochastic(Noisy):
    traits = Traits()


class Counting:
    """Sound, but every call weighs more than the last; prediction, target: [batch, n]."""

    traits = Traits()
    example = Sound.example

    def __init__(self):
        self.calls = 0

    def __repr__(self):
        return "Counting()"

    def __call__(self, prediction, target, *, generator=None):
        self.calls += 1
        return Sound()(prediction, target) * (1 + 0.01 * self.calls)


class Scratch(Counting):
    """Keeps its input in the object while it works; prediction, target: [batch, n]."""

    def __call__(self, prediction, target, *, generator=None):
        self.kept = prediction
        time.sleep(0.0005)
        return Sound()(self.kept, target)


class Unpicklable(Counting):
    """Holds a lambda; prediction, target: [batch, n]."""

    def __init__(self):
        self.function = lambda y: y.sin()

    def __call__(self, prediction, target, *, generator=None):
        refuse_wrong(prediction, target)
        return (target * self.function(prediction)).sum(1)


class ForgetsWhenPickled(Counting):
    """Comes back with another scale; prediction, target: [batch, n]."""

    def __init__(self, scale=2.0):
        self.scale = scale

    def __reduce__(self):
        return ForgetsWhenPickled, (1.0,)

    def __deepcopy__(self, memo):
        return ForgetsWhenPickled(self.scale)

    def __call__(self, prediction, target, *, generator=None):
        return self.scale * Sound()(prediction, target)


class Uncopied(Sound):
    def __deepcopy__(self, memo):
        raise TypeError("it holds a lock")


class DefaultRepr(Sound):
    __repr__ = object.__repr__


class Unhashable(Sound):
    def __eq__(self, other):
        return isinstance(other, Unhashable)

    __hash__ = None


class UnequalCopy(Sound):
    def __eq__(self, other):
        return self is other

    def __hash__(self):
        return 1


class Undocumented:
    traits = Traits()
    example = Sound.example
    __call__ = Sound.__call__
    formula = Sound.formula

    def __repr__(self):
        return "Undocumented()"


class Shapeless(Undocumented):
    """A loss of which nobody learns what goes in."""


class WrongSplit(Split):
    def formula(self, y, t):
        return super().formula(y, t) + y.square().sum(1)


class NonConvexOuter(Split):
    def outer(self, features, target):
        return (features - target).cos().sum(1)


class RefusesFunc(Sound):
    def formula(self, y, t):
        return (t * OldSine.apply(y)).sum(1) + 0.5 * (y[:, :-1] * y[:, 1:]).sum(1)


class NeedsLeaf(Sound):
    traits = Traits(transforms="autograd")

    def formula(self, y, t):
        if y.requires_grad and not y.is_leaf:
            raise RuntimeError("the prediction must be a leaf")
        return super().formula(y, t)


class Backward(Sound):
    def formula(self, y, t):
        if y.requires_grad and y.is_leaf:
            super().formula(y, t).sum().backward()
        return super().formula(y, t)


class RequiresTargetGradient(Sound):
    def formula(self, y, t):
        if y.requires_grad and y.is_leaf and not t.requires_grad:
            t.requires_grad_()
        return super().formula(y, t.detach())


class DefaultDtype(Sound):
    def formula(self, y, t):
        torch.set_default_dtype(torch.float64)
        return super().formula(y, t)


class GradMode(Sound):
    def formula(self, y, t):
        value = super().formula(y, t)
        torch.set_grad_enabled(False)
        return value


class Detached(Sound):
    def formula(self, y, t):
        return super().formula(y.detach(), t)


class Rounded(Sound):
    def formula(self, y, t):
        return super().formula(y.round(), t)


class WrongBackwardSine(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(y):
        return y.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, incoming):
        return incoming * (1 - ctx.saved_tensors[0].square() / 2)


class WrongBackward(Sound):
    def formula(self, y, t):
        return (t * WrongBackwardSine.apply(y)).sum(1) + 0.5 * (y[:, :-1] * y[:, 1:]).sum(1)


class PartlyDetached(Sound):
    def formula(self, y, t):
        return (t * y.sin()).sum(1) + 0.5 * (y[:, :-1].detach() * y[:, 1:]).sum(1)


class View(Sound):
    def formula(self, y, t):
        return super().formula(y.view(-1).view(t.shape), t)


class NoEmptyBatch(Sound):
    def formula(self, y, t):
        return torch.stack([Sound.formula(self, y[i : i + 1], t[i : i + 1])[0] for i in range(len(y))])


class WrongEventNdim(Sound):
    traits = Traits(event_ndim=2)


class BatchlessTarget(Sound):
    def example(self, batch_size, *, generator, dtype, device):
        prediction, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return prediction, (target, target[0, 0])


class ExampleDtype(Sound):
    def example(self, batch_size, *, generator, dtype, device):
        return super().example(batch_size, generator=generator, dtype=torch.float32, device=device)


class ExampleDevice(Sound):
    def example(self, batch_size, *, generator, dtype, device):
        return super().example(batch_size, generator=generator, dtype=dtype, device="cpu")


class ExampleGenerator(Sound):
    def example(self, batch_size, *, generator, dtype, device):
        return super().example(batch_size, generator=None, dtype=dtype, device=device)


class ExampleFixed(Sound):
    def example(self, batch_size, *, generator, dtype, device):
        generator = torch.Generator().manual_seed(0) if str(device) == "cpu" else None
        return super().example(batch_size, generator=generator, dtype=dtype, device=device)


class CallDevice(Sound):
    def formula(self, y, t):
        return super().formula(y + torch.arange(y.shape[1]), t)


class Broadcasts(Sound):
    def __call__(self, prediction, target, *, generator=None):
        if not prediction.is_floating_point() or prediction.device != target.device:
            refuse_wrong(prediction, target)
        return ((target - prediction).sin() * prediction).sum(-1)


class BroadcastsWidth(Sound):
    """Compares the batches alone."""

    def __call__(self, prediction, target, *, generator=None):
        if prediction.ndim != 2 or prediction.shape[:1] != target.shape[:1] or target.shape[1] != 1:
            refuse_wrong(prediction, target)
        return ((target - prediction).sin() * prediction).sum(-1)


class SpeechlessRefusal(Sound):
    def __call__(self, prediction, target, *, generator=None):
        if prediction.ndim != 2 or prediction.shape != target.shape:
            raise ValueError("shape")
        return super().__call__(prediction, target)


class TakesIntegers(Sound):
    def __call__(self, prediction, target, *, generator=None):
        floating = prediction if prediction.is_floating_point() else prediction.to(target.dtype)
        return super().__call__(floating, target)


class ForeignDeviceError(Sound):
    def __call__(self, prediction, target, *, generator=None):
        if prediction.device != target.device:
            raise RuntimeError("Expected all tensors to be on the same device")
        return super().__call__(prediction, target)


class HidesNan(Sound):
    def formula(self, y, t):
        return super().formula(y.nan_to_num(), t)


class SpreadsNan(Sound):
    def formula(self, y, t):
        return super().formula(y, t) + 0 * y.sum()


class IgnoresMask(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        return super().__call__(prediction, target)


class InvertsMask(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        return super().__call__(prediction, target, mask=None if mask is None else ~mask)


class CountsEmptySamples(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        return super().__call__(prediction, target, mask=mask) + (0.0 if mask is None else mask.all(1))


class DividesByNothing(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        loss = super().__call__(prediction, target, mask=mask)
        return loss / (prediction.shape[1] if mask is None else (~mask).sum(1))


class MultipliesByMask(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        refuse_wrong(prediction, target)
        each = (prediction - target).square()
        return (each if mask is None else each * ~mask).sum(1)


class CountsPaddingInTheMean(Masked):
    def __call__(self, prediction, target, *, generator=None, mask=None):
        return super().__call__(prediction, target, mask=mask) / prediction.shape[1]


class NanBehindWhere(Masked):
    """Hides the value of 0/0, but not its derivative."""

    def __call__(self, prediction, target, *, generator=None, mask=None):
        if mask is None:
            return super().__call__(prediction, target) + prediction.square().mean(1)
        count = (~mask).sum(1)
        mean = (prediction * ~mask).square().sum(1) / count
        return super().__call__(prediction, target, mask=mask) + torch.where(count > 0, mean, 0.0)


class HessianOfPadding(Masked):
    def hessian(self, prediction, target, *, generator=None, mask=None):
        refuse_wrong(prediction, target)
        return torch.diag_embed(0.2 - target * prediction.sin())


class NoMaskKeyword(Sound):
    traits = Traits(takes_mask=True)


class NoContextKeyword(Sound):
    traits = Traits(takes_context=True)


class SpreadsContext(InContext):
    def __call__(self, prediction, target, *, generator=None, context=None):
        mixed = {"field": context["field"] - context["field"].mean(0)}
        return super().__call__(prediction, target, context=mixed)


class ChangesContext(InContext):
    def __call__(self, prediction, target, *, generator=None, context=None):
        context["field"].mul_(0.5)
        return super().__call__(prediction, target, context=context)


class BatchlessContext(InContext):
    def example_context(self, batch_size, *, generator, dtype, device):
        return {"field": torch.randn(4, generator=generator, dtype=dtype, device=device)}


class IgnoresContext(InContext):
    def __call__(self, prediction, target, *, generator=None, context=None):
        refuse_wrong(prediction, target)
        return self.formula(prediction, target)


class IgnoresConstantContext(IgnoresContext):
    def example_context(self, batch_size, *, generator, dtype, device):
        return torch.ones(batch_size, 1, dtype=dtype, device=device)


class IgnoresAField(InContext):
    def example_context(self, batch_size, **made):
        return {**super().example_context(batch_size, **made), "scale": torch.rand(batch_size, 1, **made)}


class SplitWithoutContext(SplitInContext):
    def inner(self, prediction, *, context=None):
        return Split.inner(self, prediction)

    def __call__(self, prediction, target, *, generator=None, context=None):
        refuse_wrong(prediction, target)
        return super().__call__(prediction * context, target)


class PaddingInTheSplit(Split):
    traits = Traits(takes_mask=True)

    def __call__(self, prediction, target, *, generator=None, mask=None):
        refuse_wrong(prediction, target)
        return self.outer(self.inner(prediction, mask=mask), target, mask=mask, leave_out=True)

    def inner(self, prediction, *, mask=None):
        return prediction + 0.1 * prediction.tanh()

    def outer(self, features, target, *, mask=None, leave_out=False):
        each = (features - target).square() / 2
        return (each if mask is None or not leave_out else each.masked_fill(mask, 0.0)).sum(1)


class NoExample:
    """Cannot be tried; prediction: [batch, n]."""

    traits = Traits()

    def __call__(self, prediction, target, *, generator=None):
        return Sound()(prediction, target)


class NoGeneratorKeyword(Sound):
    def __call__(self, prediction, target):
        return super().__call__(prediction, target)


class TraitsAsDict(Sound):
    traits = {"event_ndim": 1}  # noqa: RUF012


class UnknownTransforms(Sound):
    traits = Traits(transforms="jax")


class RaisesAtTheExample(Sound):
    def formula(self, y, t):
        raise ZeroDivisionError("no luck")


class MutableWave(Counting):
    """Keeps its options open; prediction, target: [batch, n]."""

    def __init__(self, *, rate=1.5, orders=(1, 2)):
        self.rate, self.orders = rate, list(orders)

    def __repr__(self):
        return f"MutableWave(rate={self.rate}, orders={self.orders})"

    def __call__(self, prediction, target, *, generator=None):
        return Wave(rate=self.rate, orders=tuple(self.orders))(prediction, target)


class SettableWave(MutableWave):
    """Lets its options be set; prediction, target: [batch, n]."""

    def __init__(self, *, rate=1.5, orders=(1, 2)):
        self.rate, self.orders = rate, tuple(orders)


class OtherDefault(AlgorithmConfig):
    rate: float = Field(2.5, gt=0, description="Frequency.")
    orders: tuple[int, ...] = Field((1, 2), description="Powers.")


@dataclass(frozen=True, kw_only=True)
class IgnoringWave(Wave):
    """Ignores its option `rate`, which always has the default; prediction, target: [batch, n]."""

    def __post_init__(self):
        object.__setattr__(self, "rate", 1.5)


class FalseConstant(Sound):
    traits = Traits(constant_curvature=True)


class ConstantOnTheCpu(Module):
    """A module with a constant on the CPU; prediction, target: [batch, 4]."""

    def forward(self, prediction, target, *, generator=None):
        return super().forward(prediction, target) + (prediction * torch.ones(4, dtype=prediction.dtype)).sum(1)


class Undescribed(AlgorithmConfig):
    rate: float = 1.5
    orders: tuple[int, ...] = Field((1, 2), description="Powers.")


class Thawed(AlgorithmConfig):
    model_config = ConfigDict(frozen=False)
    rate: float = Field(1.5, description="Frequency.")
    orders: tuple[int, ...] = Field((1, 2), description="Powers.")


class Tolerant(AlgorithmConfig):
    model_config = ConfigDict(extra="ignore")
    rate: float = Field(1.5, description="Frequency.")
    orders: tuple[int, ...] = Field((1, 2), description="Powers.")


class OneMore(AlgorithmConfig):
    rate: float = Field(1.5, description="Frequency.")
    orders: tuple[int, ...] = Field((1, 2), description="Powers.")
    phase: float = Field(0.0, description="Shift.")


@dataclass(frozen=True, kw_only=True)
class Renamed(Sound):
    """Keeps the options under other names; prediction, target: [batch, n]."""

    frequency: float = 1.5

    def __init__(self, *, rate=1.5, orders=(1, 2)):
        object.__setattr__(self, "frequency", rate)

    def __repr__(self):
        return f"Renamed(rate={self.frequency}, orders=(1, 2))"


@dataclass(frozen=True, kw_only=True)
class Doubling(Wave):
    """Stores twice what it was given; prediction, target: [batch, n]."""

    def __post_init__(self):
        object.__setattr__(self, "rate", 2 * self.rate)


@dataclass(frozen=True, kw_only=True)
class HiddenOption(Wave):
    """Depends on more than its options; prediction, target: [batch, n]."""

    scale: float | None = None

    def formula(self, y, t):
        return (self.scale or 1.0) * super().formula(y, t)


@dataclass(frozen=True, kw_only=True)
class ExtraKeyword(Wave):
    """Has a keyword that is not an option; prediction, target: [batch, n]."""

    shift: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ShortRepr(Wave):
    """Shows none of its options; prediction, target: [batch, n]."""

    def __repr__(self):
        return "ShortRepr"
