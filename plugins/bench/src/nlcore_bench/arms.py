"""What is compared: every arm is one way of turning the same supervision into a gradient."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

__all__ = ["RANKING", "TOTALS", "Arm", "Curvature"]


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A curvature of nlcore, described without torch.

    Attributes:
        kind: `"fisher"` is `EmpiricalFisher`; `"hessian"` is `Hessian` with the mean of the samples' |H|.
        damping: Relative damping ρ, that is λ = ρ·|tr C|/m.
    """

    kind: Literal["fisher", "hessian"]
    damping: float

    def build(self) -> Any:
        """Return the curvature object."""
        import nlcore

        damping = nlcore.Relative(self.damping)
        if self.kind == "fisher":
            return nlcore.EmpiricalFisher(damping=damping)
        return nlcore.Hessian(damping=damping, psd="abs")


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

    def settings(self) -> dict[str, Any]:
        """Return all that changes the arm's numbers, as JSON values."""
        return {key: value for key, value in asdict(self).items() if key not in _WORDS}

    @property
    def title(self) -> str:
        """Group and label in one."""
        return f"{self.group}, {self.label}" if self.group else self.label

    def criterion(self) -> nn.Module:
        """Return a module `(prediction, target) -> scalar` whose gradient the network is trained with."""
        import nlcore
        from nlcore_bench.train import MeanLoss

        loss = nlcore.make(self.loss, **self.options)
        return MeanLoss(loss) if self.curvature is None else nlcore.NewtonLoss(loss, self.curvature.build())


_WORDS = ("name", "label", "group", "baseline")  # change them, and no number changes

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
