"""The arms of `nlcore bench paths`: every method plain, and with the curvatures that it has."""

from __future__ import annotations

from typing import Any, Literal

from nlcore_bench.arms import Arm, Curvature

__all__ = ["PATHS"]

_PERTURBED, _SOLVED, _RELAXED = "perturbed", "differences of solutions", "relaxed and smoothed"
_METHODS: tuple[tuple[str, str, str, dict[str, Any], tuple[Literal["fisher", "hessian"], ...]], ...] = (
    ("perturbed_fenchel_young", "Fenchel–Young", _PERTURBED, {"sigma": 1.0}, ("fisher", "hessian")),
    ("central_difference", "central difference", _PERTURBED, {"sigma": 1.0}, ("fisher",)),
    ("imle", "I-MLE", _SOLVED, {"num_samples": 3, "sigma": 1.0}, ("fisher",)),
    ("blackbox", "black box", _SOLVED, {}, ("fisher",)),
    ("negative_identity", "negative identity", _SOLVED, {}, ("fisher",)),
    ("spo_plus", "SPO+", _SOLVED, {}, ("fisher",)),
    ("bellman_ford", "relaxed Bellman–Ford", _RELAXED, {"beta": 1.0}, ("fisher",)),
    ("smoothed_algorithm", "smoothed algorithm", _RELAXED, {"num_samples": 10, "sigma": 1.0}, ("fisher",)),
    ("smoothed_loss", "smoothed loss", _RELAXED, {"num_samples": 10, "sigma": 1.0}, ("fisher",)),
)
_WORDS = {"fisher": "Fisher", "hessian": "Hessian"}


def _arms() -> tuple[Arm, ...]:
    arms = []
    for method, label, group, options, curvatures in _METHODS:
        shared: dict[str, Any] = {
            "group": group,
            "loss": f"shortest_paths/{method}-v1",
            "options": options,
            "supervision": "costs" if method == "spo_plus" else "paths",
        }
        arms.append(Arm(name=method, label=label, **shared))
        for kind in curvatures:
            # Less damping than 10 times the mean curvature was seen to hurt on maps.
            curvature = Curvature(kind=kind, damping=10.0)
            words = f"{label} + {_WORDS[kind]}"
            arms.append(Arm(name=f"{method}_{kind}", label=words, curvature=curvature, baseline=method, **shared))
    return tuple(arms)


PATHS: tuple[Arm, ...] = _arms()
