"""Options of the algorithms, free of torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from nlcore.config import AlgorithmConfig

__all__ = ["BellmanFordConfig", "Loop", "Objective", "PathConfig", "TConorm"]

Loop: TypeAlias = Literal["for", "while"]
Objective: TypeAlias = Literal["l1", "l2"]
TConorm: TypeAlias = Literal["probabilistic", "hamacher", "yager"]


class PathConfig(AlgorithmConfig):
    """The graph that all algorithms share."""

    source: tuple[int, int] = Field(
        (0, 0), description="Row and column of the start; negative ones count from the end."
    )
    goal: tuple[int, int] = Field((-1, -1), description="Row and column of the end; negative ones count from the end.")
    neighbours: Literal[4, 8] = Field(8, description="Neighbours of a cell: 4, or 8 with the diagonals.")


class BellmanFordConfig(PathConfig):
    """Options of `BellmanFord`."""

    loop: Loop = Field(
        "for",
        description="How the way back is walked: 'for' repeats it `iterations` times, 'while' until the source is "
        "reached, with the relaxed condition that it is not.",
    )
    objective: Objective = Field(
        "l2", description="Loss between relaxed and true path: 'l1' is Σ|p − t|, 'l2' is Σ(p − t)², over all cells."
    )
    t_conorm: TConorm = Field(
        "hamacher",
        description="How the trace adds up in a cell that it visits again: 'probabilistic' (x + q − xq), "
        "'hamacher', or 'yager' (min(1, x + q)).",
    )
    p: float = Field(5.0, ge=0, description="Parameter of the Hamacher t-conorm; read by 'hamacher' alone.")
    beta: float = Field(
        10.0, gt=0, description="Inverse temperature β in 1/units of the costs; towards infinity the path is exact."
    )
    iterations: int | None = Field(
        None,
        ge=1,
        description="Sweeps of Bellman–Ford, and repetitions of the way back of 'for'. By default H + W + 1, which "
        "is 25 on 12×12; paths with more steps need more.",
    )
