"""Errors of decisions: what has no solution."""

from __future__ import annotations

from collections.abc import Sequence

from nlcore.errors import ContractError

__all__ = ["InfeasibleError"]


class InfeasibleError(ContractError):
    """A problem has no solution, or none of least cost.

    Args:
        message: The fault and its remedy.
        samples: Indices along the batch of the samples at fault; empty if it is the same for all.
    """

    def __init__(self, message: str, samples: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.samples = tuple(samples)
