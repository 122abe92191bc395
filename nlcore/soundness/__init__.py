"""First-use checks of a loss, of masks and of weights: faults that would train silently otherwise."""

from __future__ import annotations

from nlcore.soundness.first_use import ENOUGH, check_first_use, check_soundness
from nlcore.soundness.inputs import (
    check_mask,
    check_weight,
    require_valid_weights,
    valid_weights,
    warn_of_invalid_weights,
)
from nlcore.soundness.inside import modules_in, parameters_in, undisturbed
from nlcore.soundness.second import check_second

__all__ = [
    "ENOUGH",
    "check_first_use",
    "check_mask",
    "check_second",
    "check_soundness",
    "check_weight",
    "modules_in",
    "parameters_in",
    "require_valid_weights",
    "undisturbed",
    "valid_weights",
    "warn_of_invalid_weights",
]
