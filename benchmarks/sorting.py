"""Sorting operators of nlcore beside those of diffsort, difftopk, softtorch, torchsort and torchpsort."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import nlcore
from benchmarks.measure import Case, Operator, Suite, alone
from nlcore.compiled import torch_alone

__all__ = ["GROUPS", "Contender", "Group", "contenders", "suite"]

_K = 5
_SIZES = (5, 10, 16, 32, 64, 128, 256, 1024)
_QUICK_SIZES = (5, 16)
_INTRO = """\
torch {torch}, one thread, float32, normal scores; medians of interleaved rounds in processor time. Memory is what
autograd keeps between the passes. The last column is the forward and backward time of the fastest other library divided
by that of nlcore. From n = 256 on, 8 lists (by the odd–even network 2) are sorted at once instead of 100, so that
overhead weighs more on each. Where rows of torch alone stand beside them, the rows of nlcore are with numba.

Not all of them compute the very same thing. softtorch's NeuralSort smooths |·|; its transport iterates in float64, list
by list, and differentiates implicitly; its network sorts list by list. nlcore's loss, beside diffsort's matrix with
binary cross-entropy in float32, is that of float64 probabilities, and checks its target.
"""
_CAUCHY: dict[str, Any] = {"distribution": "cauchy", "steepness": 10.0}


@dataclass(frozen=True, slots=True)
class Contender:
    """One operator of one library.

    Attributes:
        library: Its name.
        make: Returns the operator for lists of n items; raises ImportError if the library is not installed.
        largest: The largest n that is timed; beyond it a forward and a backward pass take minutes.
    """

    library: str
    make: Callable[[int], Operator]
    largest: int = 1024


@dataclass(frozen=True, slots=True)
class Group:
    """Operators that compute the same thing.

    Attributes:
        title: What they compute.
        members: nlcore's first, with numba if it is installed; then, if it is, in torch alone; then the others.
        few: Number of lists from n = 256 on.
    """

    title: str
    members: tuple[Contender, ...]
    few: int = 8


def suite(*, quick: bool = False, device: str = "cpu") -> Suite:
    """Return all groups at all sizes.

    Args:
        quick: Two sizes.
        device: Where the scores are; elsewhere than on the CPU, nlcore is timed alone.
    """
    sizes = _QUICK_SIZES if quick else _SIZES
    return Suite("Sorting operators, side by side", "n × lists", _INTRO, _cases(sizes, torch.device(device)))


def _cases(sizes: tuple[int, ...], device: torch.device) -> Iterator[Case]:
    for group in GROUPS:
        for n in sizes:
            scores = torch.randn(100 if n <= 128 else group.few, n, generator=torch.Generator().manual_seed(n))
            yield Case(group.title, alone(contenders(group, n), device), scores.to(device))


def contenders(group: Group, n: int) -> dict[str, Operator]:
    """Return the operators of the libraries that are installed, by library."""
    found: dict[str, Operator] = {}
    for member in group.members:
        if n > member.largest:
            continue
        try:
            found[member.library] = member.make(n)
        except ImportError:
            continue
    return found


def _own(
    method: str, name: str, *, alone: int = 1024, part: int | None = None, **options: Any
) -> tuple[Contender, ...]:
    """Return nlcore's operator, and the same in torch alone up to n = `alone`.

    Args:
        method: Method of the loss; `__call__` is the loss itself.
        name: Id of the loss.
        alone: Largest n in torch alone; 0 for an operator without compiled code.
        part: Index of the result that counts; `None` for an operator with one result.
        options: Options of the loss.
    """

    def make(n: int) -> Operator:
        loss = nlcore.make(name, **options)
        if method == "__call__":
            return lambda scores: loss(scores, _target(scores.shape)[0].to(scores.device))
        operator = getattr(loss, method)
        if method == "topk":
            operator = partial(operator, k=min(_K, n))
        return operator if part is None else lambda scores: operator(scores)[part]

    def in_torch(n: int) -> Operator:
        import_module("numba")  # without it there is nothing to compare
        operator = make(n)

        def run(scores: Tensor) -> Tensor:
            with torch_alone():
                result: Tensor = operator(scores)
            return result

        return run

    return Contender("nlcore", make), Contender("nlcore, torch alone", in_torch, alone)


def _network(network: str) -> Group:
    def diffsort(n: int) -> Operator:
        net = import_module("diffsort").DiffSortNet(network, n, steepness=10.0, distribution="cauchy")
        return lambda scores: _second(net(scores))

    long = network == "odd_even"
    own = _own("permutation", "sorting/diffsort", alone=256 if long else 1024, network=network, **_CAUCHY)
    title = f"{network.replace('_', '–')} network, matrix"
    return Group(title, (*own, Contender("diffsort", diffsort, 256)), 2 if long else 8)


def _loss(network: str) -> Group:
    def diffsort(n: int) -> Operator:
        net = import_module("diffsort").DiffSortNet(network, n, steepness=10.0, distribution="cauchy")

        def loss(scores: Tensor) -> Tensor:
            matrix = _second(net(scores)).mT.clamp(0, 1)  # rounding may leave this range
            entries: Tensor = F.binary_cross_entropy(matrix, _target(scores.shape)[1], reduction="none")
            return entries.mean(dim=(-2, -1))

        return loss

    long = network == "odd_even"
    options = {"network": network, "objective": "entries", **_CAUCHY}
    own = _own("__call__", "sorting/diffsort", alone=64 if long else 128, **options)
    title = f"{network.replace('_', '–')} network, cross-entropy of the matrix"
    return Group(title, (*own, Contender("diffsort", diffsort, 256)), 2 if long else 8)


@cache
def _target(shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Return the ranks of random values, [batch, n], and their permutation matrices."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(shape[-1]))
    ranks = values.argsort(dim=-1).argsort(dim=-1)
    return ranks, torch.zeros(*shape, shape[-1]).scatter(-2, ranks.unsqueeze(-2), 1.0)


def _topk(network: str) -> Group:
    def difftopk(n: int) -> Operator:
        net = import_module("difftopk").DiffTopkNet(network, n, min(_K, n), steepness=10.0, distribution="cauchy")
        return lambda scores: _second(net(scores)).mT.flip(-2)

    own = _own("topk", "sorting/diffsort", alone=256, part=1, network=network, **_CAUCHY)
    title = f"{network.replace('_', '–')} network, top {_K} rows"
    return Group(title, (*own, Contender("difftopk", difftopk, 256)), 2 if network == "odd_even" else 8)


def _second(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[1]


def _softmax(name: str, title: str) -> Group:
    def softtorch(n: int) -> Operator:
        argsort = import_module("softtorch").argsort
        return lambda scores: argsort(scores, softness=1.0, method=name, mode="smooth", standardize=False)

    own = _own("permutation", f"sorting/{name}", temperature=1.0)
    return Group(f"{title}, matrix", (*own, Contender("softtorch", softtorch)))


def _projection(operation: str, regularization: str) -> Group:
    def peer(library: str) -> Contender:
        def make(n: int) -> Operator:
            operator = getattr(import_module(library), f"soft_{operation}")
            name = {"torchsort": "regularization", "torchpsort": "reg"}[library]
            return partial(operator, **{name: regularization})  # a strength of 1 is their default

        return Contender(library, make)

    def softtorch(n: int) -> Operator:
        operator = getattr(import_module("softtorch"), operation)
        softness = 1 / (n - 1) if operation == "sort" else n - 1.0  # its ranks lie between 0 and 1
        options: dict[str, Any] = {"method": "fast_soft_sort", "mode": "c0", "standardize": False, "descending": False}
        if operation == "rank":
            return lambda scores: operator(scores, dim=-1, softness=softness, **options)
        return lambda scores: (
            operator(scores, softness=softness, gated_grad=False, return_indices=False, **options).values
        )

    strength: dict[str, Any] = {"regularization": regularization, "regularization_strength": 1.0}
    own = _own(operation, "sorting/fast_soft_sort", **strength)
    peers = [peer("torchsort"), peer("torchpsort")]
    if regularization == "l2":
        peers.append(Contender("softtorch", softtorch))
    return Group(f"soft {operation} ({regularization})", (*own, *peers))


def _sorted_by_network() -> Group:
    def diffsort(n: int) -> Operator:
        net = import_module("diffsort").DiffSortNet("bitonic", n, steepness=10.0, distribution="logistic")
        return lambda scores: net(scores)[0]

    def softtorch(n: int) -> Operator:
        sort = import_module("softtorch").sort
        options: dict[str, Any] = {"method": "sorting_network", "mode": "smooth", "standardize": False}
        return lambda scores: sort(scores, softness=0.1, gated_grad=False, return_indices=False, **options).values

    own = _own("sort", "sorting/diffsort", network="bitonic", distribution="logistic", steepness=10.0)
    return Group(
        "bitonic network, sort", (*own, Contender("diffsort", diffsort, 256), Contender("softtorch", softtorch))
    )


def _transport() -> Group:
    iterations = 20

    def softtorch(n: int) -> Operator:
        argsort = import_module("softtorch").argsort
        limits = {"sinkhorn_max_iter": iterations, "sinkhorn_tol": 0.0}
        options: dict[str, Any] = {"method": "ot", "mode": "smooth", "standardize": False, "ot_kwargs": limits}
        return lambda scores: argsort(scores, softness=2 / (n - 1), **options)  # its ranks lie between 0 and 1

    own = _own("permutation", "sorting/optimal_transport", alone=0, regularization_strength=1.0, iterations=iterations)
    return Group(f"optimal transport, {iterations} iterations, matrix", (*own, Contender("softtorch", softtorch, 64)))


GROUPS = (
    _network("odd_even"),
    _network("bitonic"),
    _loss("odd_even"),
    _loss("bitonic"),
    _topk("odd_even"),
    _topk("bitonic"),
    _softmax("neuralsort", "NeuralSort"),
    _softmax("softsort", "SoftSort"),
    *(_projection(operation, regularization) for regularization in ("l2", "kl") for operation in ("rank", "sort")),
    Group("LapSum, rank", _own("rank", "sorting/lapsum", alone=0)),
    Group("LapSum, sort", _own("sort", "sorting/lapsum", alone=0)),
    _sorted_by_network(),
    _transport(),
)
