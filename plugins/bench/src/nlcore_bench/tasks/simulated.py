"""Base of the tasks in which a network controls or inverts a differentiable program, on samples drawn once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nlcore_bench.config import SimulatedConfig
from nlcore_bench.data.digits import PartName
from nlcore_bench.tasks.base import Batch, Measure, mlp, shuffled

__all__ = ["SimulatedTask"]

_HELD_OUT = 512  # samples of an evaluation
_SEEDS: dict[PartName, int] = {"train": 101, "validation": 102, "test": 103}


class SimulatedTask(SimulatedConfig):
    """Base of a task whose samples are the same for every run; only their order depends on the seed.

    A subclass has the loss and the samples. Its measures are the error of the outputs, where these are in the data, and
    the held-out loss. A task is its own configuration: it has the fields of its options.

    Attributes:
        activation: Class of the activations.
        widths: Inputs and outputs of the network.
        known: Whether the outputs are in the data.
    """

    activation: ClassVar[type[nn.Module]] = nn.ReLU
    known: ClassVar[bool] = True

    @property
    @abstractmethod
    def widths(self) -> tuple[int, int]:
        """Inputs and outputs of the network."""

    @cached_property
    @abstractmethod
    def loss(self) -> Any:
        """The loss of the task."""

    @abstractmethod
    def draw(self, part: PartName, count: int, generator: torch.Generator) -> Batch:
        """Return samples of a part, at most `count`.

        Args:
            part: Part of the data.
            count: Number of samples.
            generator: Generator of the random numbers, the same at every call for a part.
        """

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The error of the outputs, if they are in the data, and the held-out loss."""
        error = Measure("error", "relative error of the outputs", "lower", unit="")
        return (*([error] if self.known else []), Measure("loss", "held-out loss", "lower", unit=""))

    @cached_property
    def _parts(self) -> dict[PartName, Batch]:
        found = {}
        for part, seed in _SEEDS.items():
            count = self.samples if part == "train" else _HELD_OUT
            found[part] = self.draw(part, count, torch.Generator().manual_seed(seed))
        return found

    def part(self, name: PartName) -> Batch:
        """Return all samples of a part."""
        return self._parts[name]

    def network(self, seed: int) -> nn.Module:
        """Return a new network."""
        inputs, outputs = self.widths
        return mlp((inputs, *self.hidden, outputs), self.activation)

    def batches(self, seed: int, part: PartName = "train") -> Iterator[Batch]:
        """Yield batches without end, every sample once per epoch."""
        whole, generator = self.part(part), torch.Generator().manual_seed(seed)
        for index in shuffled(len(whole.inputs), self.batch, generator):
            yield _chosen(whole, index)

    def evaluate(self, network: nn.Module, part: PartName) -> dict[str, float]:
        """Return the held-out loss and, if the true outputs are known, ‖outputs − true outputs‖/‖true outputs‖."""
        batch = _chosen(self.part(part), torch.arange(min(_HELD_OUT, len(self.part(part).inputs))))
        with torch.no_grad():
            outputs: Tensor = network(batch.inputs)
            loss = self.loss(outputs, batch.target, **batch.options).mean().item()
            if batch.outputs is None or not self.known:
                return {"loss": loss}
            error = (outputs - batch.outputs).norm() / batch.outputs.norm()
        return {"error": error.item(), "loss": loss}


def _chosen(batch: Batch, index: Tensor) -> Batch:
    """Return some samples; inputs and options are tensors here, the target may be a structure of them."""
    return replace(
        batch,
        inputs=batch.inputs[index],
        target=pytree.tree_map(lambda one: one[index], batch.target),
        outputs=None if batch.outputs is None else batch.outputs[index],
        options={name: value[index] for name, value in batch.options.items()},
    )
