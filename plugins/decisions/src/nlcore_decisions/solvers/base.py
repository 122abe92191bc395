r"""The base class of exact solvers: validation, ties and feasibility around one method.

A solver is an argmin,

$$
y^*(c) = \operatorname*{arg\,min}_{y \in Y} \langle c, y \rangle,
$$

over a set Y that does not depend on the costs c. It always minimises. A subclass is a frozen dataclass whose fields are
JSON values, with lists stored as tuples. It writes `_solve` and `_feasible` for validated costs and solutions, and says
the form of an event by `shape`, or by `_sizes` where any size will do. If all solutions consist of zeros and ones, it
sets `binary`; if they do not, ties are found only with a `_dearer` or a `_tied` of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ShapeError, shorten
from nlcore.inputs import check_inputs, working
from nlcore_decisions._checks import check_finite
from nlcore_decisions.errors import InfeasibleError

__all__ = ["Solution", "Solver", "infeasible", "needs_scipy", "nested", "precise"]

_ROUNDING = 1e-4
"""Distance from 0 or 1 up to which a mean of solutions of zeros and ones is within rounding."""


@dataclass(frozen=True, slots=True)
class Solution:
    """Solutions of a batch of problems.

    Attributes:
        solution: [..., *event], of least cost.
        value: [...], the cost ⟨c, y⟩ of each, in working precision.
        tied: bool, [...]: whether another solution costs the same; None if that was not asked for.
    """

    solution: Tensor
    value: Tensor
    tied: Tensor | None = None


class Solver(ABC):
    """An exact solver of many problems that differ in their costs alone.

    Instances are immutable, equal by value, hashable, and can be pickled; what they cache stays behind.
    """

    _sizes: ClassVar[tuple[str, ...]] = ("n",)
    """Names of the sizes of an event, for messages, where they are not fixed."""

    _resolution: ClassVar[float] = 2.0**-40
    """How much dearer a solution becomes in the search for ties, for each element and relative to its costs."""

    binary: ClassVar[bool] = False
    """Whether all solutions consist of zeros and ones."""

    feasibility_known: ClassVar[bool] = True
    """Whether `is_feasible` can say no."""

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of an event if the problem fixes it, else None."""
        return None

    def __call__(self, costs: Tensor) -> Tensor:
        """Return the solutions of least cost.

        Args:
            costs: [..., *event], finite, floating-point; half precision is computed in float32.

        Returns:
            [..., *event], dtype and device of `costs`; no gradient. Of several solutions of least cost it is always the
            same one.

        Raises:
            ContractError: The costs are not a floating-point tensor of events.
            NonFiniteError: A cost is NaN or infinite.
            InfeasibleError: A problem has no solution.
        """
        flat = self._flat(costs)
        return self._solved(flat).reshape(costs.shape).to(costs.dtype)

    def solve(self, costs: Tensor, *, ties: bool = False) -> Solution:
        """Return the solutions with their costs, and whether they are the only ones.

        With `ties` the problems are solved a second time, in float64, with each solution made slightly dearer than
        every other: for y of zeros and ones the costs are c + ε(2y − 1), which adds ε times the number of elements in
        which another solution differs from y. If that brings another solution, its cost is the same to within ε for
        each such element. ε is 2⁻⁴⁰ of the largest cost in y.

        Args:
            costs: As in the call.
            ties: Whether to look for other solutions of least cost.

        Raises:
            ContractError: As in the call.
            NonFiniteError: As in the call.
            InfeasibleError: As in the call.
        """
        flat = self._flat(costs)
        found = self._solved(flat)
        batch = costs.shape[: costs.ndim - (flat.ndim - 1)]
        value = (flat * found).flatten(1).sum(1)
        tied = self._tied(flat, found).reshape(batch) if ties else None
        return Solution(found.reshape(costs.shape).to(costs.dtype), value.reshape(batch), tied)

    def is_feasible(self, solutions: Tensor) -> Tensor:
        """Return which solutions are in Y, whatever they cost.

        Args:
            solutions: [..., *event].

        Returns:
            bool, [...].

        Raises:
            ContractError: The solutions are not a tensor of events.
        """
        shape = self._event("solutions", solutions, "")
        flat = working(solutions.detach()).reshape(-1, *shape)
        batch = solutions.shape[: solutions.ndim - len(shape)]
        if not len(flat):
            return torch.zeros(batch, dtype=torch.bool, device=flat.device)
        finite = flat.flatten(1).isfinite().all(1)
        return (finite & self._feasible(flat)).reshape(batch)

    def excludes(self, solutions: Tensor) -> Tensor:
        """Return which targets can be neither in Y nor the mean of several elements of it, as far as is known.

        Args:
            solutions: [..., *event].

        Returns:
            bool, [...].

        Raises:
            ContractError: As in `is_feasible`.
        """
        feasible = self.is_feasible(solutions)
        flat = solutions.reshape(*feasible.shape, -1)
        excluded = (flat == flat.round()).all(-1)
        if self.binary:
            excluded |= ((flat < -_ROUNDING) | (flat > 1 + _ROUNDING)).any(-1)
        return ~feasible & excluded

    @abstractmethod
    def _solve(self, costs: Tensor) -> Tensor:
        """Return the solutions, [N, *event], of N ≥ 1 validated problems, contiguous, in float32 or float64."""

    @abstractmethod
    def _feasible(self, solutions: Tensor) -> Tensor:
        """Return which of N ≥ 1 solutions [N, *event], float32 or float64, are feasible; those not finite are not."""

    def _dearer(self, solution: Tensor) -> Tensor:
        """Return a direction of costs in which each solution, [N, *event], becomes dearer than every other.

        This one does so among solutions of zeros and ones.
        """
        return 2 * solution - 1

    def _tied(self, costs: Tensor, found: Tensor) -> Tensor:
        """Return whether another solution costs the same, bool [N]."""
        if not len(costs):
            return torch.zeros(0, dtype=torch.bool, device=costs.device)
        costs, found = precise(costs), precise(found)
        epsilon = (self._resolution if costs.dtype == torch.float64 else 2.0**-18) * _scale(costs, found)
        epsilon = epsilon.reshape(-1, *[1] * (costs.ndim - 1))
        other = self._solve((costs + epsilon * self._dearer(found)).contiguous())
        return ((other - found).abs() > 1e-6 * found.abs().clamp(min=1)).flatten(1).any(1)

    def _solved(self, flat: Tensor) -> Tensor:
        if not len(flat):
            return torch.zeros_like(flat)
        with torch.no_grad():
            return self._solve(flat)

    def _flat(self, costs: Tensor) -> Tensor:
        """Return validated costs, [N, *event], detached and contiguous, in working precision."""
        shape = self._event("costs", costs, " floating")
        flat = working(costs.detach()).reshape(-1, *shape).contiguous()
        check_finite(type(self).__name__, flat, "costs")
        return flat

    def _event(self, what: str, tensor: Tensor, dtype: str) -> tuple[int, ...]:
        """Return the shape of an event, after a check of shape and dtype; a subclass may add checks of its own."""
        sizes = self._sizes if self.shape is None else [str(size) for size in self.shape]
        check_inputs(type(self).__name__, **{what: (tensor, f"[..., {', '.join(sizes)}]{dtype}")})
        return tuple(tensor.shape[tensor.ndim - len(sizes) :])

    def _shape_error(self, text: str) -> ShapeError:
        return ShapeError(f"{type(self).__name__}: {text}")

    def _store(self, **values: Any) -> None:
        """Set fields of the frozen dataclass, in `__post_init__`."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]


def nested(values: Any) -> Any:
    """Return numbers, nested lists of them, arrays or tensors as Python's numbers in nested tuples."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    return tuple(map(nested, values)) if isinstance(values, (list, tuple)) else values


def precise(tensor: Tensor) -> Tensor:
    """Return a tensor in float64; in float32 on Apple's GPUs, which lack it."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def needs_scipy(name: str) -> None:
    """Raise a `ConfigError` unless scipy is installed, and NumPy with it, which conversions of tensors need.

    Args:
        name: Name of the solver.
    """
    try:
        import numpy  # noqa: F401
        from scipy import optimize  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"{name} needs scipy: pip install nlcore-decisions[scipy].") from error


def infeasible(name: str, samples: Sequence[int], remedy: str) -> InfeasibleError:
    """Return the error of samples without a solution.

    Args:
        name: The solver; the message begins with it.
        samples: Indices along the flattened batch.
        remedy: The reason, and the way out; sentences.
    """
    return InfeasibleError(f"{name}: samples {shorten(samples)} have no solution. {remedy}", samples)


def _scale(costs: Tensor, found: Tensor) -> Tensor:
    """Return the size of the costs that count, [N]: the largest in the solution, or the mean where those are all 0.

    Costs outside the solution may be very large on purpose, to forbid something.
    """
    size = costs.abs().flatten(1)
    largest = (size * (found.flatten(1) != 0)).amax(1)
    mean = size.mean(1)
    return torch.where(largest > 0, largest, torch.where(mean > 0, mean, 1.0))
