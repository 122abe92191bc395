"""Checks of scores and target ranks, with messages that name the algorithm, the values and the remedy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, NonFiniteError, ShapeError, shorten
from nlcore.inputs import check_inputs, holds, read

__all__ = ["check_finite", "check_mask", "check_ranking", "check_scores"]

_RANKS = "nlcore_sorting.ranks(values) makes it, target[b, j] being the rank of item j of list b."


def check_scores(name: str, scores: Tensor, dim: int = -1) -> None:
    """Raise unless `scores` is floating point and has at least one item along `dim`."""
    fits = isinstance(scores, Tensor) and scores.is_floating_point() and -scores.ndim <= dim < scores.ndim
    if fits and scores.shape[dim] > 0:
        return  # the common case; the rest finds the message
    check_inputs(name, scores=(scores, "[..., n] floating" if dim == -1 else "[...] floating"))
    if not -scores.ndim <= dim < scores.ndim:
        raise ShapeError(f"{name}: dim = {dim} is none of the dimensions of scores of shape {list(scores.shape)}.")
    if scores.shape[dim] == 0:
        raise ShapeError(f"{name}: the scores have shape {list(scores.shape)}, and no item along dim = {dim}.")


def check_mask(name: str, mask: Tensor, scores: Tensor) -> None:
    """Raise unless `mask` is a bool tensor like `scores`."""
    check_inputs(name, scores=(scores, "[...]"), mask=(mask, "[...] bool", "It is True at padded items."))


def check_finite(name: str, scores: Tensor, limit: float) -> None:
    """Raise where a score is NaN, infinite or so large that the computation would overflow.

    Where values cannot be read, under `torch.vmap` and `torch.compile`, nothing is checked.

    Args:
        name: The algorithm's id.
        scores: [..., n], in the precision of the computation.
        limit: Largest magnitude of a score for which nothing overflows.

    Raises:
        NonFiniteError: With the indices of the lists at fault, counted along the flattened leading dimensions.
    """
    values = scores.detach()
    if values.numel():
        largest = read(values.abs().max())
        if largest is not None and not largest <= limit:
            _explain_scores(name, values, limit)


def check_ranking(name: str, prediction: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
    """Raise unless `target` holds the ranks of lists of scores.

    The values are read in one go, so that a device is synchronised once. Where they cannot be read, under
    `torch.vmap` and `torch.compile`, shapes and dtypes alone are checked.

    Args:
        name: The algorithm's id.
        prediction: [batch, n], checked as scores.
        target: [batch, n], int64, every row a permutation of 0 … n − 1; with a mask, different numbers.
        mask: [batch, n], True at padded items.

    Raises:
        ContractError: The target is not a tensor, or a row is not a permutation.
        ShapeError: The prediction is not [batch, n], or the target has another shape.
        DtypeError: The target is not int64.
        DeviceError: Prediction and target are on different devices.
    """
    check_inputs(name, prediction=(prediction, "[batch, n]"), target=(target, "[batch, n] int64", _RANKS))
    right = _right(target, mask)
    if not holds(right):
        _explain_ranks(name, target, (~right).any(dim=-1), masked=mask is not None)


def _right(target: Tensor, mask: Tensor | None) -> Tensor:
    """Return where the sorted ranks are as they should be."""
    if mask is None:
        return target.sort(dim=-1).values == torch.arange(target.shape[-1], device=target.device)
    last = torch.iinfo(torch.int64).max
    ordered = target.masked_fill(mask, last).sort(dim=-1).values
    return (ordered.diff(dim=-1) > 0) | (ordered[..., 1:] == last)


def _explain_scores(name: str, scores: Tensor, limit: float) -> None:
    """Raise the error for scores that are known to be wrong."""
    rows = scores.reshape(-1, scores.shape[-1])
    samples = (~(rows.abs() <= limit)).any(dim=-1).nonzero()[:, 0].tolist()
    finite = bool(rows.isfinite().all())
    fault = f"larger than {limit:.3g}, where the loss overflows" if finite else "NaN or infinite"
    hint = "scale them down, or use float64" if finite else "look at the network's output and at the learning rate"
    first = rows[samples[0]].tolist()
    raise NonFiniteError(
        f"{name}: scores of samples {shorten(samples)} are {fault}; sample {samples[0]} is "
        f"[{shorten([f'{score:.6g}' for score in first])}]: {hint}.",
        samples,
    )


def _explain_ranks(name: str, target: Tensor, wrong: Tensor, *, masked: bool) -> None:
    """Raise the error for ranks that are known to be wrong."""
    n = target.shape[-1]
    rows = wrong.nonzero()[:, 0].tolist()
    looks = shorten(target[rows[0]].tolist(), limit=16)
    fault = "gives two items the same rank" if masked else f"is not a permutation of 0 … {n - 1}"
    raise ContractError(
        f"{name}: target of samples {shorten(rows)} {fault}; sample {rows[0]} is [{looks}]. "
        "target[b, j] is the 0-based rank of item j in ascending order: nlcore_sorting.ranks(values) makes it from "
        "values, ties by index."
    )
