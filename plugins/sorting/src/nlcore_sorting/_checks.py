"""Checks of scores and target ranks, with messages that name the algorithm, the values and the remedy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError, shorten

__all__ = ["check_ranking", "check_scores", "working"]


def working(scores: Tensor) -> Tensor:
    """Return `scores` in the precision of the computation: float64 as it is, everything else float32."""
    return scores if scores.dtype == torch.float64 else scores.to(torch.float32)


def check_scores(name: str, scores: Tensor) -> None:
    """Raise unless `scores` is floating point and [..., n] with at least one item."""
    if not isinstance(scores, Tensor):
        raise ContractError(f"{name}: the scores are a {type(scores).__name__}, not a tensor.")
    if not scores.is_floating_point():
        raise DtypeError(f"{name}: the scores are {scores.dtype}, but floating point is needed. Call .float() on them.")
    if scores.ndim == 0 or scores.shape[-1] == 0:
        raise ShapeError(f"{name}: the scores have shape {list(scores.shape)}, but [..., n] with n ≥ 1 is needed.")


def check_ranking(name: str, prediction: Tensor, target: Tensor, *, limit: float) -> None:
    """Raise unless `prediction` holds lists of scores and `target` their ranks.

    The values are looked at in one go, so that a device is synchronised with once. Where they cannot be read, under
    `torch.vmap` and `torch.compile`, shapes and dtypes alone are checked.

    Args:
        name: The algorithm's id.
        prediction: [batch, n], in the precision of the computation.
        target: [batch, n], int64, every row a permutation of 0 … n − 1.
        limit: Largest magnitude of a score for which nothing overflows.

    Raises:
        ContractError: The target is no tensor, or its rows are no permutations.
        ShapeError: The prediction is not [batch, n], or the target has another shape.
        DtypeError: The prediction is not floating point, or the target not int64.
        DeviceError: Prediction and target are on different devices.
        NonFiniteError: A score is NaN, infinite, or so large that the loss would overflow.
    """
    check_scores(name, prediction)
    if prediction.ndim != 2:
        raise ShapeError(
            f"{name}: prediction has shape {list(prediction.shape)}, but [batch, n] is needed: one list a row."
        )
    if not isinstance(target, Tensor):
        raise ContractError(
            f"{name}: target is a {type(target).__name__}, but a tensor of ranks is needed; "
            "nlcore_sorting.ranks(values) makes it."
        )
    if target.dtype != torch.int64:
        raise DtypeError(
            f"{name}: target is {target.dtype}, but int64 ranks are needed; nlcore_sorting.ranks(values) makes them."
        )
    if target.shape != prediction.shape:
        raise ShapeError(
            f"{name}: target has shape {list(target.shape)}, prediction {list(prediction.shape)}; both are [batch, n], "
            "target[b, j] being the place of item j of list b."
        )
    if target.device != prediction.device:
        raise DeviceError(
            f"{name}: target is on {target.device}, prediction on {prediction.device}. Move one with .to(device)."
        )
    if torch.compiler.is_compiling():
        return
    scores = prediction.detach()
    fine = scores.abs() <= limit
    places = torch.arange(target.shape[-1], device=target.device)
    try:
        if bool((fine & (target.sort(dim=-1).values == places)).all()):
            return
    except RuntimeError:  # the values of a tensor that a transform has batched cannot be read
        return
    _explain(name, scores, target, fine, limit)


def _explain(name: str, scores: Tensor, target: Tensor, fine: Tensor, limit: float) -> None:
    """Raise the error for values that are known to be wrong."""
    samples = (~fine).any(dim=-1).nonzero()[:, 0].tolist()
    if samples:
        finite = bool(scores.isfinite().all())
        fault = f"larger than {limit:.3g}, where the loss overflows" if finite else "NaN or infinite"
        hint = "scale them down, or use float64" if finite else "look at the network's output and at the learning rate"
        first = scores[samples[0]].tolist()
        raise NonFiniteError(
            f"{name}: scores of samples {shorten(samples)} are {fault}; sample {samples[0]} is "
            f"[{shorten([f'{score:.6g}' for score in first])}]: {hint}.",
            samples,
        )
    n = target.shape[-1]
    wrong = (target.sort(dim=-1).values != torch.arange(n, device=target.device)).any(dim=-1)
    rows = wrong.nonzero()[:, 0].tolist()
    looks = shorten(target[rows[0]].tolist(), limit=16)
    raise ContractError(
        f"{name}: target of samples {shorten(rows)} is no permutation of 0 … {n - 1}; sample {rows[0]} is [{looks}]. "
        "target[b, j] is the 0-based place of item j in ascending order: nlcore_sorting.ranks(values) makes it from "
        "values, ties by index."
    )
