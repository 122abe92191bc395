"""The catalogue of checks, one module for each group."""

from __future__ import annotations

from nlcore.testing.check import Check
from nlcore.testing.checks import (
    config,
    device,
    docs,
    dtype,
    errors,
    gauss_newton,
    gradient,
    hessian,
    independence,
    instance,
    mask,
    newton,
    protocol,
    purity,
    shape,
    stochastic,
    transforms,
)

__all__ = ["CATALOGUE"]

_GROUPS = (
    protocol,
    shape,
    dtype,
    device,
    purity,
    stochastic,
    independence,
    gradient,
    hessian,
    gauss_newton,
    transforms,
    mask,
    errors,
    config,
    instance,
    newton,
    docs,
)

CATALOGUE: tuple[Check, ...] = tuple(one for group in _GROUPS for one in group.CHECKS)
"""Every check, in the order in which they run: a check comes after those it builds on."""
