"""Newton losses and a registry of losses with an algorithm inside; importing this imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore.config import AlgorithmConfig
    from nlcore.diagnosis import diagnose
    from nlcore.newton import (
        Auto,
        Bounded,
        EmpiricalFisher,
        GaussNewton,
        Hessian,
        InjectFisher,
        NewtonLoss,
        NewtonStep,
        Relative,
        Result,
        compose,
        inject_fisher,
        newton_step,
    )
    from nlcore.protocol import (
        AlgorithmicLoss,
        CurvatureOperator,
        GaussNewtonSplit,
        SuppliesGradient,
        SuppliesHessian,
        SuppliesOperator,
        Traits,
    )
    from nlcore.registry import AlgorithmSpec, Registry
    from nlcore.registry.default import dump, make, names, plugins, refresh, register, restore, spec
    from nlcore.tuning import tune

    __version__: str

__all__ = [
    "AlgorithmConfig",
    "AlgorithmSpec",
    "AlgorithmicLoss",
    "Auto",
    "Bounded",
    "CurvatureOperator",
    "EmpiricalFisher",
    "GaussNewton",
    "GaussNewtonSplit",
    "Hessian",
    "InjectFisher",
    "NewtonLoss",
    "NewtonStep",
    "Registry",
    "Relative",
    "Result",
    "SuppliesGradient",
    "SuppliesHessian",
    "SuppliesOperator",
    "Traits",
    "compose",
    "diagnose",
    "dump",
    "inject_fisher",
    "make",
    "names",
    "newton_step",
    "plugins",
    "refresh",
    "register",
    "restore",
    "spec",
    "tune",
]

_MEMBERS = {
    "nlcore.config": ["AlgorithmConfig"],
    "nlcore.diagnosis": ["diagnose"],
    "nlcore.newton": [
        "Auto",
        "Bounded",
        "EmpiricalFisher",
        "GaussNewton",
        "Hessian",
        "InjectFisher",
        "NewtonLoss",
        "NewtonStep",
        "Relative",
        "Result",
        "compose",
        "inject_fisher",
        "newton_step",
    ],
    "nlcore.protocol": [
        "AlgorithmicLoss",
        "CurvatureOperator",
        "GaussNewtonSplit",
        "SuppliesGradient",
        "SuppliesHessian",
        "SuppliesOperator",
        "Traits",
    ],
    "nlcore.registry": ["AlgorithmSpec", "Registry"],
    "nlcore.registry.default": ["dump", "make", "names", "plugins", "refresh", "register", "restore", "spec"],
    "nlcore.tuning": ["tune"],
}
_HOME = {name: module for module, members in _MEMBERS.items() for name in members}
_SUBMODULES = ("config", "diagnosis", "errors", "newton", "plugin", "protocol", "registry", "testing", "tuning")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _SUBMODULES:
        return import_module(f"nlcore.{name}")
    elif name == "__version__":
        from nlcore.registry.discovery import core_version

        value = core_version()
    else:
        raise AttributeError(f"module 'nlcore' has no attribute {name!r}{_near(name)}; see nlcore.__all__")
    globals()[name] = value
    return value


def _near(name: str) -> str:
    """Return where an error class is, or else the public names that contain this one or resemble it."""
    from nlcore import errors

    if name in errors.__all__:
        return f": it is nlcore.errors.{name}"
    holding = [repr(one) for one in __all__ if name.lower() in one.lower()]
    return f" (did you mean {' or '.join(holding)}?)" if holding else errors.nearest(name, __all__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES, "__version__"})
