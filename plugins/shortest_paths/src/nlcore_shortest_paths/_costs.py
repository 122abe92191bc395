"""Refuse costs and targets that no path can be found for, with the sample and the remedy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError, shorten

__all__ = ["check_costs", "check_mask", "check_positive", "check_true_costs", "working"]


def working(costs: Tensor) -> Tensor:
    """Return `costs` in the precision of the computation: float64 as it is, everything else float32."""
    return costs if costs.dtype == torch.float64 else costs.to(torch.float32)


def check_costs(name: str, costs: Tensor, *, batch: bool = False) -> None:
    """Raise unless `costs` is a floating-point tensor [..., H, W], or [batch, H, W]; no value is read."""
    if not isinstance(costs, Tensor):
        raise ContractError(f"{name}: the costs are a {type(costs).__name__}, not a tensor.")
    if not costs.is_floating_point():
        raise DtypeError(f"{name}: the costs are {costs.dtype}, but floating point is needed. Call .float() on them.")
    shape = list(costs.shape)
    if costs.ndim < 2 or 0 in costs.shape[-2:] or (batch and costs.ndim != 3):
        wanted = "[batch, H, W]" if batch else "[..., H, W]"
        raise ShapeError(f"{name}: the costs have shape {shape}; expected {wanted} with H ≥ 1 and W ≥ 1, a map each.")


def check_positive(name: str, costs: Tensor, *, what: str = "costs") -> None:
    """Raise unless all costs are positive and finite; waits for the device once.

    Args:
        name: What the message begins with.
        costs: [*batch, H, W] in working precision.
        what: What the message calls them.
    """
    if not costs.numel():
        return
    low, high = costs.aminmax()
    if bool((low > 0) & (high < torch.inf)):  # False for NaN
        return
    flat = costs.reshape(-1, costs.shape[-2] * costs.shape[-1])
    infinite = ~flat.isfinite().all(1)
    wrong = infinite if bool(infinite.any()) else (flat <= 0).any(1)
    samples = wrong.nonzero()[:, 0].tolist()
    row = flat[samples[0]]
    place = int((~row.isfinite() if bool(infinite.any()) else row <= 0).nonzero()[0])
    where = (place // costs.shape[-1], place % costs.shape[-1])
    if bool(infinite.any()):
        raise NonFiniteError(
            f"{name}: the {what} of samples {shorten(samples)} are NaN or infinite; sample {samples[0]} has "
            f"{float(row[place])} at {where}. Look at the network's output and at the learning rate; a cell that must "
            "not be entered gets a cost above that of every way around it.",
            samples,
        )
    raise ContractError(
        f"{name}: the {what} of samples {shorten(samples)} are not positive; sample {samples[0]} has "
        f"{float(row[place]):.6g} at {where}, and a way through such cells could be shortened for ever. Make them "
        "positive, for a network's output with torch.nn.functional.softplus(output) + 1e-2."
    )


def check_mask(name: str, costs: Tensor, target: Tensor) -> None:
    """Raise unless `target` is a 0/1 mask of the shape and on the device of `costs`."""
    _check_like(name, costs, target, "a path mask")
    if not target.numel() or target.dtype == torch.bool or torch.equal(target, target.square()):
        return
    wrong = ((target != 0) & (target != 1)).flatten(1).any(1)
    if bool(wrong.any()):
        samples = wrong.nonzero()[:, 0].tolist()
        value = target[samples[0]].flatten()
        seen = float(value[(value != 0) & (value != 1)][0])
        raise ContractError(
            f"{name}: the target of samples {shorten(samples)} is no path mask; sample {samples[0]} holds {seen:.6g}, "
            "but 1 on the path and 0 elsewhere is needed. nlcore_shortest_paths.shortest_path(true_costs) makes it."
        )


def check_true_costs(name: str, costs: Tensor, target: Tensor) -> None:
    """Raise unless `target` holds positive costs of the shape, dtype and device of `costs`."""
    _check_like(name, costs, target, "the true costs")
    if target.dtype != costs.dtype:
        raise DtypeError(
            f"{name}: the target is {target.dtype} and the prediction {costs.dtype}. Convert it with "
            "target.to(prediction.dtype)."
        )
    check_positive(name, working(target), what="true costs")


def _check_like(name: str, costs: Tensor, target: Tensor, meaning: str) -> None:
    if not isinstance(target, Tensor):
        raise ContractError(f"{name}: the target is a {type(target).__name__}; expected {meaning}, [batch, H, W].")
    if target.shape != costs.shape:
        raise ShapeError(
            f"{name}: the target has shape {list(target.shape)} and the prediction {list(costs.shape)}; both are "
            f"[batch, H, W], the target being {meaning}."
        )
    if target.device != costs.device:
        raise DeviceError(
            f"{name}: the target is on {target.device} and the prediction on {costs.device}. Move one with .to(device)."
        )
