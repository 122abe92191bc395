"""Options of the algorithms; does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, NonNegativeInt, model_validator

from nlcore.config import AlgorithmConfig

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
    "SPOPlusConfig",
    "SmoothedAlgorithmConfig",
    "SmoothedLossConfig",
    "TConorm",
]

Control: TypeAlias = Literal["none", "leave_one_out", "antithetic"]
Loop: TypeAlias = Literal["for", "while"]
Noise: TypeAlias = Literal["sum_of_gamma", "gumbel"]
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
        description="Loop that traces the path back: 'for' takes `iterations` steps, 'while' continues until it "
        "reaches the source, by a relaxed condition.",
    )
    objective: Objective = Field(
        "l2", description="Loss between relaxed and true path: 'l1' is Σ|p − t|, 'l2' is Σ(p − t)², over all cells."
    )
    t_conorm: TConorm = Field(
        "hamacher",
        description="How the trace adds up in a cell that it visits again: 'probabilistic' (x + q − xq), "
        "'hamacher', or 'yager' (min(1, x + q)).",
    )
    p: float = Field(
        5.0,
        ge=0,
        le=1e12,  # slopes divide by its square, second derivatives by its cube, which float32 must hold
        description="Parameter of the Hamacher t-conorm; read by 'hamacher' only. Its slopes are bounded for p > 0, "
        "and near p = 0 steep where a cell is almost entirely on the path.",
    )
    beta: float = Field(
        10.0,
        gt=0,
        description="Inverse temperature β in 1/units of the costs; the path is exact as β → ∞.",
        json_schema_extra={"softness": "decreasing"},
    )
    iterations: int | None = Field(
        None,
        ge=1,
        description="Sweeps of Bellman–Ford, and steps back of the loop 'for'. By default H + W + 1, which "
        "is 25 on 12×12; paths with more steps need more.",
    )


class _SolvedConfig(PathConfig):
    """Options of methods that solve changed costs."""

    min_cost: float = Field(
        1e-3,
        gt=0,
        description="Lower bound of changed costs: a path of least cost exists only for positive costs.",
    )


class _PerturbedConfig(_SolvedConfig):
    """Options of methods that add Gaussian noise to the costs."""

    num_samples: int = Field(3, ge=1, description="Draws of noise, each of which is one exact solution.")
    sigma: float = Field(
        0.5,
        gt=0,
        description="Standard deviation σ of the noise on the costs, in their units: about the difference of costs "
        "that should not decide between paths.",
    )


class _ControlledConfig(_PerturbedConfig):
    """Options of methods that estimate derivatives with a score function."""

    control: Control = Field(
        "leave_one_out",
        description="Control variate of the derivatives estimated from samples: 'none', 'leave_one_out' (at least 2 "
        "samples) or 'antithetic' (best an even number).",
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Self:
        if self.control == "leave_one_out" and self.num_samples < 2:
            raise ValueError("control='leave_one_out' needs num_samples ≥ 2")
        return self


class PerturbedFenchelYoungConfig(_ControlledConfig):
    """Options of `PerturbedFenchelYoung`; the control variate is for its Hessian."""


class SmoothedLossConfig(_ControlledConfig):
    """Options of `SmoothedLoss`."""


class SmoothedAlgorithmConfig(_ControlledConfig):
    """Options of `SmoothedAlgorithm`."""


class CentralDifferenceConfig(_PerturbedConfig):
    """Options of `CentralDifference`."""

    step: float = Field(1.0, gt=0, description="Largest shift of a cost by the difference, in units of σ.")


class BlackBoxConfig(_SolvedConfig):
    """Options of `BlackBox`."""

    interpolation: float = Field(
        20.0, gt=0, description="Length λ of the step on the costs whose change of the path is the gradient."
    )


class IMLEConfig(_SolvedConfig):
    """Options of `IMLE`."""

    num_samples: int = Field(1, ge=1, description="Draws of noise, each of which is two exact solutions.")
    sigma: float = Field(0.5, gt=0, description="Scale of the noise on the costs, in their units.")
    interpolation: float = Field(
        10.0, gt=0, description="Length λ of the step on the costs that leads to the target distribution."
    )
    noise: Noise = Field(
        "sum_of_gamma",
        description="'sum_of_gamma', whose sum over a path of `length` cells is Gumbel, or 'gumbel' for each cell.",
    )
    length: int = Field(12, ge=1, description="Usual number of cells of a path; read by 'sum_of_gamma' only.")


class SPOPlusConfig(_SolvedConfig):
    """Options of `SPOPlus`."""


class NegativeIdentityConfig(PathConfig):
    """Options of `NegativeIdentity`."""


class MaxEntropyConfig(PathConfig):
    """Options of `MaxEntropy`."""

    beta: float = Field(
        5.0, gt=0, description="Inverse temperature β in 1/units of the costs; a walk has probability ∝ exp(−β · cost)."
    )


EXAMPLE_EDGES = ((0, 1), (0, 2), (1, 2), (1, 3), (2, 3))


class GraphConfig(AlgorithmConfig):
    """The graph of the algorithms with costs on edges."""

    edges: Annotated[tuple[tuple[NonNegativeInt, NonNegativeInt], ...], Field(min_length=1)] = Field(
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


class GraphBellmanFordConfig(GraphConfig):
    """Options of `GraphBellmanFord`."""

    loop: Loop = Field(
        "for",
        description="Loop that traces the path back: 'for' takes `iterations` steps, 'while' continues until it "
        "reaches the source, by a relaxed condition.",
    )
    objective: Objective = Field(
        "l2", description="Loss between relaxed and true path: 'l1' is Σ|p − t|, 'l2' is Σ(p − t)², over all edges."
    )
    t_conorm: TConorm = Field(
        "hamacher",
        description="How the trace adds up on an edge that it uses again: 'probabilistic' (x + q − xq), "
        "'hamacher', or 'yager' (min(1, x + q)).",
    )
    p: float = Field(
        5.0,
        ge=0,
        le=1e12,
        description="Parameter of the Hamacher t-conorm; read by 'hamacher' only; see `BellmanFord`.",
    )
    beta: float = Field(
        10.0,
        gt=0,
        description="Inverse temperature β in 1/units of the costs; the path is exact as β → ∞.",
        json_schema_extra={"softness": "decreasing"},
    )
    iterations: int | None = Field(
        None,
        ge=1,
        description="Sweeps of Bellman–Ford, and steps back of the loop 'for'. By default enough for every path of a "
        "graph without cycles; with cycles 2k + 1 if every node can be reached from the source by k edges.",
    )


class GraphMaxEntropyConfig(GraphConfig):
    """Options of `GraphMaxEntropy`."""

    beta: float = Field(
        5.0, gt=0, description="Inverse temperature β in 1/units of the costs; a walk has probability ∝ exp(−β · cost)."
    )
