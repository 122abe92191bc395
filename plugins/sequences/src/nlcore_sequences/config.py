"""Options of the losses on sequences; does not import torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, FiniteFloat, model_validator

from nlcore.config import AlgorithmConfig

__all__ = [
    "Band",
    "Boundary",
    "Constraint",
    "Cost",
    "Curvature",
    "Kernel",
    "LinearFilterConfig",
    "LinearOperatorConfig",
    "Predicts",
    "PrefixSumConfig",
    "RolloutConfig",
    "SoftDTWConfig",
    "SoftDTWDivergenceConfig",
    "SystemName",
]

Cost: TypeAlias = Literal["squared_euclidean", "absolute", "log_augmented"]
Band: TypeAlias = Literal["sakoe_chiba", "itakura"]
Curvature: TypeAlias = Literal["exact", "fixed_alignment"]
Constraint: TypeAlias = Literal["positive", "exponential"] | tuple[float, float]
Predicts: TypeAlias = Literal["controls", "parameters", "initial"]
SystemName: TypeAlias = Literal["coupled_oscillators", "double_integrator", "drag", "lotka_volterra", "pendulum"]
Boundary: TypeAlias = Literal["zero", "reflect", "circular"]
Kernel: TypeAlias = Literal["gaussian", "moving_average", "exponential"]
Row: TypeAlias = Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]


class PrefixSumConfig(AlgorithmConfig):
    """Options of `PrefixSum`."""

    order: int = Field(1, ge=1, le=8, description="How many times the sum is taken; 2 sums the running totals again.")
    dim: int = Field(-1, le=-1, description="The dimension that is summed, counted from the last.")
    event_ndim: int = Field(1, ge=1, le=6, description="Dimensions of a sample; 2 for a map or several channels.")

    @model_validator(mode="after")
    def _within_the_event(self) -> Self:
        if -self.dim > self.event_ndim:
            raise ValueError(
                f"dim={self.dim} of a sample with {self.event_ndim} dimension{'s' * (self.event_ndim > 1)}; give "
                f"event_ndim={-self.dim} as well"
            )
        return self


class LinearFilterConfig(AlgorithmConfig):
    """Options of `LinearFilter`."""

    kernel: Kernel | tuple[FiniteFloat, ...] = Field(
        "gaussian", description="'gaussian', 'moving_average', 'exponential', or weights, used unchanged."
    )
    width: float = Field(
        2.0,
        gt=0,
        le=1e5,
        allow_inf_nan=False,
        description="In elements: standard deviation ('gaussian'), number of weights ('moving_average'), 1/α "
        "('exponential'); not used with weights.",
    )
    causal: bool = Field(False, description="Whether an output depends on its own and earlier elements alone.")
    boundary: Boundary | None = Field(
        None, description="Beyond the ends: 'zero', 'reflect' or 'circular'; null: 'zero' if causal, else 'reflect'."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not isinstance(self.kernel, str):
            if not any(self.kernel):
                raise ValueError("kernel has no weight other than 0")
            if not self.causal and len(self.kernel) % 2 == 0:
                raise ValueError(
                    f"kernel has {len(self.kernel)} weights, and a centred one has an odd number; add a 0, or give "
                    "causal=True, where the first weight is that of the element itself"
                )
        elif self.kernel == "moving_average" and self.width != int(self.width):
            raise ValueError(f"width={self.width} elements of a moving average; give a whole number")
        elif self.kernel == "exponential" and self.width < 1:
            raise ValueError(f"width={self.width} of an exponential average; it is 1/α with α ≤ 1, so at least 1")
        return self


class LinearOperatorConfig(AlgorithmConfig):
    """Options of `LinearOperator`."""

    matrix: Annotated[tuple[Row, ...], Field(min_length=1)] = Field(
        ((1.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 1.0)),
        description="The rows of A. The default is only an example: the totals of two pairs.",
    )

    @model_validator(mode="after")
    def _rectangular(self) -> Self:
        lengths = {len(row) for row in self.matrix}
        if len(lengths) > 1:
            raise ValueError(f"the rows of matrix have different lengths: {', '.join(map(str, sorted(lengths)))}")
        return self


_COST = (
    "Local cost of two time steps: 'squared_euclidean' is ‖x − y‖²; 'absolute' the sum of |x − y| over the channels; "
    "'log_augmented' c + γ log(2 − exp(−c/γ)) with c = ‖x − y‖²."
)


class _AlignmentConfig(AlgorithmConfig):
    """Options of losses over the alignments of two series."""

    gamma: float = Field(
        1.0,
        gt=0,
        description="Softness γ in units of the local cost; towards 0 the alignment is that of DTW.",
        json_schema_extra={"softness": "increasing"},
    )
    cost: Cost = Field("squared_euclidean", description=_COST)
    band: Band | None = Field(
        None,
        description="Cells that an alignment may visit: `None` for all, 'sakoe_chiba' for a band around the "
        "diagonal, 'itakura' for a parallelogram between the corners.",
    )
    radius: int = Field(10, ge=0, description="Largest shift in time steps; used by 'sakoe_chiba' only.")
    slope: float = Field(
        2.0,
        gt=1,
        description="Largest slope of an alignment, relative to the straight line between the corners; used by "
        "'itakura' only.",
    )
    multivariate: bool = Field(
        False, description="Whether series are [batch, time, channels] and not [batch, time], in prediction and target."
    )


class SoftDTWConfig(_AlignmentConfig):
    """Options of `SoftDTW`."""

    curvature: Curvature = Field(
        "exact",
        description="'exact': the Hessian is that of the loss. 'fixed_alignment': the Hessian takes the expected "
        "alignment for constant and is positive semi-definite; only for cost='squared_euclidean'.",
    )


class SoftDTWDivergenceConfig(_AlignmentConfig):
    """Options of `SoftDTWDivergence`."""

    cost: Cost = Field("log_augmented", description=_COST)


class RolloutConfig(AlgorithmConfig):
    """Options of `Rollout`."""

    system: SystemName = Field(
        "drag", description="An example system; the constructor also takes a step function or a `System`."
    )
    predicts: Predicts = Field(
        "controls",
        description="The meaning of the prediction: the control of each step, the parameters, or the initial state. "
        "The others come from the context.",
    )
    initial_size: int = Field(
        0, ge=0, description="How many numbers at the end of predicted parameters are the initial state."
    )
    observe: tuple[int, ...] | None = Field(
        None,
        description="The observed components of a state, by their index; all of them by default. The constructor also "
        "takes a function [batch, *state] -> [batch, *observation].",
    )
    supervise: Literal["trajectory", "last"] = Field(
        "trajectory", description="The supervised states: 'trajectory', one after each step, or the 'last' one."
    )
    criterion: Literal["squared_error"] = Field(
        "squared_error",
        description="Criterion of the observations: half their squared distance to the target. The constructor also "
        "takes a function (features, target) -> [batch], convex in the features.",
    )
    constrain: tuple[Constraint | None, ...] = Field(
        (),
        description="A range for each number along the last dimension of the prediction, one for controls [batch, T]: "
        "'positive' (softplus), 'exponential', (low, high) by a scaled sigmoid, or None.",
    )
    channels: int | None = Field(
        None,
        ge=1,
        description="Controls of a step: predicted controls are [batch, T, channels]; without it [batch, T].",
    )
    steps: int | None = Field(None, ge=1, description="Number of steps of a system without controls.")
    dt: float | None = Field(
        None, gt=0, description="Time step where the context lacks 'step'; that of the system by default."
    )
    checkpoint: Literal["auto"] | int | None = Field(
        "auto",
        description="Steps between two states that are kept for the backward pass, which repeats the steps between "
        "them: 'auto' is √T above 512 steps; None keeps all.",
    )
    on_unstable: Literal["raise", "nan"] = Field(
        "raise",
        description="A rollout that is not finite, while gradients are recorded: 'raise' an error that names step and "
        "sample, or return 'nan' for that sample.",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.initial_size and self.predicts != "parameters":
            raise ValueError("initial_size needs predicts='parameters'")
        if self.channels is not None and self.predicts != "controls":
            raise ValueError("channels needs predicts='controls'; controls of the context show how many there are")
        if isinstance(self.checkpoint, int) and self.checkpoint < 1:
            raise ValueError("checkpoint is 'auto', None, or a number of steps ≥ 1")
        if any(isinstance(one, tuple) and one[0] >= one[1] for one in self.constrain):
            raise ValueError("a range of constrain is (low, high) with low < high")
        return self
