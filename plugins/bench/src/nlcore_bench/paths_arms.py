"""The arms of `nlcore bench paths`: every method plain, and with the curvatures that it has."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from nlcore_bench.arms import Arm, Curvature

__all__ = ["PATHS", "REFERENCE"]

REFERENCE = "true_costs"
"""The arm that is given every true cost: what there is to be reached."""

_RATES = (0.25, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
_NEWTON_RATES = (0.35, 1.0, 2.8)
_DAMPINGS = (1.0, 10.0, 100.0)
"""Nine candidates either way: rates alone, in units of the method's, or three of them with three dampings."""


@dataclass(frozen=True)
class _Method:
    """A method of the plugin.

    Attributes:
        name: Name of its plain arm.
        label: What tables call it.
        loss: Its id without namespace and version.
        options: Its options.
        hessian: Whether it has a Hessian that costs no more than a few of its steps.
        estimated: Whether that Hessian is an estimate from samples, which is not positive semi-definite.
        normalize: Whether steps with that Hessian are brought to one length. The walks of an untrained network are all
            but certain, so that maximum entropy has next to no curvature, and first steps a million times too long.
        rate: The rate that all candidates lie around, from runs of the plain method on validation maps.
    """

    name: str
    label: str
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    hessian: bool = False
    estimated: bool = False
    normalize: bool = False
    rate: float = 2e-2

    def rates(self, factors: tuple[float, ...] = _RATES) -> tuple[float, ...]:
        """Return rates around its own, to three digits."""
        return tuple(float(f"{factor * self.rate:.3g}") for factor in factors)


def _fenchel_young(samples: int) -> _Method:
    loss = "perturbed_fenchel_young"
    options: dict[str, Any] = {"sigma": 1.0, "num_samples": samples, **({"control": "none"} if samples == 1 else {})}
    words = f"Fenchel–Young, {samples} sample{'s' if samples > 1 else ''}"
    # From one sample a map there is no mean that could be subtracted, and the estimate of the Hessian is noise.
    return _Method(loss if samples == 3 else f"{loss}_{samples}", words, loss, options, samples > 1, estimated=True)


def _bellman_ford(name: str, words: str, **options: str) -> _Method:
    return _Method(f"bellman_ford_{name}", f"Bellman–Ford, {words}", "bellman_ford", {"beta": 1.0, **options})


_SMOOTHED = {"num_samples": 10, "sigma": 1.0}
_METHODS = (
    *map(_fenchel_young, (1, 3, 10, 30)),
    _Method("max_entropy", "maximum entropy", "max_entropy", hessian=True, normalize=True, rate=1e-2),
    _Method("central_difference", "central difference", "central_difference", {"sigma": 1.0}),
    _Method("imle", "I-MLE", "imle", {"num_samples": 3, "sigma": 1.0}),
    _Method("blackbox", "black box", "blackbox"),
    _Method("negative_identity", "negative identity", "negative_identity"),
    _Method("spo_plus", "SPO+", "spo_plus"),
    _bellman_ford("for_l1", "For, L1", loop="for", objective="l1"),
    _bellman_ford("for_l2", "For, L2²", loop="for", objective="l2"),
    _bellman_ford("while_l1", "While, L1", loop="while", objective="l1"),
    _bellman_ford("while_l2", "While, L2²", loop="while", objective="l2"),
    _bellman_ford("probabilistic", "For, L2², probabilistic", t_conorm="probabilistic"),
    _bellman_ford("yager", "For, L2², Yager", t_conorm="yager"),
    _Method(
        "smoothed_algorithm",
        "smoothed algorithm",
        "smoothed_algorithm",
        _SMOOTHED,
        hessian=True,
        estimated=True,
        rate=2e-3,
    ),
    _Method("smoothed_loss", "smoothed loss", "smoothed_loss", _SMOOTHED, hessian=True, estimated=True, rate=2e-3),
)


def _arms(method: _Method) -> tuple[Arm, ...]:
    shared: dict[str, Any] = {
        "group": method.label,
        "loss": f"shortest_paths/{method.loss}-v1",
        "options": method.options,
        "supervision": "costs" if method.loss == "spo_plus" else "paths",
    }
    newton = {"baseline": method.name, "rates": method.rates(_NEWTON_RATES), "dampings": _DAMPINGS, **shared}
    plain = Arm(name=method.name, label="plain", rates=method.rates(), **shared)
    fisher = Arm(name=f"{method.name}_fisher", label="Fisher", curvature=Curvature(kind="fisher"), **newton)
    if not method.hessian:
        return plain, fisher
    scope: Literal["sample", "batch"] = "batch" if method.estimated else "sample"
    curvature = Curvature(kind="hessian", psd_scope=scope, normalize=method.normalize)
    return plain, fisher, Arm(name=f"{method.name}_hessian", label="Hessian", curvature=curvature, **newton)


PATHS: tuple[Arm, ...] = (
    *(arm for method in _METHODS for arm in _arms(method)),
    Arm(
        name=REFERENCE,
        label="true costs supervised",
        loss="core/squared_error-v1",
        supervision="costs",
        rates=_Method("", "", "").rates(),
        flat=True,
    ),
)
