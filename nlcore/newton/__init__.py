"""The Newton-loss engine: problem → derivatives → curvature matrix → damping → solve → direction."""

import warnings
from importlib import import_module
from typing import Any

from nlcore.newton.auto import Auto
from nlcore.newton.compose import Composed, compose
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import Bounded, Damped, DampingRule, Relative
from nlcore.newton.failures import Result
from nlcore.newton.fisher import EmpiricalFisher
from nlcore.newton.gauss_newton import GaussNewton
from nlcore.newton.hessian import Hessian
from nlcore.newton.inject import InjectFisher, inject_fisher
from nlcore.newton.loss import NewtonLoss
from nlcore.newton.matrix import CurvatureMatrix, DenseMatrix, GramMatrix, ProductMatrix
from nlcore.newton.outcome import NewtonStep
from nlcore.newton.step import newton_step

__all__ = [
    "Auto",
    "Bounded",
    "Composed",
    "Curvature",
    "CurvatureMatrix",
    "Damped",
    "DampingRule",
    "DenseMatrix",
    "EmpiricalFisher",
    "GaussNewton",
    "GramMatrix",
    "Hessian",
    "InjectFisher",
    "NewtonLoss",
    "NewtonStep",
    "ProductMatrix",
    "Relative",
    "Result",
    "compose",
    "inject_fisher",
    "newton_step",
]


def __getattr__(name: str) -> Any:
    if name not in ("diagnose", "Diagnosis"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(
        f"nlcore.newton.{name} is deprecated and will be removed in 0.3; import nlcore.diagnosis.{name}.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(import_module("nlcore.diagnosis"), name)
