"""How a Newton step can end: failure as a value that travels on the device with the data."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Result"]


class Result(IntEnum):
    """Outcome of the step of one sample, ordered by severity."""

    ok = 0
    """The damped curvature is positive definite and the direction is a descent direction."""
    indefinite = 1
    """The damped curvature has negative eigenvalues: it was solved as it is, the direction may point uphill."""
    singular = 2
    """The damped curvature has no inverse in the working precision."""
    nonfinite = 3
    """The prediction, the loss or one of its derivatives is NaN or infinite."""
