"""One Newton step on a batch of losses, as a function: the driver that all curvatures share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor

from nlcore.errors import (
    ConfigError,
    ContractError,
    NonFiniteError,
    ShapeError,
    SingularCurvatureError,
    nearest,
    shorten,
)
from nlcore.newton.adapt import LossInfo, check_inputs, inspect_loss, per_sample
from nlcore.newton.auto import Auto
from nlcore.newton.batch import Batch, resolve_group
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import DampingMemory
from nlcore.newton.derivatives import Backend, Derivatives, differentiate
from nlcore.newton.result import Result
from nlcore.newton.taken import CurvatureStep

__all__ = [
    "NewtonStep",
    "OnFailure",
    "check_choice",
    "check_curvature",
    "flat_mask",
    "newton_step",
    "sample_weight",
    "take_step",
]

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
    check_inputs(info, prediction, target)
    size = math.prod(prediction.shape[1:])
    if size == 0:
        raise ShapeError(f"{info.name}: a prediction of shape {list(prediction.shape)} has no outputs.")
    curvature = check_curvature(info, curvature, size)
    weight = sample_weight(info, prediction, weight)
    padded = flat_mask(info, prediction, mask)
    weight = weight if padded is None else torch.where(padded.all(-1), 0.0, weight)
    batch = Batch(weight, None if padded is None else ~padded, resolve_group(process_group))
    if generator is None and info.traits.stochastic:
        generator = torch.Generator(prediction.device).manual_seed(int(torch.randint(2**62, ())))
    if prediction.shape[0] == 0 and batch.group is None:
        return _empty(prediction, curvature)
    raising = on_failure == "raise"
    work = prediction.detach()
    work = work.float() if work.dtype in (torch.float16, torch.bfloat16) else work
    with torch.autocast(prediction.device.type, enabled=False):
        finite = _finite(per_sample(work), padded)
        if raising:
            _require_weights(info, weight)
            _require_finite(batch, finite, f"{info.name}: the prediction is NaN or infinite", "Look at the network.")
        derivatives = (
            differentiate(info, work, target, curvature.kind, backend=backend, generator=generator, mask=mask)
            if prediction.shape[0]
            else _no_derivatives(work)
        )
        gradient = derivatives.gradient if padded is None else derivatives.gradient.masked_fill(padded, 0.0)
        usable = finite & torch.isfinite(derivatives.value) & torch.isfinite(gradient).all(-1)
        if raising:
            what = f"{info.name}: the loss or its gradient is NaN or infinite, at predictions that are finite,"
            _require_finite(batch, usable, what, "The loss is at fault there.")
        gradient = torch.where(usable.unsqueeze(-1), gradient, 0.0)
        batch = replace(batch, weight=torch.where(usable, weight, 0.0))
        taken = curvature.step(info, replace(derivatives, gradient=gradient), batch, memory=memory, wait=raising)
    direction = taken.solution.direction.to(work.dtype)
    codes = taken.solution.codes
    lost = ~torch.isfinite(direction).all(-1) & (codes <= Result.indefinite.value)
    codes = torch.where(usable & ~lost, codes, Result.nonfinite.value).to(torch.int8)
    if raising:
        _require_solved(info, batch, codes, taken)
    direction = torch.where((codes <= Result.indefinite.value).unsqueeze(-1), direction, gradient)
    direction = direction.reshape(work.shape)
    return NewtonStep(
        derivatives.value, gradient.reshape(work.shape), direction, work - direction, codes, curvature, taken
    )


def check_choice(name: str, given: object, choices: tuple[str, ...]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ConfigError: With the choices and the nearest one.
    """
    if given not in choices:
        raise ConfigError(
            f"{name}={given!r}: choose one of {', '.join(map(repr, choices))}{nearest(str(given), choices)}."
        )


def check_curvature(info: LossInfo, curvature: object, size: int | None) -> Curvature:
    """Return the curvature to use for a loss.

    Raises:
        ConfigError: It is none.
        UnsupportedCurvatureError: The loss cannot supply it.
    """
    if curvature is None:
        curvature = Auto()
    if isinstance(curvature, Auto):
        curvature = curvature.choose(info, size)[0]
    if not isinstance(curvature, Curvature):
        raise ConfigError(
            f"{curvature!r} is no curvature. Give nlcore.Hessian(), nlcore.GaussNewton(), "
            f"nlcore.EmpiricalFisher() or nlcore.Auto(), an instance and not the class."
        )
    curvature.check(info)
    return curvature


def sample_weight(info: LossInfo, prediction: Tensor, weight: Tensor | None) -> Tensor:
    """Return the weights [N] in float64, ones by default.

    Raises:
        ShapeError: They do not have one number per sample.
        DeviceError: They are elsewhere.
    """
    if weight is None:
        return torch.ones(prediction.shape[0], dtype=torch.float64, device=prediction.device)
    if not isinstance(weight, Tensor) or weight.shape != prediction.shape[:1]:
        got = list(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
        raise ShapeError(
            f"{info.name}: weight needs one number per sample, shape {list(prediction.shape[:1])}, got {got}."
        )
    return weight.detach().to(prediction.device, torch.float64)


def flat_mask(info: LossInfo, prediction: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask as [N, m], True at padded outputs.

    Raises:
        ContractError: It is not bool or has another shape than the prediction.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != prediction.shape:
        got = f"{mask.dtype} {list(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ContractError(
            f"{info.name}: mask must be bool and of the prediction's shape {list(prediction.shape)}, True at padded "
            f"outputs, and is {got}."
        )
    return per_sample(mask)


def _empty(prediction: Tensor, curvature: Curvature) -> NewtonStep:
    nothing = torch.zeros_like(prediction)
    codes = torch.zeros(0, dtype=torch.int8, device=prediction.device)
    return NewtonStep(prediction.new_zeros(0), nothing, nothing, nothing, codes, curvature, None)


def _no_derivatives(work: Tensor) -> Derivatives:
    """Return those of a rank without samples, which still takes part in the sums over the ranks."""
    size = math.prod(work.shape[1:])
    return Derivatives(work.new_zeros(0), work.new_zeros(0, size), supplied=work.new_zeros(0, size, size))


def _finite(flat: Tensor, padded: Tensor | None) -> Tensor:
    finite = torch.isfinite(flat)
    return (finite if padded is None else finite | padded).all(-1)


def _require_weights(info: LossInfo, weight: Tensor) -> None:
    wrong = ~(torch.isfinite(weight) & (weight >= 0))
    if bool(wrong.any()):
        samples = [int(i) for i in wrong.nonzero().flatten()]
        raise ContractError(
            f"{info.name}: weight must be finite and not negative, and is {shorten(weight[wrong].tolist())} for the "
            f"samples {shorten(samples)}. A mean curvature has no meaning with others."
        )


def _require_finite(batch: Batch, finite: Tensor, what: str, remedy: str) -> None:
    """Raise on every rank when a sample on any of them is not finite."""
    if not bool(batch.total((~finite).sum())):
        return
    samples = [int(i) for i in (~finite).nonzero().flatten()]
    where = f"in {len(samples)} of {finite.shape[0]} samples: {shorten(samples)}" if samples else "on another rank"
    raise NonFiniteError(
        f"{what} {where}. {remedy} With on_failure='fallback' such samples take no step and are counted.", samples
    )


def _require_solved(info: LossInfo, batch: Batch, codes: Tensor, taken: CurvatureStep) -> None:
    worst = int(batch.largest(codes.to(torch.int64)))
    if worst <= Result.indefinite.value:
        return
    samples = [int(i) for i in (codes == worst).nonzero().flatten()]
    where = f"for {len(samples)} of {codes.shape[0]} samples: {shorten(samples)}" if samples else "on another rank"
    strength = float(taken.strength.max())
    if worst == Result.nonfinite.value:
        raise NonFiniteError(
            f"{info.name}: the curvature or the direction is NaN or infinite {where} (λ = {strength:.3g}). Use "
            f"nlcore.EmpiricalFisher(), which needs no second derivative, or on_failure='fallback' to take the plain "
            f"gradient there.",
            samples,
        )
    condition = float(taken.solution.condition.max()) if taken.solution.condition.numel() else math.nan
    raise SingularCurvatureError(
        f"{info.name}: the curvature plus λ = {strength:.3g} is singular (condition about {condition:.1e}) {where}. "
        f"Increase the damping, for example damping=nlcore.Relative(0.1); a loss that does not change when all "
        f"outputs shift always needs some.",
        samples,
    )


def _unit(vectors: Tensor) -> Tensor:
    """Bring every vector to a largest entry of one, so that its norm neither underflows nor overflows."""
    return vectors / vectors.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
