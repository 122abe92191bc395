"""A user's solver of one problem, called for each of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from nlcore.errors import ConfigError, ContractError, NonFiniteError, ShapeError
from nlcore.inputs import check_inputs
from nlcore_decisions.errors import InfeasibleError
from nlcore_decisions.solvers._processes import Processes, check_workers
from nlcore_decisions.solvers.base import Solver, nested

if TYPE_CHECKING:
    from nlcore_decisions.solvers._each import Each, Fault

__all__ = ["Instances"]


_CURES = {
    "type": ". Return an array of the shape of the costs.",
    "nothing": ", as the x of scipy.optimize is where a problem has no solution. Return an array of the costs' shape.",
}


@dataclass(frozen=True)
class Instances(Solver):
    """Any solver of one problem, in a loop or in several processes.

    The function gets the costs of one problem, [*event], as an array of numpy in float64, which it may change, and
    returns the solution of least cost, [*event], as anything that numpy reads. It must depend on nothing else: the set
    of solutions is the same for all, and equal costs have equal solutions. It may raise `InfeasibleError`.

    With `workers` the batch is divided among so many processes, which start with the first call and serve until the
    end. They import the module of the function, and torch only if that does. A function of the main script or of a
    notebook, a lambda or a closure is sent by cloudpickle, if that is installed.

    `is_feasible` is True for all finite solutions, as the set is not known. `solve(costs, ties=True)` holds for
    solutions of zeros and ones.

    Args:
        function: The solver of one problem.
        shape: The shape of an event; without it the first dimension is the batch, and all others are the event.
        workers: Number of processes; 0 solves in this one.
        tensors: Whether the function is given tensors, float64 on the CPU, instead of arrays.

    Raises:
        ConfigError: The function cannot be called, or the other options are not what they must be.

    Example:
        >>> import torch
        >>> def cheapest(costs):
        ...     return [float(i == costs.argmin()) for i in range(len(costs))]
        >>> Instances(cheapest)(torch.tensor([[3.0, 1.0, 2.0], [0.0, 1.0, 2.0]]))
        tensor([[0., 1., 0.],
                [1., 0., 0.]])
    """

    function: Callable[[Any], Any]
    shape: Sequence[int] | None = None  # type: ignore[assignment]
    workers: int = 0
    tensors: bool = False

    feasibility_known: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ConfigError(f"Instances: function is a {type(self.function).__name__}, which cannot be called.")
        shape = nested(self.shape)
        if shape is not None and not (
            isinstance(shape, tuple) and shape and all(type(n) is int and n > 0 for n in shape)
        ):
            raise ConfigError(f"Instances: shape was given {self.shape!r}; give whole numbers of at least 1.")
        check_workers("Instances", self.workers)
        self._store(shape=shape)

    @cached_property
    def _each(self) -> Each:
        try:
            from nlcore_decisions.solvers._each import Each
        except ImportError as error:
            raise ConfigError("Instances needs numpy: pip install numpy.") from error
        return Each(self.function, self.tensors)

    @cached_property
    def _pool(self) -> Processes:
        return Processes("Instances", self._each, self.workers)

    def _event(self, what: str, tensor: Tensor, dtype: str) -> tuple[int, ...]:
        if self.shape is not None:
            return super()._event(what, tensor, dtype)
        check_inputs("Instances", **{what: (tensor, f"[..., n]{dtype}")})
        if tensor.ndim < 2:
            raise ShapeError(
                f"Instances: {what} has shape {list(tensor.shape)}; [batch, *event] is needed. Give shape=… for other "
                "leading dimensions, or call unsqueeze(0)."
            )
        return tuple(tensor.shape[1:])

    def _solve(self, costs: Tensor) -> Tensor:
        import numpy as np

        values = costs.cpu().double().numpy()
        parts = self._pool(values) if self.workers else [(0, self._each(values))]
        for start, part in parts:
            if not isinstance(part, np.ndarray):
                raise self._error(start + part.index, part, costs)
        return torch.from_numpy(np.concatenate([part for _, part in parts])).to(costs)

    def _error(self, sample: int, fault: Fault, costs: Tensor) -> ContractError | NonFiniteError:
        text = f"Instances: sample {sample}: {fault.text}"
        error: ContractError | NonFiniteError
        if fault.kind == "infinite":
            error = NonFiniteError(f"{text}. Check the function with these costs alone.", [sample])
        elif fault.kind == "shape":
            error = ShapeError(f"{text}, and its costs have {list(costs.shape[1:])}. Return one of the same shape.")
        elif fault.kind == "infeasible":
            error = InfeasibleError(text, [sample])
        else:
            error = ContractError(f"{text}{_CURES.get(fault.kind, '')}")
        error.__cause__ = fault.cause
        if fault.trace and fault.cause is None:
            error.add_note(fault.trace)
        return error

    def _feasible(self, solutions: Tensor) -> Tensor:
        return torch.ones(len(solutions), dtype=torch.bool, device=solutions.device)
