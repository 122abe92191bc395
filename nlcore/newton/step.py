"""One Newton step on a batch of losses, as a function: the driver that all curvatures share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import ShapeError
from nlcore.newton.adapt import LossInfo, check_inputs, finite_rows, inspect_loss, per_sample
from nlcore.newton.auto import Auto
from nlcore.newton.batch import Batch, Group, resolve_group
from nlcore.newton.checks import (
    check_choice,
    check_curvature,
    flat_mask,
    or_tell,
    require_finite,
    require_inputs,
    require_solved,
    sample_weight,
)
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import DampingMemory
from nlcore.newton.derivatives import Backend, Derivatives, Kind, differentiate
from nlcore.newton.result import Result
from nlcore.newton.taken import CurvatureStep

__all__ = ["NewtonStep", "OnFailure", "newton_step", "take_step"]

OnFailure: TypeAlias = Literal["raise", "fallback"]


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """A Newton step in the space of outputs.

    Attributes:
        value: [N], the original loss of each sample.
        gradient: [N, *event], its gradient.
        direction: [N, *event], (C + λI)⁻¹ gradient: what replaces the gradient.
        target: [N, *event], z* = prediction − direction.
        codes: [N] int8, a `Result` for each sample.
        curvature: The curvature that was used.
        detail: The damping and condition behind it.
    """

    value: Tensor
    gradient: Tensor
    direction: Tensor
    target: Tensor
    codes: Tensor
    curvature: Curvature
    detail: CurvatureStep | None

    @property
    def result(self) -> Result:
        """The worst outcome over the batch; reading it waits for the device."""
        return Result(int(self.codes.max())) if self.codes.numel() else Result.ok

    def samples(self, result: Result) -> tuple[int, ...]:
        """Return the indices of the samples that ended with `result`; waits for the device."""
        return tuple(int(i) for i in (self.codes == result).nonzero().flatten())

    @property
    def stats(self) -> dict[str, float | str]:
        """A flat dict for a logger; computed, and waiting for the device, when read.

        `curvature` (kind), `damping` (λ), `mean_curvature` (|tr C|/m), `condition` (estimate for C + λI),
        `negative` (share of negative eigenvalues before repair, where known), `cosine` (mean cosine between
        direction and gradient), `step` (root mean square of the direction), and the number of samples
        `indefinite`, `singular`, `nonfinite`.
        """
        stats: dict[str, float | str] = {"curvature": type(self.curvature).__name__}
        if self.detail is not None:
            stats["damping"] = float(self.detail.strength.max())
            stats["mean_curvature"] = float(self.detail.mean_curvature)
            if self.detail.solution.condition.numel():
                stats["condition"] = float(self.detail.solution.condition.max())
            if self.detail.per_sample is not None:
                stats["per_sample"] = float(self.detail.per_sample)
            if self.detail.solution.residual is not None and self.detail.solution.residual.numel():
                stats["residual"] = float(self.detail.solution.residual.max())
            if self.detail.negative is not None:
                stats["negative"] = float(self.detail.negative)
        if self.direction.numel():
            gradient, direction = per_sample(self.gradient).double(), per_sample(self.direction).double()
            moving = (gradient.norm(dim=1) > 0) & (direction.norm(dim=1) > 0)
            cosine = torch.nn.functional.cosine_similarity(_unit(gradient), _unit(direction), dim=1)
            stats["cosine"] = float(cosine[moving].mean()) if bool(moving.any()) else 1.0
            stats["step"] = float(direction.square().mean().sqrt())
        for result in (Result.indefinite, Result.singular, Result.nonfinite):
            stats[result.name] = int((self.codes == result).sum())
        return stats


def newton_step(
    loss: Any,
    prediction: Tensor,
    target: Any,
    curvature: Curvature | Auto | None = None,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    on_failure: OnFailure = "raise",
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
    process_group: Any = None,
) -> NewtonStep:
    """Take one damped Newton step on each sample's loss, starting at the prediction.

    Args:
        loss: An `AlgorithmicLoss`, or a callable `(prediction, target) -> [batch]`.
        prediction: [batch, *event]; it is not changed and gets no graph.
        target: Handed to the loss.
        curvature: `Hessian(...)`, `GaussNewton(...)`, `EmpiricalFisher(...)`; `None` is `Auto()`.
        weight: [batch], how much each sample counts in the mean curvature; an integer weight equals repetition.
        mask: [batch, *event] bool, True at padded outputs: they take no part in gradient, trace or mean.
        on_failure: `"raise"` an error that names the samples, or `"fallback"` to the plain gradient for those whose
            curvature failed, and to no step for those whose gradient itself is not finite.
        generator: Random numbers of a stochastic loss; by default seeded from torch's global generator.
        backend: `"func"`, `"autograd"`, or what the loss's traits name.
        process_group: The ranks over which the batch is spread; `None` is the default group where one is
            initialised, `False` keeps to this process.

    Returns:
        Value, gradient, direction and Newton target, all detached.

    Raises:
        ContractError: Wrong shape, dtype or device.
        UnsupportedCurvatureError: The loss cannot supply this curvature.
        NonFiniteError: A prediction, loss or derivative is NaN or infinite.
        SingularCurvatureError: The damped curvature has no inverse.

    Example:
        >>> import torch, nlcore
        >>> loss = lambda y, t: (y - t).square().sum(-1) / 2
        >>> step = newton_step(loss, torch.zeros(3, 2), torch.ones(3, 2), nlcore.Hessian(damping=0.0))
        >>> step.target
        tensor([[1., 1.],
                [1., 1.],
                [1., 1.]])
    """
    return take_step(
        inspect_loss(loss),
        prediction,
        target,
        curvature,
        weight=weight,
        mask=mask,
        on_failure=on_failure,
        generator=generator,
        backend=backend,
        process_group=process_group,
    )


def take_step(
    info: LossInfo,
    prediction: Tensor,
    target: Any,
    curvature: Curvature | Auto | None,
    *,
    weight: Tensor | None,
    mask: Tensor | None,
    on_failure: OnFailure,
    generator: torch.Generator | None,
    backend: Backend,
    process_group: Any,
    memory: DampingMemory | None = None,
) -> NewtonStep:
    """Take a step as `newton_step` does, with the damping remembered from earlier ones."""
    check_choice("on_failure", on_failure, ("raise", "fallback"))
    check_choice("backend", backend, ("auto", "func", "autograd"))
    raising = on_failure == "raise"
    group = resolve_group(process_group)
    told = group if raising else None
    device = prediction.device if isinstance(prediction, Tensor) else torch.device("cpu")
    given = or_tell(told, device, lambda: _given(info, prediction, curvature, weight, mask, target=target, group=group))
    curvature, work, padded, batch = given.curvature, given.work, given.padded, given.batch
    if work.shape[0] == 0 and group is None:
        return _empty(prediction, curvature)
    if generator is None and info.traits.stochastic:
        generator = torch.Generator(work.device).manual_seed(int(torch.randint(2**62, ())))
    with torch.autocast(work.device.type, enabled=False):
        finite = finite_rows(per_sample(work), padded)
        if raising:
            require_inputs(info, batch, finite)
        derivatives = or_tell(
            told,
            device,
            lambda: _derivatives(info, work, target, curvature.kind, backend=backend, generator=generator, mask=mask),
        )
        gradient = derivatives.gradient if padded is None else derivatives.gradient.masked_fill(padded, 0.0)
        usable = finite & finite_rows(gradient) & torch.isfinite(derivatives.value)
        if raising:
            require_finite(info, batch, usable)
        else:
            gradient = torch.where(usable.unsqueeze(-1), gradient, 0.0)
            batch = replace(batch, weight=torch.where(usable, batch.weight, 0.0))
        taken = curvature.step(info, replace(derivatives, gradient=gradient), batch, memory=memory, wait=raising)
    direction, codes = taken.solution.direction.to(work.dtype), taken.solution.codes
    sound = usable & (finite_rows(direction) | (codes > Result.indefinite.value))
    codes = torch.where(sound, codes, Result.nonfinite.value).to(torch.int8)
    if raising:
        require_solved(info, batch, curvature.kind, codes, taken)
    else:
        direction = torch.where((codes <= Result.indefinite.value).unsqueeze(-1), direction, gradient)
    direction = direction.reshape(work.shape)
    return NewtonStep(
        derivatives.value, gradient.reshape(work.shape), direction, work - direction, codes, curvature, taken
    )


@dataclass(frozen=True, slots=True)
class _Given:
    """What a step starts from, checked: the prediction in working precision, the mask [N, m], weights with group."""

    curvature: Curvature
    work: Tensor
    padded: Tensor | None
    batch: Batch


def _given(
    info: LossInfo,
    prediction: Tensor,
    curvature: Curvature | Auto | None,
    weight: Tensor | None,
    mask: Tensor | None,
    *,
    target: Any,
    group: Group,
) -> _Given:
    check_inputs(info, prediction, target)
    size = math.prod(prediction.shape[1:])
    if size == 0:
        raise ShapeError(f"{info.name}: a prediction of shape {list(prediction.shape)} has no outputs.")
    curvature = check_curvature(info, curvature, size)
    weight = sample_weight(info, prediction, weight)
    padded = flat_mask(info, prediction, mask)
    work = prediction.detach()
    work = work.float() if work.dtype in (torch.float16, torch.bfloat16) else work
    if padded is None:
        return _Given(curvature, work, None, Batch(weight, None, group))
    return _Given(curvature, work, padded, Batch(torch.where(padded.all(-1), 0.0, weight), ~padded, group))


def _derivatives(info: LossInfo, work: Tensor, target: Any, kind: Kind, **options: Any) -> Derivatives:
    """Return those of this rank; one without samples still takes part in the sums over the ranks."""
    if work.shape[0]:
        return differentiate(info, work, target, kind, **options)
    size = math.prod(work.shape[1:])
    return Derivatives(work.new_zeros(0), work.new_zeros(0, size), supplied=work.new_zeros(0, size, size))


def _empty(prediction: Tensor, curvature: Curvature) -> NewtonStep:
    nothing = torch.zeros_like(prediction)
    codes = torch.zeros(0, dtype=torch.int8, device=prediction.device)
    return NewtonStep(prediction.new_zeros(0), nothing, nothing, nothing, codes, curvature, None)


def _unit(vectors: Tensor) -> Tensor:
    """Bring every vector to a largest entry of one, so that its norm neither underflows nor overflows."""
    return vectors / vectors.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
