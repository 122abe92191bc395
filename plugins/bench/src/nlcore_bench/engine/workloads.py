"""The trainings whose cost under the default is measured, with its targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor, nn

import nlcore
from nlcore_bench.data.digits import digits, draw, numbers, side_by_side
from nlcore_bench.engine.contestants import Scores
from nlcore_bench.physics import diffused
from nlcore_bench.tasks import Heat, Oscillators, Totals
from nlcore_bench.tasks.base import Batch, Task, mlp
from nlcore_sorting import ranks

__all__ = ["WORKLOADS", "Limits", "Workload"]


@dataclass(frozen=True)
class Limits:
    """Targets, in units of plain training.

    Attributes:
        short: For the time over a short run.
        long: For the time over a long run; `None` where there is none.
        memory: For the memory of a step.
    """

    short: float = 3.0
    long: float | None = None
    memory: float = 3.0


@dataclass(frozen=True)
class Workload:
    """A training.

    Attributes:
        kind: `"CNN"`, `"MLP"` or `"other"`: the group of its targets.
        loss: Makes the loss.
        network: Makes a network, the same for the same state of torch's global generator.
        batches: Yields batches without end, the same each time.
        limits: The targets.
        rounds: Number of measurements of the short run.
    """

    kind: str
    loss: Callable[[], Any]
    network: Callable[[], nn.Module]
    batches: Callable[[], Iterator[Batch]]
    limits: Limits = Limits()
    rounds: int = 3


def _of_task(kind: str, make: Callable[[], Task], **options: Any) -> Workload:
    """Return the workload of a task; the task is made on first use."""
    task = cache(make)
    return Workload(kind, lambda: task().loss, lambda: task().network(0), lambda: task().batches(0), **options)


def _pictures() -> Iterator[Batch]:
    """Yield 4 lists of 5 pictures of four digits, [4, 5, 1, 16, 64], with the ranks of the numbers."""
    part, generator = digits().train, torch.Generator().manual_seed(0)
    while True:
        index = draw(part, (4, 5, 4), generator)
        wide = side_by_side(part.images[index]).view(20, 1, 8, 32)
        pictures = nn.functional.interpolate(wide, scale_factor=2).view(4, 5, 1, 16, 64)
        yield Batch(pictures, ranks(numbers(part.labels[index])))


def _lists(target: Callable[[Tensor], Tensor]) -> Callable[[], Iterator[Batch]]:
    """Return a function that yields 16 lists of 100 items with 20 features, and targets from noisy scores [16, 100]."""

    def batches() -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(20, generator=generator) / 20**0.5
        while True:
            features = torch.randn(16, 100, 20, generator=generator)
            yield Batch(features, target(features @ weight + 0.5 * torch.randn(16, 100, generator=generator)))

    return batches


def _grades(scores: Tensor) -> Tensor:
    """Return relevance grades from 0 to 4."""
    return torch.bucketize(scores, torch.tensor([-0.5, 0.5, 1.0, 1.5])).float()


def _ranking(id: str, target: Callable[[Tensor], Tensor], **options: Any) -> Workload:
    def network() -> nn.Module:
        return nn.Sequential(mlp((20, 64, 1)), nn.Flatten(1))

    return Workload("other", lambda: nlcore.make(id), network, _lists(target), **options)


def _signals(id: str) -> Workload:
    """Return a training on 8 sequences of 16 384 elements, each read by one small network from 8 features."""

    def batches() -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(0)
        weight, loss = torch.randn(8, generator=generator) / 8**0.5, cast(Any, nlcore.make(id))
        while True:
            features = torch.randn(8, 16384, 8, generator=generator)
            yield Batch(features, loss.inner(torch.tanh(features @ weight)))

    return Workload("other", lambda: nlcore.make(id), lambda: nn.Sequential(mlp((8, 32, 1)), nn.Flatten(1)), batches)


def _labels() -> Iterator[Batch]:
    """Yield 32 samples of 10 features, and which of 6 noisy combinations of them is the largest, [32]."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(10, 6, generator=generator)
    while True:
        features = torch.randn(32, 10, generator=generator)
        yield Batch(features, (features @ weight + torch.randn(32, 6, generator=generator)).argmax(-1))


def _undeclared() -> Any:
    """Return the loss of `Heat` without its traits."""
    heat = Heat()
    return nlcore.compose(lambda first: diffused(first, heat.size, heat.spread))


_HEAT = _of_task("other", Heat)
_MLP = Limits(short=2.5, long=1.6)

WORKLOADS: dict[str, Workload] = {
    "MLP, running totals": _of_task("MLP", lambda: Totals(length=16), limits=_MLP),
    "MLP, drag": _of_task("MLP", lambda: Totals(length=16, algorithm="bench/drag-v1"), limits=_MLP),
    "CNN, NeuralSort": Workload(
        "CNN", lambda: nlcore.make("sorting/neuralsort"), lambda: Scores((16, 32)), _pictures, Limits(1.5, 1.15)
    ),
    "small MLP, cross-entropy": Workload(
        "other", lambda: nlcore.make("core/cross_entropy"), lambda: mlp((10, 48, 6)), _labels
    ),
    "approx_ndcg": _ranking("ranking/approx_ndcg", _grades),
    "spearman": _ranking("ranking/spearman", ranks),
    "neural_ndcg": _ranking("ranking/neural_ndcg", _grades, rounds=1),
    "oscillators": _of_task("other", Oscillators, rounds=1),
    "running totals, m = 16 384": replace(_signals("sequences/prefix_sum"), rounds=1),
    "Gaussian filter, m = 16 384": replace(_signals("sequences/linear_filter"), rounds=1),
    "heat, declared constant": _HEAT,
    "heat, undeclared": Workload("other", _undeclared, _HEAT.network, _HEAT.batches),
}
"""The workloads by name. Those whose steps take tens of milliseconds are measured once."""
