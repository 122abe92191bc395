"""The Newton-loss engine: derivatives → curvature → damping → solve → direction → loss."""

from nlcore.newton.auto import Auto
from nlcore.newton.compose import Composed, compose
from nlcore.newton.curvature import Curvature, EmpiricalFisher, GaussNewton, Hessian
from nlcore.newton.damping import Bounded, Relative
from nlcore.newton.diagnose import Diagnosis, diagnose
from nlcore.newton.inject import InjectFisher, inject_fisher
from nlcore.newton.loss import NewtonLoss
from nlcore.newton.result import Result
from nlcore.newton.step import NewtonStep, newton_step

__all__ = [
    "Auto",
    "Bounded",
    "Composed",
    "Curvature",
    "Diagnosis",
    "EmpiricalFisher",
    "GaussNewton",
    "Hessian",
    "InjectFisher",
    "NewtonLoss",
    "NewtonStep",
    "Relative",
    "Result",
    "compose",
    "diagnose",
    "inject_fisher",
    "newton_step",
]
