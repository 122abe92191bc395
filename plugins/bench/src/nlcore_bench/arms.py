"""What is compared: every arm is one way of turning the same supervision into a gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from nlcore.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["RANKING", "TOTALS", "Arm", "Candidate", "Curvature", "default_arms"]


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A curvature of nlcore, described without torch.

    Attributes:
        kind: `"fisher"` is `EmpiricalFisher`, `"hessian"` is `Hessian` with the mean of the samples' |H|,
            `"gauss_newton"` is `GaussNewton`, and `"auto"` what the library chooses, damping included.
        damping: Relative damping ρ, that is λ = ρ·|tr C|/m.
        normalize: Whether the steps of a batch are brought to a root mean square of one.
        psd_scope: Whether `"hessian"` takes |H| of every sample or of the mean, which is cheaper and, where each
            sample's H is itself a noisy estimate, nearer to the truth.
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
    """What is tuned on validation data.

    Attributes:
        rate: Learning rate at the start.
        damping: Relative damping in place of the curvature's own; `None` leaves that.
    """

    rate: float
    damping: float | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One competitor of a study.

    Attributes:
        name: What the command line and the records call it.
        label: What tables and pictures call it.
        group: What it shares with its baseline; a picture has one panel per group.
        loss: Full id of the algorithm in the registry.
        options: Its options.
        supervision: Which of the batch's targets the loss is given.
        curvature: `None` trains on the loss itself.
        clip: Largest norm of the network's gradient; `None` leaves it alone.
        baseline: Name of the arm that differences are taken to; `None` for a baseline itself.
        rates: Learning rates that this arm may choose from in place of the task's.
        dampings: Relative dampings that it may choose from, each at every rate; empty for the curvature's own.
        flat: Whether the loss takes [batch, m] and is given prediction and target flattened to that.

    Raises:
        ConfigError: Dampings without a curvature that takes one.
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
    rates: tuple[float, ...] = ()
    dampings: tuple[float, ...] = ()
    flat: bool = False

    def __post_init__(self) -> None:
        if self.dampings and (self.curvature is None or self.curvature.kind == "auto"):
            raise ConfigError(f"arm {self.name!r} has dampings to choose from and no curvature that takes one.")

    def settings(self) -> dict[str, Any]:
        """Return all that changes the arm's numbers, as JSON values; options added later only where they are used."""
        found = {
            key: value for key, value in asdict(self).items() if key not in _WORDS and (value or key not in _LATER)
        }
        if self.curvature is not None and self.curvature.psd_scope == "sample":
            del found["curvature"]["psd_scope"]
        return found

    def candidates(self, rates: Sequence[float]) -> tuple[Candidate, ...]:
        """Return what is tried on validation data: every rate with every damping.

        Args:
            rates: The rates of the task, for an arm without its own.
        """
        dampings = self.dampings or (None,)
        return tuple(Candidate(rate, damping) for rate in self.rates or rates for damping in dampings)

    def damped(self, damping: float | None) -> Arm:
        """Return the arm with this relative damping; itself for `None`."""
        if damping is None or self.curvature is None:
            return self
        return replace(self, dampings=(), curvature=replace(self.curvature, damping=damping))

    @property
    def title(self) -> str:
        """Group and label in one."""
        return f"{self.group}, {self.label}" if self.group else self.label

    def criterion(self) -> nn.Module:
        """Return a module `(prediction, target) -> scalar` whose gradient the network is trained with."""
        import nlcore
        from nlcore_bench.train import FlatLoss, MeanLoss

        loss = nlcore.make(self.loss, **self.options)
        whole = MeanLoss(loss) if self.curvature is None else nlcore.NewtonLoss(loss, self.curvature.build())
        return FlatLoss(whole) if self.flat else whole


_WORDS = ("name", "label", "group", "baseline")  # change them, and no number changes
_LATER = ("rates", "dampings", "flat")  # records of older studies lack them

_SUM = "sequences/prefix_sum-v1"

TOTALS: tuple[Arm, ...] = (
    Arm(name="plain", label="plain", loss=_SUM, supervision="totals"),
    # The limit is 0.01 per number, the best of the limits that were tried before this study.
    Arm(name="clipping", label="gradient clipping", loss=_SUM, supervision="totals", clip=0.16, baseline="plain"),
    Arm(
        name="fisher",
        label="empirical Fisher",
        loss=_SUM,
        supervision="totals",
        curvature=Curvature(kind="fisher", damping=0.1),
        baseline="plain",
    ),
    Arm(
        name="hessian",
        label="Hessian",
        loss=_SUM,
        supervision="totals",
        curvature=Curvature(kind="hessian", damping=0.01),
        baseline="plain",
    ),
    Arm(
        name="supervised",
        label="every digit supervised",
        loss="core/squared_error-v1",
        supervision="digits",
        baseline="plain",
    ),
)


def _ranking_arms(prefix: str, group: str, loss: str, options: dict[str, Any]) -> tuple[Arm, ...]:
    plain = Arm(name=f"{prefix}_plain", label="plain", group=group, loss=loss, options=options, supervision="ranks")
    kinds: tuple[tuple[Literal["fisher", "hessian"], str], ...] = (
        ("fisher", "empirical Fisher"),
        ("hessian", "Hessian"),
    )
    return (
        plain,
        *(
            Arm(
                name=f"{prefix}_{kind}",
                label=word,
                group=group,
                loss=loss,
                options=options,
                supervision="ranks",
                curvature=Curvature(kind=kind, damping=0.1),
                baseline=plain.name,
            )
            for kind, word in kinds
        ),
    )


RANKING: tuple[Arm, ...] = (
    *_ranking_arms("neuralsort", "NeuralSort", "sorting/neuralsort-v1", {"temperature": 1.0}),
    *_ranking_arms(
        "network", "odd–even network", "sorting/diffsort-v1", {"network": "odd_even", "distribution": "cauchy"}
    ),
)

DAMPINGS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""The grid of relative dampings that the default is held against."""

CLIPS = (0.016, 0.16, 1.6)
"""The limits of the clipping arms, so that the best control is no accident of one of them."""


def default_arms(
    loss: str, options: dict[str, Any], supervision: str, curvature: Literal["hessian", "gauss_newton"]
) -> tuple[Arm, ...]:
    """Return the arms of the study of the default: controls, the default, and a grid of dampings and curvatures.

    Args:
        loss: Full id of the algorithm.
        options: Its options.
        supervision: Which of the batch's targets the loss is given.
        curvature: The second-order curvature of the grid.
    """

    def arm(name: str, label: str, group: str, **more: Any) -> Arm:
        baseline = None if name == "plain" else "plain"
        return Arm(
            name=name,
            label=label,
            group=group,
            loss=loss,
            options=options,
            supervision=supervision,
            baseline=baseline,
            **more,
        )

    arms = [arm("plain", "plain", "control")]
    arms += [arm(f"clip_{limit:g}", f"clipping at {limit:g}", "control", clip=limit) for limit in CLIPS]
    # So much damping that the direction is the gradient; what is left is the normalisation.
    scaled = Curvature(kind=curvature, damping=1e6, normalize=True)
    arms.append(arm("normalized", "normalised gradient", "control", curvature=scaled))
    arms.append(arm("default", "default", "default", curvature=Curvature(kind="auto")))
    for kind in ("fisher", curvature):
        for rho in DAMPINGS:
            label = f"{kind.replace('_', '–')} ρ={rho:g}"
            arms.append(arm(f"{kind}_{rho:g}", label, "grid", curvature=Curvature(kind=kind, damping=rho)))
    return tuple(arms)
