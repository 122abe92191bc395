"""The options that every curvature has, and the method that forms its matrix."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, TypeAlias

from nlcore.capabilities import Capabilities
from nlcore.newton.derivatives import Derivatives, Kind
from nlcore.newton.matrix import CurvatureMatrix
from nlcore.newton.options import concise
from nlcore.newton.problem import Problem

__all__ = ["Curvature", "Psd", "Scope", "Solver"]

Psd: TypeAlias = Literal["abs", "clip", "none"]
Scope: TypeAlias = Literal["sample", "batch"]
Solver: TypeAlias = Literal["auto", "cholesky", "eigen", "kernel", "low_rank", "cg"]


class Curvature(ABC):
    """Options that name a curvature and form its matrix; a subclass is a frozen dataclass with a method `matrix`.

    Attributes:
        kind: The derivatives it needs.
        damping: λ as a number, or a rule.
        power: κ of the direction (C + λI)^(−κ)g, from 0, the gradient, to 1, the Newton step.
        solver: How C + λI is solved.
        aggregate: Whether one matrix serves all samples, or each sample has its own.
        max_ratio: With each sample's own matrix, the longest step in units of the batch's median step.
        max_step: The largest root mean square of a sample's step over its outputs.
        normalize: The root mean square over the batch that directions are scaled to; True is one, False leaves them.
        chunk_size: How many directions are pulled back at a time.
    """

    kind: ClassVar[Kind]
    damping: Any = 1.0
    power: float = 1.0
    solver: Solver = "auto"
    aggregate: Scope = "batch"
    max_ratio: float | None = None
    max_step: float | None = None
    normalize: bool | float = False
    chunk_size: int | None = None

    def __repr__(self) -> str:
        return concise(self)

    def check(self, loss: Capabilities) -> None:  # noqa: B027 - by default every loss is accepted
        """Refuse a loss that has no such curvature.

        Raises:
            UnsupportedCurvatureError: The loss cannot supply it; the message names one that it can.
        """

    @abstractmethod
    def matrix(self, derivatives: Derivatives, problem: Problem) -> CurvatureMatrix:
        """Return the curvature matrix of a batch.

        Args:
            derivatives: The derivatives of the kind that this curvature names.
            problem: Which samples and outputs count.
        """
