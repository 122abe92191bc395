"""The hooks of this distribution: `nlcore bench`, tasks, studies, and the simulators of the tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nlcore.plugin import AlgorithmSpec, TaskSpec, hookimpl

if TYPE_CHECKING:
    from nlcore.plugin import Subparsers

__all__ = ["nlcore_algorithms", "nlcore_commands", "nlcore_studies", "nlcore_tasks"]

_TASKS = {
    "totals": "read digits in a row from a function of them, such as their running totals",
    "ranking": "rank pictures of numbers from their order alone",
    "classification": "classify digits by cross-entropy, with no algorithm in the loss",
    "ltr": "learn to rank the rows of a table, or the queries of files in the LETOR format",
    "paths": "read pictures of maps as costs from the shortest paths alone",
    "decisions": "predict the costs of a path or a knapsack from the best decisions alone",
    "oscillators": "push two masses with a cubic coupling so that they return to their first state",
    "linear_oscillators": "push two masses with a linear coupling so that they return to their first state",
    "heat": "find the temperature at an earlier time from that at a later one",
    "deblurring": "restore rows of a photograph from their blurred, noisy image",
    "pendulum": "find the parameters of a damped pendulum from its trajectory",
    "meters": "find the hourly flow of water through a meter from readings at some hours",
    "align": "continue utterances of different lengths under the soft-DTW divergence",
    "forecast": "continue a series under soft-DTW, an opaque loss",
    "choices": "learn the utility of alternatives from people's choices, by the conditional logit",
}


def _class(name: str) -> str:
    """Return the class of a task: `LinearOscillators` for `linear_oscillators`."""
    return "".join(word.capitalize() for word in name.split("_"))


@hookimpl
def nlcore_commands(subparsers: Subparsers) -> None:
    """Add `nlcore bench`."""
    from nlcore_bench.cli.parser import add_bench

    add_bench(subparsers)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the simulators that the tasks train through."""
    return (
        AlgorithmSpec(
            id="bench/blur-v1",
            factory="nlcore_bench.simulators:Blur",
            config="nlcore_bench.config:BlurConfig",
            summary="a signal through a Gaussian blur, ½‖·‖² to the blurred signal",
            since="0.1.0",
        ),
        AlgorithmSpec(
            id="bench/drag-v1",
            factory="nlcore_bench.simulators:Drag",
            config="nlcore_bench.config:DragConfig",
            summary="a body with quadratic drag under given pushes, ½‖·‖² to its path",
            since="0.1.0",
        ),
    )


@hookimpl
def nlcore_tasks() -> Iterable[TaskSpec]:
    """Return the tasks of this distribution."""
    return [
        TaskSpec(
            id=f"bench/{name}-v1",
            factory=f"nlcore_bench.tasks:{_class(name)}",
            config=f"nlcore_bench.config:{_class(name)}Config",
            summary=summary,
        )
        for name, summary in _TASKS.items()
    ]


@hookimpl
def nlcore_studies() -> Iterable[Path]:
    """Return the studies of this distribution."""
    return sorted((Path(__file__).parent / "studies").glob("*.toml"))
