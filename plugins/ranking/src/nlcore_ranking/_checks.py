"""Checks of scores, relevance, classes and masks, with messages that name the algorithm, the values and the remedy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, NonFiniteError, shorten
from nlcore.inputs import check_inputs, holds

__all__ = ["check_classes", "check_mask", "check_relevance", "check_scores", "check_values"]

_SCORES = "[batch, n] floating"
_GRADES = "target[b, j] is the relevance of item j of list b."


def check_scores(name: str, scores: Tensor) -> None:
    """Raise unless `scores` is floating point and [batch, n] with n ≥ 1."""
    check_inputs(name, prediction=(scores, _SCORES))


def check_relevance(name: str, scores: Tensor, relevance: Tensor) -> None:
    """Raise unless `relevance` holds one real number for every score."""
    check_inputs(name, prediction=(scores, _SCORES), target=(relevance, "[batch, n] real", _GRADES))


def check_classes(name: str, scores: Tensor, classes: Tensor) -> None:
    """Raise unless `classes` holds one class for every list of scores."""
    check_inputs(name, prediction=(scores, _SCORES), target=(classes, "[batch] int64"))


def check_mask(name: str, scores: Tensor, mask: Tensor) -> None:
    """Raise unless `mask` is bool, of the shape of the scores and beside them."""
    check_inputs(name, prediction=(scores, _SCORES), mask=(mask, "[batch, n] bool", "It is True at padded items."))


def check_values(name: str, scores: Tensor, target: Tensor, valid: Tensor, *, limit: float) -> None:
    """Raise unless the scores and the target of every list are in range.

    The values are looked at in one go, so that a device is synchronised with once. Where they cannot be read, under
    `torch.vmap` and `torch.compile`, they are not checked.

    Args:
        name: The algorithm's id.
        scores: [batch, n], in working precision.
        target: [batch, n] relevance in working precision, or [batch] classes.
        valid: bool [batch, n], False at padded items. Nothing of a list without items is looked at.
        limit: Largest magnitude of a score for which nothing overflows.

    Raises:
        ContractError: A grade is negative, a class out of range or padded.
        NonFiniteError: A score or a grade is NaN or infinite, or a score so large that the loss would overflow.
    """
    scores, target = scores.detach(), target.detach()
    faults = {
        "scores": ((scores.abs() <= limit) | ~valid).all(dim=1),
        "target": _classes_fine(target, valid) if target.ndim == 1 else _relevance_fine(target, valid),
    }
    if holds(torch.stack(list(faults.values()))):
        return
    rows = {what: (~fine).nonzero()[:, 0].tolist() for what, fine in faults.items()}
    if rows["scores"]:
        raise _wrong_scores(name, rows["scores"], scores, valid, limit)
    raise _wrong_target(name, rows["target"], target, valid)


def _relevance_fine(relevance: Tensor, valid: Tensor) -> Tensor:
    return ((relevance >= 0) & (relevance < torch.inf) | ~valid).all(dim=1)


def _classes_fine(classes: Tensor, valid: Tensor) -> Tensor:
    n = valid.shape[1]
    inside = (classes >= 0) & (classes < n)
    return (inside & valid.gather(1, classes.clamp(0, n - 1)[:, None])[:, 0]) | ~valid.any(dim=1)


def _wrong_scores(name: str, rows: list[int], scores: Tensor, valid: Tensor, limit: float) -> NonFiniteError:
    looks = shorten([f"{score:.6g}" for score in scores[rows[0]][valid[rows[0]]].tolist()])
    finite = bool(scores[valid].isfinite().all())
    fault = f"larger than {limit:.3g}, where the loss overflows" if finite else "NaN or infinite"
    hint = "scale them down, or use float64" if finite else "look at the network's output and at the learning rate"
    return NonFiniteError(
        f"{name}: scores of samples {shorten(rows)} are {fault}; sample {rows[0]} is [{looks}]: {hint}.", rows
    )


def _wrong_target(name: str, rows: list[int], target: Tensor, valid: Tensor) -> ContractError | NonFiniteError:
    where = f"target of samples {shorten(rows)}"
    if target.ndim == 1:
        return ContractError(
            f"{name}: {where} is no class among 0 … {valid.shape[1] - 1}, or one that is padded; sample {rows[0]} has "
            f"{int(target[rows[0]])}."
        )
    grades = target[rows[0]][valid[rows[0]]]
    looks = shorten([f"{grade:.6g}" for grade in grades.tolist()])
    if not bool(grades.isfinite().all()):
        return NonFiniteError(f"{name}: {where} is NaN or infinite; sample {rows[0]} is [{looks}].", rows)
    return ContractError(
        f"{name}: {where} has negative relevance; sample {rows[0]} is [{looks}]. Grades are numbers from 0 on; say "
        "what is padding with mask=, not with −1."
    )
