"""The Newton loss as a module: the value of the original loss, the gradient of the Newton step."""

from __future__ import annotations

import inspect
import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlcore.newton.adapt import check_inputs, evaluate, inspect_loss, per_sample
from nlcore.newton.auto import Auto
from nlcore.newton.batch import Batch, resolve_group
from nlcore.newton.checks import check_choice, check_curvature, flat_mask, sample_weight
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import DampingMemory
from nlcore.newton.derivatives import Backend
from nlcore.newton.step import NewtonStep, OnFailure, take_step

__all__ = ["NewtonLoss"]

Reduction = Literal["mean", "sum", "none"]
Value = Literal["original", "newton"]


class NewtonLoss(nn.Module):
    """Train a network towards one Newton step of its loss (Petersen et al., Newton Losses, arXiv 2410.19055).

    A drop-in for the loss: the value is that of the original loss, the gradient that reaches the network is the
    damped Newton direction (C + λI)⁻¹∇ℓ of every sample. It is exactly linear in the incoming scalar, so gradient
    scalers, loss weights and accumulation work. Without gradients (`torch.no_grad`) only the value is computed.

    Args:
        loss: An `AlgorithmicLoss`, or any callable `(prediction, target) -> [batch]`.
        curvature: `Hessian(...)`, `GaussNewton(...)` or `EmpiricalFisher(...)`; `None` is `Auto()`, which picks by
            what the loss can supply.
        reduction: `"mean"` over the batch, weighted where weights are given; `"sum"`; or `"none"`.
        value: `"original"` reports ℓ, so that logs compare with plain training; `"newton"` reports ½‖z* − y‖².
            The gradient is the same.
        on_failure: `"raise"` an error that names the samples at fault, or `"fallback"` to the plain gradient for
            them; they are counted in `stats` and nothing waits for the device.
        generator: Random numbers of a stochastic loss.
        backend: `"func"`, `"autograd"`, or what the loss's traits name.
        process_group: The ranks over which a batch is spread: the curvature is that of the global batch, and a mean is
            the global mean once gradients are averaged over the ranks, as `DistributedDataParallel` does. `None` is
            the default group where one is initialised; `False` keeps to this process.

    Raises:
        ConfigError: An option has a value it cannot take.
        UnsupportedCurvatureError: The loss cannot supply the curvature.

    Shape:
        - prediction: [batch, *event]; target: what the loss takes, batch first.
        - output: [] for `"mean"` and `"sum"`, [batch] for `"none"`.

    Example:
        >>> import torch, nlcore
        >>> criterion = nlcore.NewtonLoss(lambda y, t: (y - t).square().sum(-1) / 2, nlcore.Hessian(damping=1.0))
        >>> prediction = torch.tensor([[3.0, 1.0]], requires_grad=True)
        >>> criterion(prediction, torch.zeros(1, 2)).backward()
        >>> prediction.grad
        tensor([[1.5000, 0.5000]])
    """

    def __init__(
        self,
        loss: Any,
        curvature: Curvature | Auto | None = None,
        *,
        reduction: Reduction = "mean",
        value: Value = "original",
        on_failure: OnFailure = "raise",
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        process_group: Any = None,
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, ("mean", "sum", "none"))
        check_choice("value", value, ("original", "newton"))
        check_choice("on_failure", on_failure, ("raise", "fallback"))
        check_choice("backend", backend, ("auto", "func", "autograd"))
        self._info = inspect_loss(loss)
        self.loss = loss
        self.curvature = Auto() if curvature is None else curvature
        check_curvature(self._info, self.curvature, None)
        self.reduction, self.value, self.on_failure = reduction, value, on_failure
        self.generator, self.backend = generator, backend
        self.process_group = process_group
        self._rho: Tensor
        self._per_sample: Tensor
        self.register_buffer("_rho", torch.zeros((), dtype=torch.float64))
        self.register_buffer("_per_sample", torch.zeros((), dtype=torch.bool))
        self._age = 0
        self.last_step: NewtonStep | None = None

    def forward(
        self, prediction: Tensor, target: Any, *, weight: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Return the loss.

        Args:
            prediction: [batch, *event].
            target: What the loss takes.
            weight: [batch], the weight of each sample; the mean is Σ wᵢℓᵢ / Σ wᵢ.
            mask: [batch, *event] bool, True at padded outputs, which take no part in gradient, trace or mean.

        Raises:
            ContractError: Wrong shape, dtype or device.
            NumericalError: A number is not finite or a matrix singular, with `on_failure="raise"`.
        """
        if not (torch.is_grad_enabled() and isinstance(prediction, Tensor) and prediction.requires_grad):
            return self._reduce(self._plain(prediction, target, mask), prediction, weight, mask)
        if self._rho.device != prediction.device:
            self.to(prediction.device)
        compiling = torch.compiler.is_compiling()  # a compiled step looks anew every time: its graph has no age
        memory = None if compiling else DampingMemory(self._rho, self._per_sample, self._age)
        step = take_step(
            self._info,
            prediction,
            target,
            self.curvature,
            weight=weight,
            mask=mask,
            on_failure=self.on_failure,
            generator=self.generator,
            backend=self.backend,
            process_group=self.process_group,
            memory=memory,
        )
        if memory is not None:
            self._age = memory.age
        self.last_step = step
        value = step.value
        if self.value == "newton":
            value = per_sample(step.direction).square().sum(1) / 2
        return self._reduce(_Attach.apply(prediction, value, step.direction), prediction, weight, mask)

    def explain(self) -> str:
        """Return which curvature is used and why, in a sentence."""
        if isinstance(self.curvature, Auto):
            size = None if self.last_step is None else math.prod(self.last_step.direction.shape[1:])
            chosen, reason = self.curvature.choose(self._info, size)
            return f"{self._info.name}: {chosen!r}, because {reason}."
        return f"{self._info.name}: {self.curvature!r}, as given, with damping={self.curvature.damping!r}."

    @property
    def stats(self) -> dict[str, float | str]:
        """What the last step was like, as a flat dict for a logger; empty before the first. See `NewtonStep.stats`."""
        return {} if self.last_step is None else self.last_step.stats

    def get_extra_state(self) -> int:
        """Return how old the damping that `Bounded` chose is, for `state_dict`."""
        return self._age

    def set_extra_state(self, state: int) -> None:
        """Restore it."""
        self._age = state

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return f"{self._info.name}, {self.curvature!r}, reduction={self.reduction!r}"

    def _plain(self, prediction: Tensor, target: Any, mask: Tensor | None) -> Tensor:
        check_inputs(self._info, prediction, target)
        flat_mask(self._info, prediction, mask)
        half = prediction.dtype in (torch.float16, torch.bfloat16)
        with torch.autocast(prediction.device.type, enabled=False):
            return evaluate(self._info, prediction.float() if half else prediction, target, self.generator, mask)

    def _reduce(self, value: Tensor, prediction: Tensor, weight: Tensor | None, mask: Tensor | None) -> Tensor:
        group = resolve_group(self.process_group) if torch.is_grad_enabled() and prediction.requires_grad else None
        weights = None
        if weight is not None or mask is not None:
            weights = sample_weight(self._info, prediction, weight)
            if mask is not None:  # a sample that is all padding is none
                weights = torch.where(per_sample(mask).all(1), 0.0, weights)
            value = weights.to(value.dtype) * value
        if self.reduction == "none":
            return value
        total = value.sum()
        if group is not None:
            total = total * torch.distributed.get_world_size(group)
        if self.reduction == "sum":
            return total
        if weights is None and group is None:
            return total / max(1, value.shape[0])
        weights = torch.ones_like(value, dtype=torch.float64) if weights is None else weights
        count = Batch(weights, group=group).total(weights.sum())
        return total / torch.where(count == 0, 1.0, count).to(total.dtype)


class _Attach(torch.autograd.Function):
    """The given value in the forward pass; the given direction, times what comes in, in the backward pass."""

    generate_vmap_rule = True

    @staticmethod
    def forward(prediction: Tensor, value: Tensor, direction: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        prediction, _, direction = inputs
        ctx.save_for_backward(direction)
        ctx.dtype = prediction.dtype

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (direction,) = ctx.saved_tensors
        shaped = incoming.reshape(-1, *[1] * (direction.ndim - 1))
        return (shaped * direction).to(ctx.dtype), None, None


_Attach.forward.__signature__ = inspect.signature(_Attach.forward)  # type: ignore[attr-defined]
"""Read anew by every call of `apply` otherwise, which takes longer than all that it does."""
