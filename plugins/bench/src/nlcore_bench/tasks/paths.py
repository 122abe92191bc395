"""The task of paths: a network reads the picture of a map as costs from supervision of the shortest path alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.data.digits import PartName
from nlcore_bench.data.terrain import Maps, terrain_part
from nlcore_bench.methods.base import Method
from nlcore_bench.methods.paths import PATHS
from nlcore_bench.tasks.base import Batch, Metric

__all__ = ["CostReader", "Paths"]

_EVALUATED = 500  # maps of an evaluation: a standard error of at most 2.2 points
_TIE = 1e-4  # relative difference up to which two paths cost the same


class CostReader(nn.Module):
    """A network that reads the cost of every cell from its pixels and those around them.

    Args:
        channels: Width of the hidden layers.
        floor: Smallest predicted cost.
    """

    def __init__(self, channels: int, floor: float) -> None:
        super().__init__()
        self.floor = floor
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, kernel_size=6, stride=4, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(channels, 1, kernel_size=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return positive costs, [N, H, W], of pictures uint8 [N, 8·H, 8·W, 3]."""
        pixels = images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        outputs: Tensor = self.layers(pixels)
        return (outputs.squeeze(1) + 4).abs() + self.floor


@dataclass(frozen=True)
class Paths:
    """Maps with hidden costs; the loss receives the shortest path, SPO+ the costs.

    Attributes:
        folder: Folder of the Warcraft files; `None` for the procedural terrain.
        batch: Maps in a step.
        steps: Steps of a run.
        every: Steps between two evaluations.
        channels: Width of the network.
        floor: Smallest predicted cost; maximum entropy with β = 5 and 8 neighbours needs log(8)/5 = 0.42.
        learning_rates: Learning rates of a method without its own.
    """

    folder: str | None = None
    batch: int = 50
    steps: int = 240
    every: int = 24
    channels: int = 32
    floor: float = 0.45
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)

    name: ClassVar[str] = "paths"
    methods: ClassVar[tuple[Method, ...]] = PATHS
    metrics: ClassVar[tuple[Metric, ...]] = (
        Metric("optimal", "optimal paths", 70.0),
        Metric("label", "same path", 50.0),
        Metric("ratio", "best cost / cost", 95.0),
    )
    notes: ClassVar[tuple[str, ...]] = (
        "A path is optimal if it costs at most 1 + 1e-4 times the best by the true costs; shortest paths tie, so that "
        "the same path as the label is a stricter measure than it seems.",
        "Training, validation and test are different maps. Learning rates, and for Newton losses the relative damping, "
        "were chosen on validation maps from nine candidates for every method: nine learning rates for a plain one, "
        "three of them at the dampings 1, 10 and 100 for the others. Other seeds were then measured once on test maps.",
        "SPO+ and 'true costs supervised' receive the true costs, the others the true path. The latter is the "
        "reference: it needs no algorithm.",
        "An estimated Hessian (Fenchel–Young, smoothed) is averaged over the batch and then made positive "
        "semi-definite by |H|. Black box, I-MLE, negative identity, central difference and SPO+ have no Hessian. "
        "That of the relaxed Bellman–Ford algorithm, and its Gauss–Newton matrix, are left out: with them a step takes "
        "700 and 100 times as long as a plain one.",
        "Steps with the Hessian of maximum entropy are normalised to one length, as decided on validation maps: "
        "without that no candidate exceeds 1 %, since this Hessian is almost 0 for an untrained network and the first "
        "steps are a million times as long as the later ones.",
    )

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"Shortest paths on {'Warcraft maps' if self.folder else 'procedural terrain'}, from pictures"

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values."""
        return {**asdict(self), "evaluated_maps": _EVALUATED}

    def maps(self, part: PartName) -> Maps:
        """Return the maps of one part."""
        if self.folder is None:
            return terrain_part(part)
        from nlcore_bench.data.warcraft import read_warcraft

        return read_warcraft(self.folder, part)

    def model(self) -> nn.Module:
        """Return a new network, from a picture to costs."""
        return CostReader(self.channels, self.floor)

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield training maps with their paths and costs, every map once per epoch."""
        maps = self.maps("train")
        generator = torch.Generator().manual_seed(seed)
        order = torch.empty(0, dtype=torch.int64)
        for _ in range(self.steps):
            if len(order) < self.batch:
                order = torch.randperm(len(maps), generator=generator)
            index, order = order[: self.batch], order[self.batch :]
            yield Batch(maps.images[index], {"paths": maps.paths[index], "costs": maps.costs[index]})

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return the shares of optimal paths and of the label's path, and the mean of best cost over cost, in %."""
        from nlcore_shortest_paths import path_cost, shortest_path

        maps = self.maps(part)
        costs, labels = maps.costs[:_EVALUATED], maps.paths[:_EVALUATED]
        with torch.no_grad():
            predicted = torch.cat([model(images) for images in torch.split(maps.images[:_EVALUATED], 100)])
        if not bool(predicted.isfinite().all()):
            return {metric.name: 0.0 for metric in self.metrics}
        paths = shortest_path(predicted)
        ratio = path_cost(costs, labels) / path_cost(costs, paths)
        return {
            "optimal": 100 * (ratio * (1 + _TIE) >= 1).float().mean().item(),
            "label": 100 * (paths == labels).flatten(1).all(1).float().mean().item(),
            "ratio": 100 * ratio.mean().item(),
        }
