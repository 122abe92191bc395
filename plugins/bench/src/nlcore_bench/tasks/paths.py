"""The task of paths: a network reads the picture of a map as costs from supervision of the shortest path alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from nlcore_bench.config import PathsConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.terrain import Maps, terrain_part
from nlcore_bench.tasks.base import AlgorithmTask, Batch, Measure, whole_epochs

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


class Paths(PathsConfig, AlgorithmTask):
    """Maps with hidden costs; the loss receives the shortest path, full supervision the costs.

    Attributes:
        folder: Folder of the Warcraft files; `None` for the procedural terrain.
        batch: Maps in a step.
        channels: Width of the network.
        floor: Smallest predicted cost; maximum entropy with β = 5 and 8 neighbours needs log(8)/5 = 0.42.
        algorithm: Id of the loss, of costs and paths.
        algorithm_options: Options of the loss.
        loss_batches: Batches on which the held-out loss is measured; 0 for no such measure.
    """

    outputs: ClassVar[tuple[Measure, ...]] = (
        Measure("optimal", "optimal paths", threshold=70.0),
        Measure("label", "same path", threshold=50.0),
        Measure("ratio", "best cost / cost", threshold=95.0),
    )

    def settings(self) -> dict[str, Any]:
        """Return the folder, which may come from the environment."""
        self.maps("train")  # raises for a wrong file before a folder is made
        return {"folder": self.folder}

    def maps(self, part: PartName) -> Maps:
        """Return the maps of one part."""
        if self.folder is None:
            return terrain_part(part)
        from nlcore_bench.data.warcraft import read_warcraft

        return read_warcraft(self.folder, part)

    def network(self, seed: int) -> nn.Module:
        """Return a new network, from a picture to costs."""
        return CostReader(self.channels, self.floor)

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield maps with their paths and costs, every map once per epoch."""
        maps = self.maps(part)
        for index in whole_epochs(len(maps), self.batch, torch.Generator().manual_seed(seed)):
            yield Batch(maps.images[index], maps.paths[index], maps.costs[index])

    def read(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the shares of optimal paths and of the label's path, and the mean of best cost over cost, in %."""
        from nlcore_shortest_paths import path_cost, shortest_path

        maps = self.maps(part)
        costs, labels = maps.costs[:_EVALUATED], maps.paths[:_EVALUATED]
        with torch.no_grad():
            predicted = torch.cat([network(images) for images in torch.split(maps.images[:_EVALUATED], 100)])
        if not bool(predicted.isfinite().all()):
            return {measure.name: 0.0 for measure in self.outputs}
        paths = shortest_path(predicted)
        ratio = path_cost(costs, labels) / path_cost(costs, paths)
        return {
            "optimal": 100 * (ratio * (1 + _TIE) >= 1).float().mean().item(),
            "label": 100 * (paths == labels).flatten(1).all(1).float().mean().item(),
            "ratio": 100 * ratio.mean().item(),
        }
