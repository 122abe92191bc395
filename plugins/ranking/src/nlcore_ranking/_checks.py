"""Checks of scores, relevance, classes and masks, with messages that name the algorithm, the values and the remedy."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore.errors import ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError, shorten

__all__ = ["check_classes", "check_mask", "check_relevance", "check_scores", "check_values", "working"]


def working(tensor: Tensor) -> Tensor:
    """Return `tensor` in the precision of the computation: float64 as it is, everything else float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.to(torch.float32)


def check_scores(name: str, scores: Tensor) -> None:
    """Raise unless `scores` is floating point and [batch, n] with n ≥ 1.

    Raises:
        ContractError: It is no tensor.
        DtypeError: It is not floating point.
        ShapeError: It is not [batch, n], or the lists have no items.
    """
    if not isinstance(scores, Tensor):
        raise ContractError(
            f"{name}: prediction is a {type(scores).__name__}; a tensor of scores [batch, n] is needed."
        )
    if not scores.is_floating_point():
        raise DtypeError(f"{name}: prediction is {scores.dtype}, but floating point is needed. Call .float() on it.")
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ShapeError(
            f"{name}: prediction has shape {list(scores.shape)}, but [batch, n] with n ≥ 1 is needed: one list a row, "
            "a single list as prediction[None]."
        )


def check_relevance(name: str, scores: Tensor, relevance: Tensor) -> None:
    """Raise unless `relevance` holds one real number for every score.

    Raises:
        ContractError: It is no tensor.
        DtypeError: It is bool or complex.
        ShapeError: It has another shape than the scores.
        DeviceError: It is elsewhere.
    """
    if not isinstance(relevance, Tensor):
        raise ContractError(f"{name}: target is a {type(relevance).__name__}; a tensor of grades [batch, n] is needed.")
    if relevance.dtype == torch.bool or relevance.is_complex():
        raise DtypeError(f"{name}: target is {relevance.dtype}, but real grades are needed. Call .float() on them.")
    if relevance.shape != scores.shape:
        raise ShapeError(
            f"{name}: target has shape {list(relevance.shape)}, prediction {list(scores.shape)}; both are [batch, n], "
            "target[b, j] being the relevance of item j of list b."
        )
    _check_device(name, "target", relevance, scores)


def check_classes(name: str, scores: Tensor, classes: Tensor) -> None:
    """Raise unless `classes` holds one class for every list of scores.

    Raises:
        ContractError: It is no tensor.
        DtypeError: It is not int64.
        ShapeError: It is not [batch].
        DeviceError: It is elsewhere.
    """
    if not isinstance(classes, Tensor):
        raise ContractError(f"{name}: target is a {type(classes).__name__}; a tensor of classes [batch] is needed.")
    if classes.dtype != torch.int64:
        raise DtypeError(f"{name}: target is {classes.dtype}, but int64 classes are needed. Call .long() on them.")
    if classes.shape != scores.shape[:1]:
        raise ShapeError(
            f"{name}: target has shape {list(classes.shape)}, prediction {list(scores.shape)}; one class for every row "
            f"is needed, [{scores.shape[0]}]."
        )
    _check_device(name, "target", classes, scores)


def check_mask(name: str, scores: Tensor, mask: Tensor) -> None:
    """Raise unless `mask` is bool, of the shape of the scores and beside them.

    Raises:
        ContractError: It is no tensor.
        DtypeError: It is not bool.
        ShapeError: It has another shape than the scores.
        DeviceError: It is elsewhere.
    """
    if not isinstance(mask, Tensor):
        raise ContractError(f"{name}: mask is a {type(mask).__name__}; a bool tensor [batch, n] is needed.")
    if mask.dtype != torch.bool:
        raise DtypeError(f"{name}: mask is {mask.dtype}, but bool is needed, True at padded items. Call .bool() on it.")
    if mask.shape != scores.shape:
        raise ShapeError(
            f"{name}: mask has shape {list(mask.shape)}, prediction {list(scores.shape)}; both are [batch, n]."
        )
    _check_device(name, "mask", mask, scores)


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
    if torch.compiler.is_compiling():
        return
    scores, target = scores.detach(), target.detach()
    faults = {
        "scores": ((scores.abs() <= limit) | ~valid).all(dim=1),
        "target": _classes_fine(target, valid) if target.ndim == 1 else _relevance_fine(target, valid),
    }
    try:
        if bool(torch.stack(list(faults.values())).all()):
            return
    except RuntimeError:  # the values of a tensor that a transform has batched cannot be read
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


def _check_device(name: str, what: str, tensor: Tensor, scores: Tensor) -> None:
    if tensor.device != scores.device:
        raise DeviceError(
            f"{name}: {what} is on {tensor.device}, prediction on {scores.device}. Move one with .to(device)."
        )


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
