"""The tables of a study file: tasks, losses, methods and optimisers; does not import torch."""

from __future__ import annotations

from collections.abc import Set
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from nlcore_bench.documents import Count, Number, Text

__all__ = ["TASK", "LossPart", "MethodPart", "OptimizerPart", "Part", "Positive", "TaskPart", "Whole"]

TASK = "task"
"""Stands for the curvature, or the loss, of the task."""

Positive: TypeAlias = Annotated[Number, Field(gt=0)]
Whole: TypeAlias = Annotated[Count, Field(gt=0)]
Options: TypeAlias = dict[Text, Any]


def _with_options(value: Any) -> Any:
    """Return a curvature that is given by its name alone with empty options."""
    return {value: {}} if isinstance(value, str) else value


Curvature: TypeAlias = Annotated[dict[Text, Options], Field(min_length=1, max_length=1), BeforeValidator(_with_options)]


class Part(BaseModel):
    """A table of a study file: unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def given(self, others: Set[str]) -> dict[str, Any]:
        """Return the fields that differ from their defaults as JSON values, without some.

        Args:
            others: Names of fields that are left out.
        """
        return self.model_dump(mode="json", exclude=set(others), exclude_defaults=True)


class TaskPart(Part):
    """A task of a study.

    Attributes:
        id: Id of a registered task.
        options: Its options.
        label: Name in tables; by default the name of the table in the file.
        learning_rates: Learning rates to choose from instead of the study's.
        steps: Steps of a run instead of the study's.
        curvature: Class of nlcore with its options, for which `task` stands in the curvature of a method; for instance
            a class whose derivatives the loss supplies.
    """

    id: Text
    options: Options = {}
    label: Text = ""
    learning_rates: tuple[Positive, ...] = ()
    steps: Whole | None = None
    curvature: Curvature | None = None


class LossPart(Part):
    """A loss that methods use instead of the task's own.

    Attributes:
        id: Id of a registered algorithm, or `task` for that of the task.
        options: Its options; with `task`, beside those that the problem of the task sets.
        target: The target of a batch that it receives: `target`, `outputs` for full supervision, or a name of the task.
        label: Name in tables.
        scale: Factor of all learning rates of this loss.
        flat: Whether prediction and target are flattened to [batch, m].
    """

    id: Text
    options: Options = {}
    target: Text = "target"
    label: Text = ""
    scale: Positive = 1.0
    flat: bool = False


class MethodPart(Part):
    """A method: one way of turning the same supervision into a gradient.

    Attributes:
        label: Name in tables and pictures; by default the name of the table in the file.
        group: Group of the method; a picture has one panel per group.
        curvature: Class of nlcore with its options, such as `"Auto"` or `{Hessian = {damping = {relative = 0.1}}}`;
            without it the method trains on the loss itself. `{task = {power = 0.5}}` is the curvature of the task with
            these options added.
        clip: Largest norm of the network's gradient.
        normalize: `"sample"` scales the gradient with respect to the outputs of every sample to norm 1, `"batch"` that
            of the batch to a root mean square of 1.
        update: `"module:function"` of a method that computes its own gradient, see `nlcore_bench.gradients.Gradient`.
        options: Options of `update`.
        loss: A loss instead of the task's own.
        reference: Whether it receives more supervision than the others; pictures draw it dashed.
        baseline: Method that differences refer to instead of the study's; empty for a baseline itself.
        learning_rates: Learning rates to choose from instead of those of the task and the study.
        dampings: Relative dampings to choose from, each at every learning rate.
        measure: Measure that chooses the learning rate instead of the task's first.
        tasks: Tasks it runs on; all if empty.
        losses: Losses of the study it runs with; all if empty.
        optimizers: Optimisers it runs under; all if empty.
    """

    label: Text = ""
    group: Text = ""
    curvature: Curvature | None = None
    clip: Positive | None = None
    normalize: Literal["sample", "batch"] | None = None
    update: Annotated[Text, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    options: Options = {}
    loss: LossPart | None = None
    reference: bool = False
    baseline: Text | None = None
    learning_rates: tuple[Positive, ...] = ()
    dampings: tuple[Positive, ...] = ()
    measure: Text | None = None
    tasks: tuple[Text, ...] = ()
    losses: tuple[Text, ...] = ()
    optimizers: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dampings and (self.curvature is None or "Auto" in self.curvature):
            raise ValueError("dampings are given, but the method has no curvature that takes one")
        if self.update and (self.curvature or self.normalize):
            raise ValueError("update computes its own gradient: leave out curvature and normalize")
        return self


class OptimizerPart(Part):
    """An optimiser of a study.

    Attributes:
        kind: `sgd` (momentum 0.9), `adam`, `adamw`, `muon` on matrices with Adam on the rest, or `soap`.
        options: Options of its class.
        learning_rates: Learning rates to choose from instead of the study's.
    """

    kind: Literal["sgd", "adam", "adamw", "muon", "soap"] = "adam"
    options: Options = {}
    learning_rates: tuple[Positive, ...] = ()
