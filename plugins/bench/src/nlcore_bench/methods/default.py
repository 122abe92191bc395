"""The methods of `nlcore bench defaults`: controls, the default, and a grid of dampings and curvatures."""

from __future__ import annotations

from typing import Any, Literal

from nlcore_bench.methods.base import Curvature, Method

__all__ = ["default_methods"]

DAMPINGS = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""The relative dampings of the grid that the default is compared with."""

CLIPS = (0.016, 0.16, 1.6)
"""The limits of the clipping methods; there are three, so that the best control does not depend on one of them."""


def default_methods(
    loss: str, options: dict[str, Any], supervision: str, curvature: Literal["hessian", "gauss_newton"]
) -> tuple[Method, ...]:
    """Return controls, the default, and a grid of dampings and curvatures for one loss.

    Args:
        loss: Full id of the algorithm.
        options: Its options.
        supervision: Name of the batch's target that the loss receives.
        curvature: The second-order curvature of the grid.
    """

    def method(name: str, label: str, group: str, **more: Any) -> Method:
        baseline = None if name == "plain" else "plain"
        return Method(
            name=name,
            label=label,
            group=group,
            loss=loss,
            options=options,
            supervision=supervision,
            baseline=baseline,
            **more,
        )

    methods = [method("plain", "plain", "control")]
    methods += [method(f"clip_{limit:g}", f"clipping at {limit:g}", "control", clip=limit) for limit in CLIPS]
    # With so much damping the direction is the gradient; only the normalisation remains.
    scaled = Curvature(kind=curvature, damping=1e6, normalize=True)
    methods.append(method("normalized", "normalised gradient", "control", curvature=scaled))
    methods.append(method("default", "default", "default", curvature=Curvature(kind="auto")))
    for kind in ("fisher", curvature):
        for rho in DAMPINGS:
            label = f"{kind.replace('_', '–')} ρ={rho:g}"
            methods.append(method(f"{kind}_{rho:g}", label, "grid", curvature=Curvature(kind=kind, damping=rho)))
    return tuple(methods)
