"""The outcome of a Newton step: directions, diagnostics, and the state for the next step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.evaluation import per_sample
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import DampingState
from nlcore.newton.failures import Result
from nlcore.newton.reused import Reused

__all__ = ["Memory", "NewtonStep", "StepDetail"]


@dataclass(frozen=True, slots=True)
class StepDetail:
    """The damping of a step and the diagnostics of its matrix, for statistics.

    Attributes:
        strength: [], λ, in the units of the loss's curvature.
        mean_curvature: [], |tr C|/m.
        condition: [] or [N], an estimate of the condition number of C + λI; NaN where there is none.
        counted: [N, m] or [N, 1] bool, which outputs count.
        residual: [N], the relative residual of an iterative solve; `None` for a direct one.
        negative: [], the share of negative eigenvalues before repair, where known.
        per_sample: [] bool, whether `Bounded` chose each sample's own matrix.
        invalid_weights: [], the number of samples whose weight is negative or not finite, and counts as 0; `None`
            where no weights were given, or such a weight raises.
    """

    strength: Tensor
    mean_curvature: Tensor
    condition: Tensor
    counted: Tensor
    residual: Tensor | None = None
    negative: Tensor | None = None
    per_sample: Tensor | None = None
    invalid_weights: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """State that a step leaves for the next one of the same training.

    Attributes:
        damping: The state of a `Bounded` damping.
        checks: Number of batches that the first-use checks have examined.
        mask_checked: Whether a mask was checked.
        jvp_sound: Whether products with the Jacobian were found right; `None` before they were needed.
    """

    damping: DampingState | None = None
    checks: int = 0
    mask_checked: bool = False
    jvp_sound: bool | None = None


@dataclass(frozen=True, slots=True)
class NewtonStep:
    """A Newton step in the space of outputs.

    Attributes:
        value: [N], the original loss of each sample.
        gradient: [N, *event], its gradient.
        direction: [N, *event], (C + λI)^(−κ) gradient, at the length that the options ask for: what replaces the
            gradient.
        target: [N, *event], z* = prediction − direction.
        codes: [N] int8, a `Result` for each sample.
        curvature: The curvature that was used.
        detail: The damping and condition behind it.
        memory: The state for the next step of the same training.
    """

    value: Tensor
    gradient: Tensor
    direction: Tensor
    target: Tensor
    codes: Tensor
    curvature: Curvature
    detail: StepDetail | None
    memory: Memory = Memory()

    @property
    def result(self) -> Result:
        """The worst outcome over the batch; reading it waits for the device."""
        return Result(int(self.codes.max())) if self.codes.numel() else Result.ok

    def samples(self, result: Result) -> tuple[int, ...]:
        """Return the indices of the samples that ended with `result`; waits for the device."""
        return tuple((self.codes == result).nonzero().flatten().tolist())

    @property
    def stats(self) -> dict[str, float | str]:
        """A flat dict for a logger; computed, and waiting for the device, when read.

        `curvature` (class, or `"gradient"` for the power 0), `damping` (λ), `mean_curvature` (|tr C|/m), `condition`
        (estimate for C + λI), `per_sample` (whether `Bounded` chose each sample's own matrix), `residual` (of an
        iterative solve), `negative` (share of negative eigenvalues before repair, where known), `cosine` (mean cosine
        between direction and gradient), `step` (root mean square of the direction over the outputs that count), and the
        number of samples `indefinite`, `singular`, `nonfinite`; with weights and `on_failure="fallback"` also that of
        `invalid_weights`, which are negative or not finite, and count as 0.
        """
        of = self.curvature.of if isinstance(self.curvature, Reused) else self.curvature
        stats: dict[str, float | str] = {"curvature": type(of).__name__ if of.power else "gradient"}
        if self.detail is not None:
            stats["damping"] = float(self.detail.strength.max())
            stats["mean_curvature"] = float(self.detail.mean_curvature)
            for name in ("condition", "per_sample", "residual", "negative"):
                number = getattr(self.detail, name)
                if number is not None and number.numel():
                    stats[name] = float(number.max())
            if self.detail.invalid_weights is not None:
                stats["invalid_weights"] = int(self.detail.invalid_weights)
        if self.detail is not None and self.direction.numel():
            gradient, direction = per_sample(self.gradient).double(), per_sample(self.direction).double()
            moving = (gradient.norm(dim=1) > 0) & (direction.norm(dim=1) > 0)
            cosine = torch.nn.functional.cosine_similarity(_unit(gradient), _unit(direction), dim=1)
            stats["cosine"] = float(cosine[moving].mean()) if bool(moving.any()) else 1.0
            counted = self.detail.counted.expand_as(direction)
            stats["step"] = float((direction.square() * counted).sum().div(counted.sum().clamp(min=1)).sqrt())
        for result in (Result.indefinite, Result.singular, Result.nonfinite):
            stats[result.name] = int((self.codes == result).sum())
        return stats


def _unit(vectors: Tensor) -> Tensor:
    """Bring every vector to a largest entry of one, so that its norm neither underflows nor overflows."""
    return vectors / vectors.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(vectors.dtype).tiny)
