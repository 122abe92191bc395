"""The description of a method: one way of turning the same supervision into a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product, starmap
from typing import TYPE_CHECKING, Any, Literal

from nlcore.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Candidate", "Curvature", "Method"]


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A curvature of nlcore, described without torch.

    Attributes:
        kind: `"fisher"` is `EmpiricalFisher`, `"hessian"` is `Hessian` with the mean of the samples' |H|,
            `"gauss_newton"` is `GaussNewton`, and `"auto"` is the library's own choice, damping included.
        damping: Relative damping ρ, that is λ = ρ·|tr C|/m.
        normalize: Whether the steps of a batch are scaled to a root mean square of one.
        psd_scope: Whether `"hessian"` takes |H| of every sample or of the mean. The latter is cheaper and, if each
            sample's H is itself a noisy estimate, more accurate.
    """

    kind: Literal["fisher", "hessian", "gauss_newton", "auto"]
    damping: float = 0.0
    normalize: bool = False
    psd_scope: Literal["sample", "batch"] = "sample"

    def build(self) -> Any:
        """Return the curvature object."""
        import nlcore

        if self.kind == "auto":
            return nlcore.Auto()
        damping = nlcore.Relative(self.damping)
        if self.kind == "fisher":
            return nlcore.EmpiricalFisher(damping=damping)
        if self.kind == "gauss_newton":
            return nlcore.GaussNewton(damping=damping, normalize=self.normalize)
        return nlcore.Hessian(damping=damping, psd="abs", psd_scope=self.psd_scope, normalize=self.normalize)


@dataclass(frozen=True, order=True)
class Candidate:
    """Values that are tuned on validation data.

    Attributes:
        learning_rate: Learning rate at the start.
        damping: Relative damping instead of the curvature's own; `None` keeps that.
    """

    learning_rate: float
    damping: float | None = None


@dataclass(frozen=True, kw_only=True)
class Method:
    """One competitor of a study.

    Attributes:
        name: Name on the command line and in the records.
        label: Name in tables and pictures.
        group: Group of the method and its baseline; a picture has one panel per group.
        loss: Full id of the algorithm in the registry.
        options: Options of the algorithm.
        supervision: Name of the batch's target that the loss receives.
        curvature: Curvature of the Newton loss; `None` trains on the loss itself.
        clip: Largest norm of the network's gradient; `None` for no clipping.
        baseline: Name of the method that differences refer to; `None` for a baseline itself.
        learning_rates: Learning rates to choose from instead of the task's.
        dampings: Relative dampings to choose from, each at every learning rate; empty for the curvature's own.
        flat: Whether prediction and target are flattened to [batch, m] for the loss.

    Raises:
        ConfigError: There are dampings but no curvature that takes one.
    """

    name: str
    label: str
    group: str = ""
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    supervision: str
    curvature: Curvature | None = None
    clip: float | None = None
    baseline: str | None = None
    learning_rates: tuple[float, ...] = ()
    dampings: tuple[float, ...] = ()
    flat: bool = False

    def __post_init__(self) -> None:
        if self.dampings and (self.curvature is None or self.curvature.kind == "auto"):
            raise ConfigError(f"method {self.name!r} has dampings to choose from but no curvature that takes one.")

    def settings(self) -> dict[str, Any]:
        """Return everything that changes the method's numbers, as JSON values.

        Fields that were added later are left out while they have their default, so that older records still open.
        """
        found = {
            key: value for key, value in asdict(self).items() if key not in _WORDS and (value or key not in _LATER)
        }
        if self.curvature is not None and self.curvature.psd_scope == "sample":
            del found["curvature"]["psd_scope"]
        return found

    def candidates(self, learning_rates: Sequence[float]) -> tuple[Candidate, ...]:
        """Return the candidates that are tried on validation data: every learning rate with every damping.

        Args:
            learning_rates: The learning rates of the task, for a method without its own.
        """
        return tuple(starmap(Candidate, product(self.learning_rates or learning_rates, self.dampings or (None,))))

    def damped(self, damping: float | None) -> Method:
        """Return the method with this relative damping; itself for `None`."""
        if damping is None or self.curvature is None:
            return self
        return replace(self, dampings=(), curvature=replace(self.curvature, damping=damping))

    @property
    def title(self) -> str:
        """Group and label in one."""
        return f"{self.group}, {self.label}" if self.group else self.label

    def criterion(self) -> nn.Module:
        """Return the module `(prediction, target) -> scalar` that the network is trained with."""
        import nlcore
        from nlcore_bench.criteria import FlatLoss, MeanLoss

        loss = nlcore.make(self.loss, **self.options)
        whole = MeanLoss(loss) if self.curvature is None else nlcore.NewtonLoss(loss, self.curvature.build())
        return FlatLoss(whole) if self.flat else whole


_WORDS = ("name", "label", "group", "baseline")  # fields that change no number
_LATER = ("learning_rates", "dampings", "flat")  # fields that older records lack
