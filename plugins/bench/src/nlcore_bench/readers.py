"""The networks that read pictures: layers on the pixels, or the convolutions of the ranking literature."""

from __future__ import annotations

from math import isqrt

from torch import Tensor, nn

from nlcore_bench.tasks.base import mlp

__all__ = ["ConvReader", "DigitReader"]


class DigitReader(nn.Module):
    """A network that reads every picture of a row.

    Args:
        widths: Widths of its layers, the first the pixels of a picture, the last 1.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.layers = mlp(widths)

    def forward(self, images: Tensor) -> Tensor:
        """Return one number per picture: [*, pixels] to [*]."""
        outputs: Tensor = self.layers(images)
        return outputs.squeeze(-1)


class ConvReader(nn.Module):
    """Two convolutions of 5×5 with ReLU and max-pooling, then a hidden layer.

    With 28×28 pixels, channels (32, 64) and 64 hidden units, it is the network with which sorting networks and
    NeuralSort are compared on numbers of four digits.

    Args:
        pixels: Pixels of a digit, a square of at least 4×4.
        digits: Digits side by side in a picture.
        channels: Channels of both convolutions.
        hidden: Units of the hidden layer.
        outputs: Outputs; a single one loses its dimension.
    """

    def __init__(self, pixels: int, digits: int, channels: tuple[int, int], hidden: int, outputs: int = 1) -> None:
        super().__init__()
        self.side, self.outputs = isqrt(pixels), outputs
        first, second = channels
        area = (self.side // 4) * (self.side * digits // 4)
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * area, hidden),
            nn.ReLU(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of pictures given row by row: [*, pixels] to [*] or [*, outputs]."""
        *lead, pixels = images.shape
        found: Tensor = self.layers(images.reshape(-1, 1, self.side, pixels // self.side))
        return found.view(*lead) if self.outputs == 1 else found.view(*lead, self.outputs)
