"""The task of alignment: a network continues utterances of different lengths under the soft-DTW divergence."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import nlcore
from nlcore_bench.config import AlignConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.vowels import utterances
from nlcore_bench.tasks.base import Batch, mlp
from nlcore_bench.tasks.simulated import SimulatedTask

__all__ = ["Align"]

_LONGEST = 29  # frames


class Align(AlignConfig, SimulatedTask):
    """A network continues an utterance from its first frames, under a loss that tolerates shifts in time.

    The utterances are those of `nlcore_bench.data.vowels.utterances`, with their first coefficients alone. The network
    sees the first frames and predicts the later ones, [batch, frames, channels]; frames after the end of an utterance
    are padding. The loss is the soft-DTW divergence of prediction and utterance, each of its own length. The
    frames themselves are the target for full supervision, which does not tolerate shifts.

    Attributes:
        seen: Frames that the network sees, fewer than the shortest utterance has.
        channels: Coefficients of a frame.
        gamma: Temperature of the soft minimum, in the unit of a squared difference.
        samples: Largest number of utterances in the training data.
        batch: Utterances in a step.
        hidden: Widths of the hidden layers.
    """

    known: ClassVar[bool] = False

    @property
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""
        return self.seen * self.channels, (_LONGEST - self.seen) * self.channels

    @cached_property
    def loss(self) -> Any:
        """The soft-DTW divergence of series with channels."""
        return nlcore.make("sequences/soft_dtw_divergence", gamma=self.gamma, multivariate=True)

    def network(self, seed: int) -> nn.Module:
        """Return a new network."""
        inputs, outputs = self.widths
        layers = mlp((inputs, *self.hidden, outputs), self.activation)
        return nn.Sequential(*layers, nn.Unflatten(1, (-1, self.channels)))

    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return the first frames, the later ones as target and outputs, and the mask of the padding."""
        known = utterances(part)
        order = torch.randperm(len(known), generator=generator)[:count].tolist()
        chosen = [known[k][:, : self.channels] for k in order]
        later = torch.zeros(len(chosen), _LONGEST - self.seen, self.channels)
        for k, one in enumerate(chosen):
            later[k, : len(one) - self.seen] = one[self.seen :]
        lengths = torch.tensor([len(one) - self.seen for one in chosen])
        mask = torch.arange(later.shape[1]) >= lengths.unsqueeze(1)
        target = {"series": later, "lengths": lengths}
        first: Tensor = torch.stack([one[: self.seen] for one in chosen]).flatten(1)
        options = {"mask": mask.unsqueeze(2).expand_as(later)}
        return Batch(first, target, later, options=options)
