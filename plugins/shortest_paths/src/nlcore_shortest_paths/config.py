"""Options of the algorithms; does not import torch."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import Field, NonNegativeInt, model_validator

from nlcore.config import AlgorithmConfig
from nlcore_decisions.config import (
    BlackBoxOptions,
    CentralDifferenceOptions,
    Control,
    ControlOptions,
    Edges,
    IMLEOptions,
    ImplicitNoise,
)

__all__ = [
    "EXAMPLE_EDGES",
    "BellmanFordConfig",
    "BlackBoxConfig",
    "CentralDifferenceConfig",
    "Control",
    "GraphBellmanFordConfig",
    "GraphConfig",
    "GraphMaxEntropyConfig",
    "IMLEConfig",
    "Loop",
    "MaxEntropyConfig",
    "NegativeIdentityConfig",
    "Noise",
    "Objective",
    "PathConfig",
    "PerturbedFenchelYoungConfig",
    "RelaxationOptions",
    "SPOPlusConfig",
    "SmoothedAlgorithmConfig",
    "SmoothedLossConfig",
    "TConorm",
    "WalkOptions",
]

Loop: TypeAlias = Literal["for", "while"]
Noise: TypeAlias = ImplicitNoise
Objective: TypeAlias = Literal["l1", "l2"]
TConorm: TypeAlias = Literal["probabilistic", "hamacher", "yager"]


class RelaxationOptions(AlgorithmConfig):
    """Options of the relaxed Bellman–Ford algorithm, on maps and on graphs."""

    loop: Loop = Field(
        "for",
        description="Loop that traces the path back: 'for' takes `iterations` steps; 'while' continues until the trace "
        "reaches the source, by a relaxed condition.",
    )
    objective: Objective = Field(
        "l2",
        description="Loss between relaxed and true path: 'l1' is Σ|path − target|, 'l2' is Σ(path − target)², over "
        "all cells of a map or all edges of a graph.",
    )
    t_conorm: TConorm = Field(
        "hamacher",
        description="How a trace x and new mass q add up: 'probabilistic' x + q − xq, 'hamacher' "
        "(x + q + (p − 2)xq)/(1 + (p − 1)xq), or 'yager' min(1, x + q).",
    )
    p: float = Field(
        5.0,
        ge=0,
        le=1e12,  # slopes divide by its square, second derivatives by its cube, which float32 must hold
        description="Parameter of 'hamacher', used by it only. For p > 0 its slopes are bounded; near p = 0 they are "
        "steep where a cell or an edge is almost entirely on the path.",
    )
    beta: float = Field(
        10.0,
        gt=0,
        description="Inverse temperature β in inverse units of the costs; the path is exact as β → ∞.",
        json_schema_extra={"softness": "decreasing"},
    )
    iterations: int | None = Field(
        None,
        ge=1,
        description="Sweeps of Bellman–Ford, and steps of the loop 'for'; a path of more steps is not found. The "
        "default on a map of H×W cells is H + W + 1. On a graph without cycles, it is the length of the longest path; "
        "on one with cycles, 2k + 1 if every node is within k edges of the source.",
    )


class WalkOptions(AlgorithmConfig):
    """Options of a distribution over all walks, on maps and on graphs."""

    beta: float = Field(
        5.0,
        gt=0,
        description="Inverse temperature β in inverse units of the costs; a walk has probability ∝ exp(−β · cost).",
    )


class PathConfig(AlgorithmConfig):
    """The graph that all algorithms on maps share."""

    source: tuple[int, int] = Field(
        (0, 0), description="Row and column of the start; negative ones count from the end."
    )
    goal: tuple[int, int] = Field((-1, -1), description="Row and column of the end; negative ones count from the end.")
    neighbours: Literal[4, 8] = Field(8, description="Neighbours of a cell: 4, or 8 with the diagonals.")


class BellmanFordConfig(RelaxationOptions, PathConfig):
    """Options of `BellmanFord`."""


class _SolvedConfig(PathConfig):
    """Options of methods that solve changed costs."""

    min_cost: float = Field(
        1e-3,
        gt=0,
        description="Lower bound of the costs that the solver receives, which the method has changed; the solver needs "
        "positive costs.",
    )


class PerturbedFenchelYoungConfig(ControlOptions, _SolvedConfig):
    """Options of `PerturbedFenchelYoung`; the control variate is for its Hessian."""


class SmoothedLossConfig(ControlOptions, _SolvedConfig):
    """Options of `SmoothedLoss`."""


class SmoothedAlgorithmConfig(ControlOptions, _SolvedConfig):
    """Options of `SmoothedAlgorithm`."""


class CentralDifferenceConfig(CentralDifferenceOptions, _SolvedConfig):
    """Options of `CentralDifference`."""


class BlackBoxConfig(BlackBoxOptions, _SolvedConfig):
    """Options of `BlackBox`."""

    interpolation: float = Field(
        20.0, gt=0, description="Length λ of the step on the costs whose change of the path is the gradient."
    )


class IMLEConfig(IMLEOptions, _SolvedConfig):
    """Options of `IMLE`."""

    length: int = Field(12, ge=1, description="Usual number of cells of a path; read by 'sum_of_gamma' only.")


class SPOPlusConfig(_SolvedConfig):
    """Options of `SPOPlus`."""


class NegativeIdentityConfig(PathConfig):
    """Options of `NegativeIdentity`."""


class MaxEntropyConfig(WalkOptions, PathConfig):
    """Options of `MaxEntropy`."""


EXAMPLE_EDGES = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))


class GraphConfig(AlgorithmConfig):
    """The graph of the algorithms with costs on edges."""

    edges: Edges = Field(
        EXAMPLE_EDGES,
        description="Start and end of each directed edge, nodes counted from 0, in the order of the costs; as it "
        "stands an example of four nodes. An edge that leads both ways is given twice.",
    )
    source: NonNegativeInt = Field(0, description="Node where a path begins.")
    goal: NonNegativeInt = Field(3, description="Node where it ends.")

    @model_validator(mode="after")
    def _ends_are_nodes(self) -> Self:
        count = max(map(max, self.edges)) + 1
        for name, node in (("source", self.source), ("goal", self.goal)):
            if node >= count:
                raise ValueError(f"{name} {node} is not a node of an edge; the nodes are 0 to {count - 1}")
        return self


class GraphBellmanFordConfig(RelaxationOptions, GraphConfig):
    """Options of `GraphBellmanFord`."""


class GraphMaxEntropyConfig(WalkOptions, GraphConfig):
    """Options of `GraphMaxEntropy`."""
