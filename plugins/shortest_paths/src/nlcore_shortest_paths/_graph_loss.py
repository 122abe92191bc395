"""Base class of the losses on graphs: options, call, validation and example."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from nlcore.config import Configured
from nlcore.errors import NonFiniteError, shorten
from nlcore.inputs import check_inputs, read, working
from nlcore_decisions._random import example_numbers
from nlcore_decisions.solvers.graph_path import GraphPath
from nlcore_shortest_paths._costs import check_path
from nlcore_shortest_paths._graph_layout import Layout, layout
from nlcore_shortest_paths.config import EXAMPLE_EDGES

__all__ = ["GraphLoss"]


@dataclass(frozen=True, repr=False, kw_only=True)
class GraphLoss(Configured, ABC):
    """Base of the losses whose prediction is the costs of the edges of one graph, [batch, E].

    Half precision is computed in float32 and rounded at the end. Objects are immutable, hashable, and equal by their
    options.
    """

    edges: tuple[tuple[int, int], ...] = EXAMPLE_EDGES
    source: int = 0
    goal: int = 3
    _ordered: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Validate the options, and that edges lead from the source to the goal."""
        super().__post_init__()
        _ = self._layout

    def __call__(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, E], the predicted costs of the edges.
            target: [batch, E], the true path, 1 on its edges and 0 elsewhere, any dtype.
            generator: Not used; the loss is deterministic.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or the target is not a mask.
            NonFiniteError: A cost is NaN or infinite.
        """
        costs, known = self._checked(prediction, target)
        return self._loss(costs, known).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random costs, and the shortest path for other costs.

        Args:
            batch_size: Number of samples.
            generator: Source of random numbers; they are drawn on its device.
            dtype: Of prediction and target.
            device: Of prediction and target.
        """
        size = (batch_size, len(self.edges))
        costs, truth = example_numbers(torch.rand, size, generator=generator, dtype=dtype, device=device)
        return (costs + 1).to(dtype), GraphPath(self.edges, self.source, self.goal)(truth + 1).to(dtype)

    @abstractmethod
    def _loss(self, costs: Tensor, target: Tensor) -> Tensor:
        """Return the losses of validated costs in working precision, [batch]."""

    @cached_property
    def _layout(self) -> Layout:
        return layout(type(self).__name__, self.edges, self.source, self.goal, ordered=self._ordered)

    def _check_target(self, costs: Tensor, target: Tensor) -> None:
        """Raise unless costs and target are tensors that fit together, and the values of the target are valid."""
        shape = f"[batch, {len(self.edges)}]"
        advice = "It is the true path, 1 on its edges and 0 elsewhere."
        check_inputs(self.id, prediction=(costs, f"{shape} floating"), target=(target, shape, advice))
        check_path(self.id, target, solver="graph_shortest_path")

    def _checked(self, prediction: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return validated costs and target in working precision."""
        self._check_target(prediction, target)
        costs = working(prediction)
        self._check_values(costs.detach())
        return costs, target.to(costs.dtype)

    def _checked_costs(self, costs: Tensor) -> Tensor:
        """Return validated costs [..., E] in working precision."""
        check_inputs(self.id, costs=(costs, f"[..., {len(self.edges)}] floating"))
        self._check_values(working(costs.detach()))
        return working(costs)

    def _check_values(self, costs: Tensor) -> None:
        """Raise unless all costs are finite; synchronises with the device once."""
        if not costs.numel() or read(costs.isfinite().all()) is not False:
            return
        wrong = ~costs.reshape(-1, len(self.edges)).isfinite()
        samples = wrong.any(1).nonzero()[:, 0].tolist()
        edge = int(wrong[samples[0]].nonzero()[0])
        value = float(costs.reshape(-1, len(self.edges))[samples[0], edge])
        raise NonFiniteError(
            f"{self.id}: the costs of samples {shorten(samples)} are NaN or infinite; sample {samples[0]} has {value} "
            f"on edge {edge}. Check the network's output and the learning rate; an edge that must not be used gets a "
            "cost above that of every detour.",
            samples,
        )
