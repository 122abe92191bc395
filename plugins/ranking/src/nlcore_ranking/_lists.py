"""Lists of items: validation, padding, and what is computed on every list."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nlcore.errors import ContractError, NonFiniteError, shorten
from nlcore.inputs import check_inputs, holds, working

__all__ = ["RELEVANCE", "Lists", "descending_positions", "laplacian"]

RELEVANCE = "[batch, n] real"
"""Shape and dtype of a target that is the relevance of every item."""

_SCORES = "[batch, n] floating"


@dataclass(frozen=True, slots=True)
class Lists:
    """A batch of lists in working precision.

    Attributes:
        scores: [batch, n], 0 at padded items, so that these get no gradient.
        relevance: [batch, n], 0 at padded items; one-hot for classes.
        valid: bool [batch, n], False at padded items.
        mask: The opposite of `valid`; `None` when no mask was given, and all items are real.
    """

    scores: Tensor
    relevance: Tensor
    valid: Tensor
    mask: Tensor | None

    @classmethod
    def check(cls, name: str, scores: Tensor, target: Tensor, mask: Tensor | None, *, needed: str = RELEVANCE) -> None:
        """Raise unless scores, target and mask are tensors that fit together.

        Args:
            name: Id of the algorithm; the message begins with it.
            scores: [batch, n], n ≥ 1.
            target: As `needed` says.
            mask: [batch, n] bool, or `None`.
            needed: Shape and dtype of the target.
        """
        advice = ("target[b, j] is the relevance of item j of list b.",) if needed == RELEVANCE else ()
        padding = (mask, "[batch, n] bool or None", "It is True at padded items.")
        check_inputs(name, prediction=(scores, _SCORES), target=(target, needed, *advice), mask=padding)

    @classmethod
    def of(
        cls, name: str, scores: Tensor, target: Tensor, mask: Tensor | None, *, limit: float, lowest: float = 0.0
    ) -> Lists:
        """Validate the values of lists that fit together, and blank their padding.

        A list of nothing but padding becomes one of a single item with score and relevance 0, so that nothing is
        divided by zero; it has no gradient.

        Args:
            name: Id of the algorithm.
            scores: [batch, n].
            target: [batch, n] relevance, or [batch] classes.
            mask: [batch, n] bool, True at padded items.
            limit: Largest magnitude of a score for which nothing overflows.
            lowest: Smallest relevance; −∞ for values of either sign.

        Raises:
            ContractError: A grade is negative, a class out of range or padded.
            NonFiniteError: A score or a grade is NaN or infinite, or a score so large that the loss would overflow.
        """
        scores = working(scores)
        valid = torch.ones_like(scores, dtype=torch.bool) if mask is None else ~mask
        if target.ndim == 2:
            target = target.to(scores.dtype)
        _check_values(name, scores.detach(), target.detach(), valid, limit=limit, lowest=lowest)
        if target.ndim == 1:
            classes = target if mask is None else target.masked_fill(mask.all(dim=1), 0)
            positions = torch.arange(scores.shape[1], device=scores.device)
            target = (classes.unsqueeze(1) == positions).to(scores.dtype)  # one_hot reads values, which vmap forbids
        if mask is None:
            return cls(scores, target, valid, None)
        scores, target = scores.masked_fill(mask, 0.0), target.masked_fill(mask, 0.0)
        stand_in = mask.all(dim=1, keepdim=True) & (torch.arange(mask.shape[1], device=mask.device) == 0)
        return cls(scores, target, valid | stand_in, mask & ~stand_in)

    @property
    def lengths(self) -> Tensor:
        """[batch], the number of items of each list, in the dtype of the scores."""
        return self.valid.sum(dim=1).to(self.scores.dtype)

    @property
    def lowered(self) -> Tensor:
        """[batch, n], the scores, with a number far below all of them at padded items."""
        return torch.where(self.valid, self.scores, torch.finfo(self.scores.dtype).min / 2)

    @property
    def shifted(self) -> Tensor:
        """[batch, n], the scores less the middle of their range, so that a large offset costs no precision."""
        scores, lowest = self.scores.detach(), torch.finfo(self.scores.dtype).min / 2
        high, low = (torch.where(self.valid, s, lowest).amax(dim=1, keepdim=True) for s in (scores, -scores))
        return self.scores - (high / 2 - low / 2)

    def preferred(self) -> Tensor:
        """Return the pairs with an order, bool [batch, n, n]: item i is more relevant than item j."""
        better = self.relevance.unsqueeze(2) > self.relevance.unsqueeze(1)
        return better & self.valid.unsqueeze(2) & self.valid.unsqueeze(1)

    def in_front(self) -> Lists:
        """Return the lists with the real items in front, in their order."""
        if self.mask is None:
            return self
        order = self.mask.to(torch.int8).argsort(dim=1, stable=True)
        scores, relevance, mask = (t.gather(1, order) for t in (self.scores, self.relevance, self.mask))
        return Lists(scores, relevance, ~mask, mask)


def descending_positions(lists: Lists) -> Tensor:
    """Return the 0-based position of every item by descending score, int64 [batch, n]; padded items come last.

    Equal scores are ordered by index.
    """
    return lists.lowered.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def laplacian(weights: Tensor) -> Tensor:
    """Return the Laplacian Σ_{i<j} w_ij (e_i − e_j)(e_i − e_j)ᵀ of symmetric weights, positive semi-definite.

    The diagonal is the sum of the weights and not a difference from 1, so that its rows add up to 0 and nothing
    cancels where the weights are tiny.

    Args:
        weights: [..., n, n], symmetric; the diagonal is not read.
    """
    between = weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))
    return torch.diag_embed(between.sum(dim=-1)) - between


def _check_values(name: str, scores: Tensor, target: Tensor, valid: Tensor, *, limit: float, lowest: float) -> None:
    """Raise unless scores and targets are in range; synchronises with the device once, or not under transforms.

    Args:
        name: Id of the algorithm.
        scores: [batch, n].
        target: [batch, n] relevance, or [batch] classes.
        valid: bool [batch, n], False at padded items. A list without items is not checked.
        limit: Largest magnitude of a score.
        lowest: Smallest relevance.
    """
    n = valid.shape[1]
    if target.ndim == 1:
        inside = (target >= 0) & (target < n)
        target_fits = (inside & valid.gather(1, target.clamp(0, n - 1)[:, None])[:, 0]) | ~valid.any(dim=1)
    else:
        target_fits = ((target >= lowest) & (target.abs() < torch.inf) | ~valid).all(dim=1)
    scores_fit = ((scores.abs() <= limit) | ~valid).all(dim=1)
    if holds(torch.stack([scores_fit, target_fits])):
        return
    if bool(scores_fit.all()):
        raise _wrong_target(name, (~target_fits).nonzero()[:, 0].tolist(), target, valid)
    rows = (~scores_fit).nonzero()[:, 0].tolist()
    finite = bool(scores[valid].isfinite().all())
    fault = f"larger than {limit:.3g}, where the loss overflows" if finite else "NaN or infinite"
    hint = "scale them down, or use float64" if finite else "check the network's output and the learning rate"
    shown = _shown(scores[rows[0]][valid[rows[0]]])
    raise NonFiniteError(
        f"{name}: scores of samples {shorten(rows)} are {fault}; sample {rows[0]} is [{shown}]: {hint}.", rows
    )


def _wrong_target(name: str, rows: list[int], target: Tensor, valid: Tensor) -> ContractError | NonFiniteError:
    where = f"{name}: target of samples {shorten(rows)}"
    if target.ndim == 1:
        return ContractError(
            f"{where} is not a class among 0 … {valid.shape[1] - 1}, or one that is padded; sample {rows[0]} has "
            f"{int(target[rows[0]])}."
        )
    grades = target[rows[0]][valid[rows[0]]]
    if not bool(grades.isfinite().all()):
        return NonFiniteError(f"{where} is NaN or infinite; sample {rows[0]} is [{_shown(grades)}].", rows)
    return ContractError(
        f"{where} has negative relevance; sample {rows[0]} is [{_shown(grades)}]. Grades are numbers from 0 on; mark "
        "padding with mask=, not with −1."
    )


def _shown(values: Tensor) -> str:
    return shorten([f"{value:.6g}" for value in values.tolist()])
