"""Options of the algorithms; does not import torch."""

from __future__ import annotations

from typing import Literal, Self, TypeAlias

from pydantic import Field, model_validator

from nlcore.config import AlgorithmConfig

__all__ = ["Constraint", "Predicts", "RolloutConfig", "SystemName"]

Constraint: TypeAlias = Literal["positive", "exponential"] | tuple[float, float]
Predicts: TypeAlias = Literal["controls", "parameters", "initial"]
SystemName: TypeAlias = Literal["coupled_oscillators", "double_integrator", "drag", "lotka_volterra", "pendulum"]


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
    steps: int | None = Field(None, ge=1, description="Number of steps where there are no controls to count.")
    dt: float | None = Field(
        None, gt=0, description="Time step where the context lacks 'dt'; that of the system by default."
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
