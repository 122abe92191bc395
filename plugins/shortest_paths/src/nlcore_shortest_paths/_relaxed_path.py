"""The loss between a relaxed path and the true one, on maps and on graphs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from nlcore.protocol import Traits
from nlcore_shortest_paths.config import Loop, Objective, TConorm

__all__ = ["RelaxedPathLoss"]


@dataclass(frozen=True, repr=False, kw_only=True)
class RelaxedPathLoss(ABC):
    """Base of the relaxed Bellman–Ford losses: options, objective and Gauss–Newton split.

    A subclass writes `path` and `_event_ndim`, the number of dimensions of one sample's costs; `_check_target` is that
    of `PathLoss` or `GraphLoss`.
    """

    loop: Loop = "for"
    objective: Objective = "l2"
    t_conorm: TConorm = "hamacher"
    p: float = 5.0
    beta: float = 10.0
    iterations: int | None = None

    _event_ndim: ClassVar[int]

    if TYPE_CHECKING:

        def _check_target(self, costs: Tensor, target: Tensor) -> None:
            """Raise unless costs and target fit together, and the values of the target are valid."""

    @abstractmethod
    def path(self, costs: Tensor) -> Tensor:
        """Return the relaxed paths, [..., *event]."""

    @property
    def traits(self) -> Traits:
        """Deterministic, twice differentiable by autograd; with a split for "l2"."""
        return _TRAITS[self.objective, self._event_ndim]

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the relaxed path of each sample, [batch, *event]."""
        return self.path(prediction)

    def outer(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the distance of each relaxed path to the target by the objective, [batch]."""
        self._check_target(features, target)
        return self._distance(features, target.to(features.dtype))

    def _distance(self, path: Tensor, target: Tensor) -> Tensor:
        gap = path - target
        return (gap.abs() if self.objective == "l1" else gap.square()).sum(dim=tuple(range(1, gap.ndim)))


_TRAITS = {
    (objective, ndim): Traits(event_ndim=ndim, transforms="autograd", supplies=frozenset(supplies))
    for objective, supplies in (("l1", ()), ("l2", ("split",)))
    for ndim in (1, 2)
}
