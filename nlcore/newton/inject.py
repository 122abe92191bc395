"""The Fisher variant for a loss one cannot look into: a layer behind the network (Algorithm 2 of the paper)."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nlcore.capabilities import Capabilities
from nlcore.errors import ConfigError, DtypeError, ShapeError
from nlcore.evaluation import Evaluation, finite_rows
from nlcore.newton.damping import Damping, Relative
from nlcore.newton.derivatives import Derivatives
from nlcore.newton.fisher import EmpiricalFisher
from nlcore.newton.problem import Problem, Samples
from nlcore.newton.ranks import Ranks, resolve_group
from nlcore.newton.solve import directions
from nlcore.protocol import Traits

__all__ = ["InjectFisher", "inject_fisher"]

Reduction = Literal["mean", "sum"]


def inject_fisher(
    prediction: Tensor,
    damping: Damping = Relative(1.0),  # noqa: B008 - frozen
    *,
    reduction: Reduction = "mean",
    loss_scale: float = 1.0,
    max_step: float | None = 100.0,
    process_group: Any = None,
) -> Tensor:
    """Return the prediction unchanged; on the way back its gradient becomes the damped Fisher direction.

    Put it between the network and any scalar loss: only the gradient that comes back is needed, so the loss may be
    anything. With the same loss, it equals `NewtonLoss(loss, EmpiricalFisher(damping))`.

    Args:
        prediction: [batch, *event].
        damping: λ as a number, or `Relative(ρ)`.
        reduction: How the loss behind it reduces over the batch: the incoming gradient of a mean is 1/N of the
            samples' gradients, which the Fisher matrix has to take into account.
        loss_scale: The factor that multiplies the loss before `backward`: a loss weight, one over the number of
            accumulation steps, or `GradScaler.get_scale()`. The Fisher matrix is of the unscaled loss; the
            direction keeps the factor, so that unscaling and weighting stay right.
        max_step: See `EmpiricalFisher`.
        process_group: The ranks over which the batch is spread: the Fisher matrix is that of the global batch, and
            every rank must go backward. `None` is the default group where one is initialised, `False` keeps to this
            process. The direction keeps the factor of its own rank's mean, as every gradient behind
            `DistributedDataParallel` does.

    Raises:
        ConfigError: An option has a value it cannot take.
        ShapeError: The prediction has no batch dimension.
        DtypeError: It is not floating point.

    Example:
        >>> import torch
        >>> y = torch.tensor([[2.0]], requires_grad=True)
        >>> inject_fisher(y, 1.0).square().sum().backward()
        >>> y.grad  # g / (g² + 1) with g = 4
        tensor([[0.2353]])
    """
    fisher = _checked(damping, reduction, loss_scale, max_step)
    if not isinstance(prediction, Tensor) or not prediction.is_floating_point():
        got = prediction.dtype if isinstance(prediction, Tensor) else type(prediction).__name__
        raise DtypeError(f"inject_fisher: the prediction must be a floating-point tensor, and is {got}.")
    if prediction.ndim == 0:
        raise ShapeError("inject_fisher: the prediction needs the batch in front, and has shape [].")
    resolve_group(process_group, "inject_fisher", prediction.device)
    return _Inject.apply(prediction, fisher, reduction, float(loss_scale), process_group)  # type: ignore[no-any-return]


class InjectFisher(nn.Module):
    """`inject_fisher` as a layer to put behind a network.

    Args:
        damping: λ as a number, or `Relative(ρ)`.
        reduction: How the loss behind it reduces over the batch.
        loss_scale: The factor on the loss; an attribute that may be set before every step.
        max_step: See `EmpiricalFisher`.
        process_group: The ranks over which the batch is spread; see `inject_fisher`.
    """

    def __init__(
        self,
        damping: Damping = Relative(1.0),  # noqa: B008 - frozen
        *,
        reduction: Reduction = "mean",
        loss_scale: float = 1.0,
        max_step: float | None = 100.0,
        process_group: Any = None,
    ) -> None:
        super().__init__()
        _checked(damping, reduction, loss_scale, max_step)
        self.damping, self.reduction, self.loss_scale, self.max_step = damping, reduction, loss_scale, max_step
        self.process_group = process_group

    def forward(self, prediction: Tensor) -> Tensor:
        """Return the prediction, [batch, *event], with a Fisher step attached to its gradient."""
        return inject_fisher(
            prediction,
            self.damping,
            reduction=self.reduction,
            loss_scale=self.loss_scale,
            max_step=self.max_step,
            process_group=self.process_group,
        )

    def extra_repr(self) -> str:
        """Return the options."""
        return f"damping={self.damping!r}, reduction={self.reduction!r}, loss_scale={self.loss_scale!r}"


def _checked(damping: Damping, reduction: Reduction, loss_scale: float, max_step: float | None) -> EmpiricalFisher:
    if reduction not in ("mean", "sum"):
        raise ConfigError(f"inject_fisher(reduction={reduction!r}): choose 'mean' or 'sum', as the loss does.")
    if not isinstance(loss_scale, (int, float)) or not 0 < loss_scale < math.inf:
        raise ConfigError(f"inject_fisher(loss_scale={loss_scale!r}): the factor must be a positive finite number.")
    return EmpiricalFisher(damping=damping, max_step=max_step)


class _Inject(torch.autograd.Function):
    """Identity forward; (F + λI)⁻¹g backward."""

    @staticmethod
    def forward(
        prediction: Tensor, fisher: EmpiricalFisher, reduction: Reduction, loss_scale: float, group: Any
    ) -> Tensor:
        return prediction.view_as(prediction)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, EmpiricalFisher, Reduction, float, Any], output: Tensor) -> None:
        _, ctx.fisher, ctx.reduction, ctx.loss_scale, ctx.group = inputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[override]
        count, size = incoming.shape[0], math.prod(incoming.shape[1:])
        ranks = resolve_group(ctx.group, "inject_fisher", incoming.device)
        if size == 0 or (count == 0 and ranks is None):
            return incoming, None, None, None, None
        factor = ctx.loss_scale / (max(1, count) if ctx.reduction == "mean" else 1)
        gradient = incoming.reshape(count, size).double() / factor
        if ranks is None:
            direction = _directions(ctx.fisher, gradient, incoming.dtype, None)
        else:
            with ranks.together():
                ranks.check_alike(f"{ctx.fisher!r} of {size} outputs, loss reduced to {ctx.reduction}")
                direction = _directions(ctx.fisher, gradient, incoming.dtype, ranks)
        return (direction * factor).to(incoming.dtype).reshape(incoming.shape), None, None, None, None


_OPAQUE = Capabilities(torch.sum, "inject_fisher", Traits(), False, frozenset(), frozenset())


def _directions(fisher: EmpiricalFisher, gradient: Tensor, dtype: torch.dtype, ranks: Ranks | None) -> Tensor:
    """Return the Fisher directions of gradients [N, m]; those of samples that are not finite stay as they are."""
    usable = finite_rows(gradient)
    samples = Samples.of(usable.double(), None, ranks)
    evaluation = Evaluation(_OPAQUE, gradient.shape, None)
    problem = Problem(_OPAQUE, evaluation, gradient, samples, raising=False)
    kept = torch.where(usable.unsqueeze(-1), gradient, 0.0)
    derivatives = Derivatives(
        gradient.new_zeros(len(gradient)), kept.to(torch.promote_types(dtype, torch.float32)), usable
    )
    solution = directions(derivatives, problem, fisher)
    regular = (solution.codes == 0).unsqueeze(-1) & usable.unsqueeze(-1)
    return torch.where(regular, solution.direction, gradient)
