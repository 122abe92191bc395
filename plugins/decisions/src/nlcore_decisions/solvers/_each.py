"""Calls of a user's function for each instance of a batch, with checks of its results; does not import torch."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nlcore.errors import error_text
from nlcore_decisions.errors import InfeasibleError

__all__ = ["Each", "Fault"]


@dataclass(frozen=True)
class Fault:
    """The first instance whose solution is of no use.

    Attributes:
        index: Index in the batch.
        kind: "raised", "infeasible", "nothing", "type", "shape" or "infinite".
        text: The event; the end of a sentence.
        trace: The traceback, of an exception.
        cause: The exception; it is not pickled.
    """

    index: int
    kind: str
    text: str
    trace: str = ""
    cause: BaseException | None = None

    def __reduce__(self) -> tuple[type[Fault], tuple[int, str, str, str]]:
        return type(self), (self.index, self.kind, self.text, self.trace)


@dataclass(frozen=True)
class Each:
    """A function of one instance, applied to each of a batch.

    Attributes:
        function: Maps costs [*event] to a solution [*event].
        tensors: Whether it is given tensors instead of arrays of numpy.
    """

    function: Callable[[Any], Any]
    tensors: bool

    def __call__(self, costs: NDArray[Any]) -> NDArray[Any] | Fault:
        """Return the solutions of costs [N, *event], float64, or the first fault."""
        solutions = np.empty(costs.shape)
        for index, one in enumerate(costs):
            given: Any = one.copy()
            if self.tensors:
                import torch

                given = torch.from_numpy(given)
            try:
                result = self.function(given)
            except Exception as error:
                kind = "infeasible" if isinstance(error, InfeasibleError) else "raised"
                return Fault(index, kind, f"the function raised {error_text(error)}", traceback.format_exc(), error)
            if result is None:  # as the x of scipy.optimize where it finds no solution
                return Fault(index, "nothing", "the function returned None")
            if hasattr(result, "detach"):
                result = result.detach().cpu().numpy()
            try:
                numbers = np.asarray(result, dtype=np.float64)
            except (TypeError, ValueError):
                return Fault(index, "type", f"the function returned a {type(result).__name__}, which is not numbers")
            if numbers.shape != one.shape:
                return Fault(index, "shape", f"the function returned a solution of shape {list(numbers.shape)}")
            solutions[index] = numbers
            if not np.isfinite(solutions[index]).all():
                return Fault(index, "infinite", "the function returned NaN or infinity")
        return solutions
