"""The methods of `nlcore bench paths`: every loss plain, and with the curvatures that it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nlcore_bench.methods.base import Curvature, Method

__all__ = ["PATHS", "REFERENCE"]

REFERENCE = "true_costs"
"""The method that is trained on all true costs, an upper reference."""

_LEARNING_RATES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_NEWTON_LEARNING_RATES = (0.35, 1.0, 2.8)
_DAMPINGS = (1.0, 10.0, 100.0)
"""Nine candidates for every method: nine multiples of the loss's learning rate, or three of them at three dampings."""


@dataclass(frozen=True)
class _Loss:
    """A loss of nlcore-shortest-paths with its options.

    Attributes:
        name: Name of the plain method.
        label: Name in tables.
        loss: Id of the algorithm without namespace and version.
        options: Options of the algorithm.
        hessian: Whether it has a Hessian that costs no more than a few plain steps.
        estimated: Whether that Hessian is an estimate from samples, which is not positive semi-definite.
        normalize: Whether steps with that Hessian are normalised to one length. The paths of an untrained network are
            almost certain, so that maximum entropy has hardly any curvature and first steps a million times too long.
        learning_rate: Centre of the candidates, from runs of the plain method on validation maps.
    """

    name: str
    label: str
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    hessian: bool = False
    estimated: bool = False
    normalize: bool = False
    learning_rate: float = 2e-2

    def learning_rates(self, factors: tuple[float, ...] = _LEARNING_RATES) -> tuple[float, ...]:
        """Return multiples of the learning rate, rounded to three digits."""
        return tuple(float(f"{factor * self.learning_rate:.3g}") for factor in factors)


def _fenchel_young(samples: int) -> _Loss:
    loss = "perturbed_fenchel_young"
    options: dict[str, Any] = {"sigma": 1.0, "num_samples": samples, **({"control": "none"} if samples == 1 else {})}
    words = f"Fenchel–Young, {samples} sample{'s' if samples > 1 else ''}"
    # With one sample per map there is no mean to subtract, and the estimate of the Hessian is noise.
    return _Loss(loss if samples == 3 else f"{loss}_{samples}", words, loss, options, samples > 1, estimated=True)


def _bellman_ford(name: str, words: str, **options: str) -> _Loss:
    return _Loss(f"bellman_ford_{name}", f"Bellman–Ford, {words}", "bellman_ford", {"beta": 1.0, **options})


_SMOOTHED = {"num_samples": 10, "sigma": 1.0}
_LOSSES = (
    *map(_fenchel_young, (1, 3, 10, 30)),
    _Loss("max_entropy", "maximum entropy", "max_entropy", hessian=True, normalize=True, learning_rate=1e-2),
    _Loss("central_difference", "central difference", "central_difference", {"sigma": 1.0}),
    _Loss("imle", "I-MLE", "imle", {"num_samples": 3, "sigma": 1.0}),
    _Loss("blackbox", "black box", "blackbox"),
    _Loss("negative_identity", "negative identity", "negative_identity"),
    _Loss("spo_plus", "SPO+", "spo_plus"),
    _bellman_ford("for_l1", "For, L1", loop="for", objective="l1"),
    _bellman_ford("for_l2", "For, L2²", loop="for", objective="l2"),
    _bellman_ford("while_l1", "While, L1", loop="while", objective="l1"),
    _bellman_ford("while_l2", "While, L2²", loop="while", objective="l2"),
    _bellman_ford("probabilistic", "For, L2², probabilistic", t_conorm="probabilistic"),
    _bellman_ford("yager", "For, L2², Yager", t_conorm="yager"),
    _Loss(
        "smoothed_algorithm",
        "smoothed algorithm",
        "smoothed_algorithm",
        _SMOOTHED,
        hessian=True,
        estimated=True,
        learning_rate=2e-3,
    ),
    _Loss(
        "smoothed_loss", "smoothed loss", "smoothed_loss", _SMOOTHED, hessian=True, estimated=True, learning_rate=2e-3
    ),
)


def _methods(entry: _Loss) -> tuple[Method, ...]:
    shared: dict[str, Any] = {
        "group": entry.label,
        "loss": f"shortest_paths/{entry.loss}-v1",
        "options": entry.options,
        "supervision": "costs" if entry.loss == "spo_plus" else "paths",
    }
    newton = {
        "baseline": entry.name,
        "learning_rates": entry.learning_rates(_NEWTON_LEARNING_RATES),
        "dampings": _DAMPINGS,
        **shared,
    }
    plain = Method(name=entry.name, label="plain", learning_rates=entry.learning_rates(), **shared)
    fisher = Method(name=f"{entry.name}_fisher", label="Fisher", curvature=Curvature(kind="fisher"), **newton)
    if not entry.hessian:
        return plain, fisher
    scope: Literal["sample", "batch"] = "batch" if entry.estimated else "sample"
    curvature = Curvature(kind="hessian", psd_scope=scope, normalize=entry.normalize)
    return plain, fisher, Method(name=f"{entry.name}_hessian", label="Hessian", curvature=curvature, **newton)


PATHS: tuple[Method, ...] = (
    *(method for entry in _LOSSES for method in _methods(entry)),
    Method(
        name=REFERENCE,
        label="true costs supervised",
        loss="core/squared_error-v1",
        supervision="costs",
        learning_rates=_Loss("", "", "").learning_rates(),
        flat=True,
    ),
)
