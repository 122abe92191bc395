"""Validation of the values of costs and path masks; shapes and dtypes are validated by `nlcore.inputs`."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, NonFiniteError, shorten
from nlcore.inputs import read

__all__ = ["check_path", "check_positive"]


def check_positive(name: str, costs: Tensor, *, what: str = "costs", event_ndim: int = 2) -> None:
    """Raise unless all costs are positive and finite; synchronises with the device once.

    Args:
        name: The id or function that the message begins with.
        costs: [*batch, H, W], or [*batch, E] with `event_ndim=1`.
        what: The name of the costs in the message.
        event_ndim: Number of dimensions of one sample.

    Raises:
        NonFiniteError: A cost is NaN or infinite.
        ContractError: A cost is 0 or negative.
    """
    if not costs.numel():
        return
    low, high = costs.aminmax()
    if read((low > 0) & (high < torch.inf)) is not False:  # False for NaN
        return
    shape = costs.shape[-event_ndim:]
    flat = costs.reshape(-1, shape.numel())
    infinite = ~flat.isfinite()
    wrong = infinite if bool(infinite.any()) else flat <= 0
    samples = wrong.any(1).nonzero()[:, 0].tolist()
    index = int(wrong[samples[0]].nonzero()[0])
    value = float(flat[samples[0], index])
    where = f"at {(index // shape[-1], index % shape[-1])}" if event_ndim == 2 else f"on edge {index}"
    if bool(infinite.any()):
        raise NonFiniteError(
            f"{name}: the {what} of samples {shorten(samples)} are NaN or infinite; sample {samples[0]} has {value} "
            f"{where}. Check the network's output and the learning rate; a cell or edge that must not be used gets a "
            "cost above that of every detour.",
            samples,
        )
    raise ContractError(
        f"{name}: the {what} of samples {shorten(samples)} are not positive; sample {samples[0]} has {value:.6g} "
        f"{where}. A shortest path is defined for positive costs only: for a network's output, use "
        "torch.nn.functional.softplus(output) + 1e-2."
    )


def check_path(name: str, target: Tensor, *, solver: str = "shortest_path") -> None:
    """Raise unless `target` [batch, *event] holds 0 and 1 only; synchronises with the device once."""
    if not target.numel() or target.dtype == torch.bool or torch.equal(target, target.square()):
        return
    wrong = ((target != 0) & (target != 1)).flatten(1)
    samples = wrong.any(1).nonzero()[:, 0].tolist()
    if samples:
        value = float(target[samples[0]].flatten()[wrong[samples[0]]][0])
        raise ContractError(
            f"{name}: the target of samples {shorten(samples)} is not a path mask; sample {samples[0]} holds "
            f"{value:.6g}, but 1 on the path and 0 elsewhere is needed. "
            f"nlcore_shortest_paths.{solver} returns such masks for the true costs."
        )
