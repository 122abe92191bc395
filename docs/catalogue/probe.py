"""Behaviour of a loss on its own example: shapes, curvatures, and the limits that can be measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import nlcore
from nlcore.capabilities import read_capabilities
from nlcore.errors import NlcoreError
from nlcore.newton.derivatives import differentiate
from nlcore.newton.problem import Problem

__all__ = ["Probe", "probe"]

_BATCH = 100
_CAPABILITIES = {"gradient": "its gradient", "hessian": "its Hessian", "split": "a Gauss–Newton split"}


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found.

    Attributes:
        supplies: Optional capabilities.
        curvatures: For every curvature "yes", or why not.
        auto: The curvature of `Auto(aim="outputs")` for this size.
        reason: Why.
        shape: Of the prediction of one sample.
        target: Shape and dtype of the target of one sample.
        limits: Sentences about where it gives out.
    """

    supplies: list[str]
    curvatures: dict[str, str]
    auto: str
    reason: str
    shape: list[int]
    target: str
    limits: list[str]


def probe(loss: Any) -> Probe:
    """Try a loss."""
    info = read_capabilities(loss)
    prediction, target = _example(loss, torch.float32)
    able: dict[str, str] = {}
    for curvature in (nlcore.EmpiricalFisher(), nlcore.Hessian(), nlcore.GaussNewton()):
        try:
            curvature.check(info)
            able[type(curvature).__name__] = "yes"
        except NlcoreError as error:
            able[type(curvature).__name__] = f"no: {error}"
    chosen, reason = nlcore.Auto(aim="outputs").choose(info, prediction[0].numel())
    return Probe(
        supplies=[text for kind, text in _CAPABILITIES.items() if kind in info.supplies],
        curvatures=able,
        auto=repr(chosen),
        reason=reason,
        shape=list(prediction.shape[1:]),
        target=_described(target),
        limits=_limits(loss, able),
    )


def _example(loss: Any, dtype: torch.dtype) -> tuple[Tensor, Any]:
    prediction, target = loss.example(_BATCH, generator=torch.Generator().manual_seed(0), dtype=dtype, device="cpu")
    return prediction.detach(), target


def _described(target: Any) -> str:
    """Return shape and dtype of a target without the batch, as `[5] int64`; of every tensor of a nested one."""
    from torch.utils import _pytree as pytree

    if isinstance(target, Mapping):
        return "{" + ", ".join(f'"{name}": {_described(value)}' for name, value in target.items()) + "}"
    leaves = [leaf for leaf in pytree.tree_leaves(target) if isinstance(leaf, Tensor)]
    return ", ".join(f"{list(leaf.shape[1:]) or 'one'} {str(leaf.dtype).removeprefix('torch.')}" for leaf in leaves)


def _limits(loss: Any, able: dict[str, str]) -> list[str]:
    prediction, target = _example(loss, torch.float64)
    found = []
    if loss.traits.order < 2 and able["Hessian"] != "yes":
        found.append("Its second derivative vanishes or does not exist, so `Hessian` raises an error.")
    found += [
        text for look in (_shift, _ties, _negative, _precision) if (text := _tried(look, loss, prediction, target))
    ]
    if loss.traits.stochastic:
        found.append("It is random: with few draws, the gradient is noisy, and the curvature even more so.")
    nothing = "No difficulty was found: adding the same number to all outputs changes the loss, no sample has negative "
    nothing += "curvature, and float32 is precise enough."
    return found or [nothing]


def _tried(look: Callable[[Any, Tensor, Any], str], loss: Any, prediction: Tensor, target: Any) -> str:
    """Return what a probe says; nothing where the loss refuses the input that it makes up."""
    try:
        return look(loss, prediction, target)
    except (NlcoreError, RuntimeError, ValueError):
        return ""


def _gradient(loss: Any, prediction: Tensor, target: Any) -> Tensor:
    step = nlcore.newton_step(
        loss, prediction, target, nlcore.EmpiricalFisher(), generator=torch.Generator().manual_seed(0)
    )
    return step.gradient.flatten(1)


def _shift(loss: Any, prediction: Tensor, target: Any) -> str:
    gradient = _gradient(loss, prediction, target)
    if gradient.shape[1] < 2 or float(gradient.sum(1).abs().max()) > 1e-9 * float(gradient.abs().sum(1).max()):
        return ""
    return (
        "Adding the same number to all outputs does not change the loss, so the curvature is singular along the vector "
        "of ones: without damping, the Newton step does not exist."
    )


def _ties(loss: Any, prediction: Tensor, target: Any) -> str:
    mean = prediction.flatten(1).mean(1).view(-1, *[1] * (prediction.ndim - 1))
    if prediction[0].numel() < 2 or float(_gradient(loss, mean.expand_as(prediction).contiguous(), target).norm()) > 0:
        return ""
    return (
        "If all outputs of a sample are equal, its gradient is exactly 0: do not initialise the last layer with zeros."
    )


def _negative(loss: Any, prediction: Tensor, target: Any) -> str:
    info = read_capabilities(loss)
    if info.traits.psd_hessian or info.traits.stochastic or info.traits.order < 2:
        return ""
    blocks = differentiate(Problem.of(info, prediction, target), "hessian").blocks()
    values = torch.linalg.eigvalsh(blocks)
    share = float((values[:, 0] < -1e-6 * values.abs().amax(1)).double().mean())
    if share == 0:
        return ""
    return (
        f"Its Hessian is indefinite for {100 * share:.0f} % of its samples. Keep "
        '`Hessian(psd="abs")`, the default: with `psd="none"`, a Newton step goes uphill along directions of negative '
        "curvature."
    )


def _precision(loss: Any, prediction: Tensor, target: Any) -> str:
    if loss.traits.stochastic:
        return ""
    for scale in (1.0, 10.0, 100.0):
        exact = _gradient(loss, scale * prediction, target)
        rounded = _gradient(loss, scale * prediction.float(), _float32(target)).double()
        length = exact.norm(dim=1)
        error = (rounded - exact).norm(dim=1) / (length + 1e-3 * length.median()).clamp(min=1e-30)
        wrong = float((error > 0.01).double().mean())
        if wrong > 0.01:
            return (
                f"With its predictions multiplied by {scale:g}, the float32 gradient of "
                f"{100 * wrong:.0f} % of the samples is off by more than 1 %."
            )
    return ""


def _float32(target: Any) -> Any:
    from torch.utils import _pytree as pytree

    return pytree.tree_map(
        lambda leaf: leaf.float() if isinstance(leaf, Tensor) and leaf.dtype == torch.float64 else leaf, target
    )
