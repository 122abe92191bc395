"""Reach of a loss's gradients: precision in float32, and the share of the items whose gradient vanishes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from nlcore.capabilities import Capabilities, read_capabilities
from nlcore.diagnosis.precision import precision_figures
from nlcore.evaluation import per_sample
from nlcore.newton.derivatives import differentiate
from nlcore.newton.problem import Problem

__all__ = ["Reach"]

_SAMPLES, _FEWEST, _ITEMS, _WORK = 64, 12, 12, 2**23
"""Samples at most; for the vanishing gradients at least so many, with so many items of each, in losses that are taken
to cost the square of the number of outputs."""

_SMALL = 0.01
_MOVES = (-0.25, 0.25, 0.5, 0.75, 1.25)
"""Where an output is moved to, in the range of its sample: 0 is the smallest output and 1 the largest."""


class Reach:
    """Outputs and targets at which losses are compared.

    Args:
        prediction: [N, *event].
        target: As for the loss.
        mask: [N, *event], True at padded outputs.
        context: As for the loss.
    """

    def __init__(self, prediction: Tensor, target: Any, mask: Tensor | None, context: Any) -> None:
        self._all = (prediction, target, mask, context)
        size = prediction[0].numel()
        most = max(_FEWEST, _WORK // (min(_ITEMS, size) * len(_MOVES) * size**2))
        some = _rows(self._all, torch.arange(min(_SAMPLES, most, len(prediction))))
        self._some = (some[0].double(), *some[1:])
        source = torch.Generator().manual_seed(0)
        flat = per_sample(self._some[0])
        order = torch.rand(flat.shape, generator=source).to(flat.device)
        if some[2] is not None:
            order = order.masked_fill(per_sample(some[2]), -1.0)
        self._items = order.argsort(1, descending=True)[:, :_ITEMS]
        self._real = order.gather(1, self._items) >= 0

    def at(self, loss: Any) -> tuple[float, float, float]:
        """Return the largest relative error of a float32 gradient, the share of wrong ones, and of vanished items.

        Raises:
            NlcoreError: The loss refuses these outputs.
        """
        read = read_capabilities(loss)
        slopes = self._slopes(loss)
        vanished = self._unforeseen(read) if slopes is None else self._flat(slopes)
        return *self._precision(read), vanished

    def _precision(self, read: Capabilities) -> tuple[float, float]:
        if read.traits.stochastic:  # it draws other numbers in float32
            return math.nan, math.nan
        problem = _problem(read, _rows(self._all, torch.arange(min(_SAMPLES, len(self._all[0])))))

        def gradients(flat: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
            cast = problem.at(flat).in_dtype(dtype)
            found = differentiate(cast, "gradient")
            return found.value, cast.samples.kept(found.gradient)

        found = precision_figures(gradients, problem.prediction)
        return (math.inf, 1.0) if found is None else (found.gradient_error, found.wrong)

    def _slopes(self, loss: Any) -> Tensor | None:
        """Return the derivative of the relaxed rank of each item with respect to its own score, [S, items]."""
        rank, scores, mask = getattr(loss, "rank", None), self._some[0], self._some[2]
        if not callable(rank) or scores.ndim != 2:
            return None
        count = self._items.shape[1]
        wide = scores.repeat_interleave(count, 0).requires_grad_()
        masked = {} if mask is None else {"mask": mask.repeat_interleave(count, 0)}
        own = self._items.reshape(-1, 1)
        with torch.enable_grad():
            ranks = rank(wide, **masked).gather(1, own).sum()
        if not ranks.requires_grad:
            return torch.zeros_like(self._items, dtype=scores.dtype)
        gradient: Tensor = torch.autograd.grad(ranks, wide)[0]
        return gradient.gather(1, own).reshape(self._items.shape)

    def _flat(self, slopes: Tensor) -> float:
        """Return the share of slopes that are far below the mean slope of the true ranks."""
        low, high, count = self._range()
        mean = (count - 1) / (high - low).clamp(min=1e-300)
        counts = self._real & (count > 1)
        return _share((slopes.abs() < _SMALL * mean) & counts, counts)

    def _unforeseen(self, read: Capabilities) -> float:
        """Return the share of the outputs whose move would lower the loss and whose gradient does not show it."""
        here = differentiate(_problem(read, self._some), "gradient")
        low, high, _ = self._range()
        width = high - low
        flat, items = per_sample(self._some[0]), self._items
        moves = torch.tensor(_MOVES, dtype=flat.dtype, device=flat.device)
        goals = low + width * moves
        if bool((flat > 0).all()):  # costs, which have to stay positive
            goals = torch.maximum(goals, low / 2)
        count = items.shape[1] * len(moves)
        moved = flat.repeat_interleave(count, 0)
        moved.scatter_(
            1, items.repeat_interleave(len(moves), 1).reshape(-1, 1), goals.repeat(1, items.shape[1]).reshape(-1, 1)
        )
        rows = torch.arange(len(flat), device=flat.device).repeat_interleave(count)
        whole = _rows(self._some, rows)
        with torch.no_grad():
            problem = _problem(read, (moved.reshape(whole[0].shape), *whole[1:]))
            values = problem.evaluation.value(problem.prediction).reshape(*items.shape, len(moves))
        fall = here.value.unsqueeze(1) - values.amin(2)
        matters = self._real & (fall > _SMALL * here.value.abs().unsqueeze(1))
        forecast = here.gradient.gather(1, items).abs() * width
        return _share(matters & (forecast < _SMALL * fall), matters)

    def _range(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the smallest and the largest output of each sample and the number of its outputs, each [S, 1]."""
        flat, mask = per_sample(self._some[0]), self._some[2]
        hidden = torch.zeros_like(flat, dtype=torch.bool) if mask is None else per_sample(mask)
        low = flat.masked_fill(hidden, torch.inf).amin(1, keepdim=True)
        high = flat.masked_fill(hidden, -torch.inf).amax(1, keepdim=True)
        return low, high, (~hidden).sum(1, keepdim=True)


def _rows(inputs: Any, rows: Tensor) -> Any:
    """Return some samples of nested tensors."""
    return pytree.tree_map(lambda leaf: leaf[rows.to(leaf.device)] if isinstance(leaf, Tensor) else leaf, inputs)


def _problem(read: Capabilities, inputs: Any) -> Problem:
    prediction, target, mask, context = inputs
    source = torch.Generator(prediction.device).manual_seed(0) if read.traits.stochastic else None
    problem = Problem.of(read, prediction, target, mask=mask, context=context, generator=source, raising=False)
    return problem.in_dtype(torch.float64) if prediction.dtype == torch.float64 else problem


def _share(some: Tensor, all: Tensor) -> float:
    return float(some.sum() / all.sum()) if bool(all.any()) else 0.0
