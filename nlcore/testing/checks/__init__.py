"""The catalogue of checks: a module for each group, whose checks are in the order in which they run."""

from __future__ import annotations

from nlcore.testing.check import Check
from nlcore.testing.checks import (
    config,
    context,
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
    operator,
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
    operator,
    transforms,
    mask,
    context,
    errors,
    config,
    instance,
    newton,
    docs,
)

CATALOGUE = tuple(one for group in _GROUPS for one in vars(group).values() if isinstance(one, Check))
"""Every check: one comes after those it builds on."""
