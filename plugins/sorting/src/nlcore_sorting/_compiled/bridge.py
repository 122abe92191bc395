"""Access to the kernels: every kernel as an operator on tensors.

The kernels themselves are imported here alone, and only when one is used. They run on CPU tensors and compute a
value and its first derivative; `nlcore_sorting._dispatch` chooses between them and torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from nlcore_sorting._network.wiring import Operator, Rule, depth, partners
from nlcore_sorting.config import Network, Objective, Regularization

__all__ = [
    "Compiled",
    "network",
    "network_hessians",
    "projection",
    "softmax_sort",
]


@cache
def _kernels(module: str) -> Any:
    return import_module(f"nlcore_sorting._compiled.{module}")


class Compiled(NamedTuple):
    """An operator on lists with its first derivative, compiled.

    Attributes:
        passes: The forward and the backward pass. Both take an array with the batch in front (the scores, or the
            derivative with respect to the result), the options, the memory, and the array to write to.
        options: The options of the passes for lists of a size [batch, n].
        memory: Allocates what the forward pass leaves to the backward pass, given the scores [batch, n] and whether
            there will be a backward pass.
        shape: Shape of the result of a list of n items.
        ends: Whether the backward pass also reads the scores and the result, which it takes after the memory.
    """

    passes: tuple[Callable[..., None], Callable[..., None]]
    options: Callable[[int, int], tuple[Any, ...]]
    memory: Callable[[Tensor, bool], Sequence[Tensor]]
    shape: Callable[[int], tuple[int, ...]]
    ends: bool = False

    def forward(self, scores: Tensor, *, keep: bool) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the result for `scores` [..., n], and the memory."""
        *leading, n = scores.shape
        rows, shape = scores.detach().reshape(-1, n).contiguous(), self.shape(n)
        batch = rows.shape[0]
        kept, result = self.memory(rows, keep), rows.new_empty(batch, *shape)
        self._run(0, rows, (batch, n), kept, result)
        return result.view(*leading, *shape), (*kept, rows, result) if self.ends else kept

    def backward(self, grad: Tensor, kept: Sequence[Tensor]) -> Tensor:
        """Return the derivative with respect to the scores, given that with respect to the result."""
        n = grad.shape[-1]
        shape = self.shape(n)
        rows = grad.reshape(-1, *shape).contiguous()
        batch = rows.shape[0]
        result = rows.new_empty(batch, n)
        self._run(1, rows, (batch, n), kept, result)
        return result.view(*grad.shape[: -len(shape)], n)

    def _run(self, which: int, rows: Tensor, size: tuple[int, int], kept: Sequence[Tensor], result: Tensor) -> None:
        memory = tuple([tensor.numpy() for tensor in kept])
        self.passes[which](rows.numpy(), *self.options(*size), memory, result.numpy())


def softmax_sort(relaxation: Literal["neuralsort", "softsort"], temperature: float, length: Tensor | None) -> Compiled:
    """Return the matrix of NeuralSort or SoftSort; it keeps the order of the items, the scores and the matrix."""
    kernels = _kernels("softmax")
    return Compiled(
        (getattr(kernels, relaxation), getattr(kernels, f"{relaxation}_slopes")),
        lambda batch, n: (_lengths(length, batch, n), 1 / temperature),
        lambda rows, keep: (torch.empty_like(rows, dtype=torch.int32),),
        lambda n: (n, n),
        ends=True,
    )


def projection(
    operator: Literal["sort", "rank"], regularization: Regularization, strength: float, length: Tensor | None
) -> Compiled:
    """Return soft sort or soft rank; it keeps the order, the blocks and, with `"kl"`, shares: O(n) numbers a list."""

    def memory(rows: Tensor, keep: bool) -> Sequence[Tensor]:
        kept = rows.new_empty(2, *rows.shape, dtype=torch.int32).unbind()
        return (*kept, torch.empty_like(rows, dtype=torch.float64)) if regularization == "kl" else kept

    forward = getattr(_kernels(f"projection_{regularization}"), operator)
    return Compiled(
        (forward, getattr(_kernels("pooling"), f"{operator}_slopes")),
        lambda batch, n: (_lengths(length, batch, n), strength),
        memory,
        lambda n: (n,),
    )


def network(operator: Operator, rule: Rule, length: Tensor | None, places: Tensor | None = None) -> Compiled:
    """Return an operator of a sorting network; it keeps two numbers for every comparator, O(layers·n) per list.

    Args:
        operator: Name of the operator.
        rule: The network and its weights.
        length: [..., 1], the number of real items of every list; `None` for all.
        places: [..., k] for rows, [..., n] for entries, int64.
    """

    def options(batch: int, n: int) -> tuple[Any, ...]:
        known = _network_options(rule, length, batch, n)
        if operator == "sort":
            return known
        chosen = _every(1 if operator == "rank" else n) if places is None else places.reshape(batch, -1).numpy()
        return (*known, (_kernels("network_matrix").SELECTIONS[operator], chosen))

    def memory(rows: Tensor, keep: bool) -> Sequence[Tensor]:
        batch, n = rows.shape
        return rows.new_empty(
            2, batch if keep else 1, len(_comparators(rule.network, n)[0]), dtype=torch.float64
        ).unbind()

    def shape(n: int) -> tuple[int, ...]:
        if operator == "permutation":
            return n, n
        if operator == "rows" and places is not None:
            return places.shape[-1], n
        return (n,) if operator == "sort" else (1, n)

    kernels = _kernels("network" if operator == "sort" else "network_matrix")
    return Compiled((kernels.forward, kernels.backward), options, memory, shape)


def network_hessians(
    rule: Rule, objective: Objective, scores: Tensor, target: Tensor, length: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the Hessian of every list's loss, [batch, n, n], and its smallest probability at a true place, [batch]."""
    batch, n = scores.shape
    lists = scores.detach().resolve_neg().double()
    result, least = lists.new_empty(batch, n, n), lists.new_empty(batch)
    options = (*_network_options(rule, length, batch, n), objective == "entries", target.numpy())
    _kernels("network_hessian").hessians(lists.numpy(), *options, result.numpy(), least.numpy())
    return result, least


def _network_options(rule: Rule, length: Tensor | None, batch: int, n: int) -> tuple[Any, Any]:
    """Return the network and the rule as the kernels take them."""
    lower, upper, counts = _comparators(rule.network, n)
    kind = _kernels("distributions").KINDS[rule.distribution]
    return (lower, upper, _lengths(length, batch, n), counts), (kind, rule.steepness, rule.art_lambda)


def _lengths(length: Tensor | None, batch: int, n: int) -> Any:
    """Return the number of real items of every list, [batch]."""
    return _full(batch, n) if length is None else length.reshape(-1).numpy()


@lru_cache(maxsize=16)
def _full(batch: int, n: int) -> Any:
    return torch.full((batch,), n, device="cpu").numpy()


@lru_cache(maxsize=16)
def _every(n: int) -> Any:
    """Return all places, [1, n], the same for every list."""
    return torch.arange(n, device="cpu").unsqueeze(0).numpy()


@lru_cache(maxsize=16)
def _comparators(network: Network, n: int) -> tuple[Any, ...]:
    """Return the lower and the upper places of all comparators, and their number for lists of 0 … n items."""
    cpu = torch.device("cpu")
    table = partners(network, n, cpu)
    layer, lower = (table > torch.arange(n, device=cpu)).nonzero(as_tuple=True)
    ends = torch.searchsorted(layer, torch.arange(len(table) + 1, device=cpu))
    depths = torch.tensor([depth(network, m) for m in range(n + 1)], device=cpu)
    return lower.numpy(), table[layer, lower].numpy(), ends[depths].numpy()
