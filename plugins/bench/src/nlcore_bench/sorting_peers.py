"""The contenders of the comparison of sorting operators: nlcore's and those of other libraries that are installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from torch import Tensor

import nlcore

__all__ = ["GROUPS", "Contender", "Group", "Operator", "contenders"]

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Contender:
    """One operator of one library.

    Attributes:
        library: Its name.
        make: Returns the operator for lists of n items; raises ImportError where the library is missing.
    """

    library: str
    make: Callable[[int], Operator]


@dataclass(frozen=True, slots=True)
class Group:
    """Operators that compute the same thing.

    Attributes:
        title: What they compute.
        members: nlcore's first.
        largest: The largest n that is timed; beyond it a forward and a backward pass take minutes.
    """

    title: str
    members: tuple[Contender, ...]
    largest: int = 1024


def contenders(group: Group, n: int) -> dict[str, Operator]:
    """Return the operators of the libraries that are installed, by library."""
    found: dict[str, Operator] = {}
    for member in group.members:
        try:
            found[member.library] = member.make(n)
        except ImportError:
            continue
    return found


def _own(method: str, name: str, **options: Any) -> Contender:
    def make(n: int) -> Operator:
        operator: Operator = getattr(nlcore.make(name, **options), method)
        return operator

    return Contender("nlcore", make)


def _network(network: str) -> Group:
    def diffsort(n: int) -> Operator:
        net = import_module("diffsort").DiffSortNet(network, n, steepness=10.0, distribution="cauchy")
        return lambda scores: _second(net(scores))

    own = _own("permutation", "sorting/diffsort", network=network, distribution="cauchy", steepness=10.0)
    title = f"{network.replace('_', '–')} network, matrix"
    return Group(title, (own, Contender("diffsort", diffsort)), 256 if network == "bitonic" else 128)


def _second(pair: tuple[Tensor, Tensor]) -> Tensor:
    return pair[1]


def _softmax(name: str, title: str) -> Group:
    def softtorch(n: int) -> Operator:
        argsort = import_module("softtorch").argsort
        return lambda scores: argsort(scores, softness=1.0, method=name, mode="smooth", standardize=False)

    own = _own("permutation", f"sorting/{name}", temperature=1.0)
    return Group(f"{title}, matrix", (own, Contender("softtorch", softtorch)))


def _projection(operation: str) -> Group:
    def peer(library: str) -> Contender:
        def make(n: int) -> Operator:
            operator: Operator = getattr(import_module(library), f"soft_{operation}")
            return operator  # l2 and a strength of 1 are its defaults

        return Contender(library, make)

    own = _own(operation, "sorting/fast_soft_sort", regularization_strength=1.0)
    return Group(f"soft {operation} (l2)", (own, peer("torchsort"), peer("torchpsort")))


GROUPS = (
    _network("odd_even"),
    _network("bitonic"),
    _softmax("neuralsort", "NeuralSort"),
    _softmax("softsort", "SoftSort"),
    _projection("rank"),
    _projection("sort"),
    Group("LapSum, rank", (_own("rank", "sorting/lapsum"),)),
    Group("LapSum, sort", (_own("sort", "sorting/lapsum"),)),
    Group("bitonic network, sort", (_own("sort", "sorting/diffsort", network="bitonic"),)),
)
