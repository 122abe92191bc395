"""Procedural maps of five textured kinds of ground with hidden costs, made from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from nlcore_bench.data.digits import PartName

__all__ = ["COSTS", "KINDS", "Maps", "terrain", "terrain_part"]

KINDS = ("grass", "earth", "forest", "water", "stone")
COSTS = (0.8, 1.2, 5.3, 7.7, 9.2)
"""Cost of a cell of each kind, as in the Warcraft maps of Vlastelica et al., ICLR 2020."""

_PIXELS = 8  # along the side of a cell
_COLOURS = ((96, 142, 62), (146, 112, 72), (44, 88, 44), (52, 92, 140), (122, 122, 128))
_SEEDS: dict[PartName, int] = {"train": 11, "validation": 12, "test": 13}
_SIZES: dict[PartName, int] = {"train": 2000, "validation": 500, "test": 500}


@dataclass(frozen=True)
class Maps:
    """Pictures of maps with their hidden costs and paths.

    Attributes:
        images: uint8 [N, 8·H, 8·W, 3].
        costs: float32 [N, H, W], the true cost of every cell.
        paths: float32 [N, H, W], 1 on a shortest path by the true costs.
    """

    images: Tensor
    costs: Tensor
    paths: Tensor

    def __len__(self) -> int:
        return len(self.images)


def terrain(count: int, *, size: int = 12, seed: int = 0) -> Maps:
    """Return random maps of smooth regions.

    Each kind of ground has a smooth random height, and a cell is of the highest kind. The picture of a cell has the
    colour and the texture of its kind, a random brightness, and fades into its neighbours at the borders.

    Args:
        count: N.
        size: Cells along the side of a map.
        seed: Seed of the random numbers.
    """
    import nlcore_shortest_paths

    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, len(KINDS), size // 2, size // 2, generator=generator)
    heights = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    heights += 0.25 * torch.randn(heights.shape, generator=generator)
    kinds = heights.argmax(dim=1)
    costs = torch.tensor(COSTS)[kinds]
    return Maps(_paint(kinds, generator), costs, nlcore_shortest_paths.shortest_path(costs))


@cache
def terrain_part(part: PartName) -> Maps:
    """Return the maps of a part; each part has a seed of its own."""
    return terrain(_SIZES[part], seed=_SEEDS[part])


def _paint(kinds: Tensor, generator: torch.Generator) -> Tensor:
    """Return pictures of maps [N, H, W] of kinds, uint8 [N, 8H, 8W, 3]; painted in pieces, to save memory."""
    return torch.cat([_paint_some(piece, generator) for piece in torch.split(kinds, 250)])


def _paint_some(kinds: Tensor, generator: torch.Generator) -> Tensor:
    count, height, width = kinds.shape
    share = F.one_hot(kinds, len(KINDS)).permute(0, 3, 1, 2).float()
    share = F.interpolate(share, scale_factor=_PIXELS, mode="nearest")
    share = F.avg_pool2d(share, 3, stride=1, padding=1, count_include_pad=False)
    shape = (count, height * _PIXELS, width * _PIXELS)
    fine = torch.randn(shape, generator=generator)
    soft = F.avg_pool2d(torch.randn(shape, generator=generator)[:, None], 5, stride=1, padding=2)[:, 0] * 4
    row, column = torch.meshgrid(torch.arange(shape[1]), torch.arange(shape[2]), indexing="ij")
    texture = torch.stack(
        [
            14 * fine,  # grass: blades
            10 * soft + 12 * ((row + column) % 4 == 0),  # earth: furrows
            26 * soft.abs() + 8 * fine,  # forest: crowns
            16 * torch.sin(row * 1.6 + 2 * soft),  # water: waves
            12 * soft + 30 * (fine > 1.6),  # stone: grains
        ],
        dim=1,
    )
    light = 1 + 0.14 * torch.randn(count, 1, height, width, generator=generator)
    light = F.interpolate(light, scale_factor=_PIXELS, mode="bilinear")
    colour = torch.einsum("nkhw,kc->nchw", share, torch.tensor(_COLOURS).float())
    pixels = (colour + (share * texture).sum(dim=1, keepdim=True)) * light
    return pixels.permute(0, 2, 3, 1).clamp(0, 255).round().to(torch.uint8)
