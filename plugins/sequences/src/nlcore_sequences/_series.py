"""Series of a batch in one form: real time steps in front, channels last, with their lengths."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from nlcore.errors import ContractError, shorten
from nlcore.inputs import check_inputs, holds, working

__all__ = ["Series", "check_lengths", "lengths_of", "read_prediction", "read_target"]

_CHANNELS = {
    False: "Series with channels, [batch, time, channels], need multivariate=True.",
    True: "Series without channels, [batch, time], need multivariate=False.",
}
_TRUE = "It is True at padded time steps."


class Series(NamedTuple):
    """The series of a batch.

    Attributes:
        steps: [batch, time, channels], in working precision; real time steps in front, 0 behind them.
        lengths: [batch] int64, at least 1.
        weight: [batch, time, channels], 0 for channels that are left out of a time step; `None` where there are none.
        position: [batch, time] int64, where each time step of the input stands; `None` where it stands.
        empty: [batch], which samples have no time step at all and a length of 1 here; `None` where there are none.
    """

    steps: Tensor
    lengths: Tensor
    weight: Tensor | None = None
    position: Tensor | None = None
    empty: Tensor | None = None

    def widened(self) -> Series:
        """Return the series in float64."""
        return self._replace(steps=self.steps.double(), weight=None if self.weight is None else self.weight.double())


def lengths_of(mask: Tensor) -> Tensor:
    """Return the number of time steps that are not padded, as the lengths of a target.

    Args:
        mask: [..., time] bool, True at padded time steps.

    Returns:
        [...] int64.

    Example:
        >>> import torch
        >>> lengths_of(torch.tensor([[False, False, True], [False, False, False]]))
        tensor([2, 3])
    """
    check_inputs("lengths_of", mask=(mask, "[..., time] bool", _TRUE))
    return (~mask).sum(-1)


def read_prediction(name: str, prediction: Tensor, mask: Tensor | None, *, multivariate: bool) -> Series:
    """Return the predicted series, without padded time steps wherever they are.

    Raises:
        ContractError: Wrong type, shape, dtype or device.
    """
    event, other = ("n, channels", 2) if multivariate else ("n", 3)
    advice = (_CHANNELS[multivariate],) if isinstance(prediction, Tensor) and prediction.ndim == other else ()
    check_inputs(
        name,
        prediction=(prediction, f"[batch, {event}] floating", *advice),
        mask=(mask, f"[batch, {event}] bool or None", _TRUE),
    )
    steps = working(prediction)
    if multivariate:
        return _in_form(steps, mask)
    return _in_form(steps.unsqueeze(-1), None if mask is None else mask.unsqueeze(-1))


def read_target(name: str, target: Any, prediction: Tensor, *, multivariate: bool) -> Series:
    """Return the series of the target: a tensor, or a dict of `series` with `lengths` or `mask`.

    Raises:
        ContractError: Wrong type, shape, dtype or device; or lengths that are not those of a series.
    """
    parts = target if isinstance(target, dict) else {"series": target}
    if "series" not in parts or set(parts) - {"series", "lengths", "mask"} or len(parts) > 2:
        raise ContractError(
            f"{name}: the target is a dict of {shorten(sorted(map(str, parts)))}; give a tensor, or a dict of 'series' "
            "and either 'lengths', [batch] int64, or 'mask', [batch, m] bool, True at padded time steps."
        )
    own, event = ("[batch, n, channels]", "m, channels") if multivariate else ("[batch, n]", "m")
    check_inputs(
        name,
        prediction=(prediction, own),
        target=(parts["series"], f"[batch, {event}] same"),
        mask=(parts.get("mask"), "[batch, m] bool or None", _TRUE),
        lengths=(parts.get("lengths"), "[batch] int64 or None", "They are the lengths of the target's series."),
    )
    steps = working(parts["series"])
    steps = steps if multivariate else steps.unsqueeze(-1)
    if "mask" in parts:
        return _in_form(steps, parts["mask"].unsqueeze(-1).expand_as(steps))._replace(weight=None)
    if "lengths" not in parts:
        return _in_form(steps, None)
    lengths = parts["lengths"]
    behind = torch.arange(steps.shape[1], device=steps.device) >= lengths.unsqueeze(-1)
    return Series(steps.masked_fill(behind.unsqueeze(-1), 0.0), lengths)


def check_lengths(name: str, target: Series, needed: Tensor | None) -> Series:
    """Return the target with lengths that are those of a series, and harmless contents where its sample is empty.

    Args:
        name: Id of the algorithm.
        target: The series of the target.
        needed: [batch], which samples have a prediction; `None` for all.

    Raises:
        ContractError: A target has no time step, or more than its series.
    """
    steps, lengths, *rest = target
    m = steps.shape[1]
    lengths = lengths if target.empty is None else lengths.masked_fill(target.empty, 0)
    if needed is not None:
        lengths = torch.where(needed, lengths, 1)
        steps = torch.where(needed[:, None, None], steps, 0.0)
    right = (lengths >= 1) & (lengths <= m)
    if not holds(right):
        samples = (~right).nonzero()[:, 0].tolist()
        found = int(lengths[samples[0]])
        raise ContractError(
            f"{name}: the lengths of the target are outside of 1 … {m} in {len(samples)} of {len(right)} samples: "
            f"{shorten(samples)}; the first is {found}. A target needs at least one time step; leave samples without "
            f"one out of the batch."
        )
    return Series(steps, lengths.clamp(1, m), *rest)


def _in_form(steps: Tensor, mask: Tensor | None) -> Series:
    batch, n, channels = steps.shape
    if mask is None:
        return Series(steps, torch.full((batch,), n, dtype=torch.int64, device=steps.device))
    padded = mask.all(-1)
    order = padded.to(torch.int8).argsort(dim=-1, stable=True)
    index = order.unsqueeze(-1).expand_as(steps)
    steps, kept = steps.masked_fill(mask, 0.0).gather(1, index), (~mask).gather(1, index)
    lengths = (~padded).sum(-1)
    return Series(
        steps,
        lengths.clamp(min=1),
        kept.to(steps.dtype) if channels > 1 else None,
        order.argsort(-1),
        lengths == 0,
    )
