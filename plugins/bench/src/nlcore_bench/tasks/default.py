"""Five problems that compare the library's default with controls and a grid of curvatures and dampings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from nlcore_bench.data.digits import PartName
from nlcore_bench.methods.base import Method
from nlcore_bench.methods.default import default_methods
from nlcore_bench.tasks.base import Batch, Metric
from nlcore_bench.tasks.ranking import Ranking
from nlcore_bench.tasks.totals import Totals

__all__ = ["PROBLEMS", "Default", "Problem"]


@dataclass(frozen=True)
class Problem:
    """A loss with the task it is trained on.

    Attributes:
        title: One line for tables.
        loss: Full id of the algorithm.
        task: The task, with its network and metrics.
        curvature: The second-order curvature of the grid.
        options: Options of the algorithm.
    """

    title: str
    loss: str
    task: Totals | Ranking
    curvature: Literal["hessian", "gauss_newton"]
    options: dict[str, Any] = field(default_factory=dict)


_NETWORK = {"network": "odd_even", "distribution": "logistic"}

PROBLEMS: dict[str, Problem] = {
    "totals": Problem("running totals, m = 16", "sequences/prefix_sum-v1", Totals(length=16), "gauss_newton"),
    "blur": Problem("Gaussian blur, m = 32", "bench/blur-v1", Totals(length=32), "gauss_newton"),
    "drag": Problem("drag simulator, m = 16", "bench/drag-v1", Totals(length=16), "gauss_newton"),
    "neuralsort": Problem("ranking, NeuralSort, n = 5", "sorting/neuralsort-v1", Ranking(), "hessian"),
    "network": Problem("ranking, logistic network, n = 5", "sorting/diffsort-v1", Ranking(), "hessian", _NETWORK),
}


@dataclass(frozen=True)
class Default:
    """One of `PROBLEMS` with the methods of the study of the default.

    Attributes:
        problem: Key of `PROBLEMS`.
        steps: Steps of a run.
        learning_rates: Learning rates that every method is tuned over.
    """

    problem: str = "totals"
    steps: int = 500
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)

    every: ClassVar[int] = 100
    notes: ClassVar[tuple[str, ...]] = ()

    @property
    def _of(self) -> Problem:
        return PROBLEMS[self.problem]

    @property
    def _base(self) -> Totals | Ranking:
        return replace(self._of.task, steps=self.steps)

    @property
    def name(self) -> str:
        """Name of the folder of results."""
        return f"default_{self.problem}"

    @property
    def title(self) -> str:
        """One line above tables and pictures."""
        return f"The default on {self._of.title}"

    @property
    def methods(self) -> tuple[Method, ...]:
        """Controls, the default, the grid and, where there are digits to supervise, full supervision."""
        supervision = "ranks" if isinstance(self._base, Ranking) else "features"
        methods = default_methods(self._of.loss, self._of.options, supervision, self._of.curvature)
        if supervision == "ranks":
            return methods
        reference = Method(
            name="supervised",
            label="every digit supervised",
            group="reference",
            loss="core/squared_error-v1",
            supervision="digits",
            baseline="plain",
        )
        return (*methods, reference)

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics; the first one chooses the learning rate."""
        return self._base.metrics

    def settings(self) -> dict[str, Any]:
        """Return everything that changes a number, except the methods, as JSON values."""
        return {**asdict(self), "base": self._base.settings()}

    def model(self) -> nn.Module:
        """Return a new network."""
        return self._base.model()

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of the task, with the simulator's features of the true digits as target."""
        import nlcore

        loss: Any = nlcore.make(self._of.loss, **self._of.options)
        for batch in self._base.batches(seed):
            if "digits" in batch.targets:
                features: Tensor = loss.inner(batch.targets["digits"])
                yield Batch(batch.inputs, {**batch.targets, "features": features})
            else:
                yield batch

    def evaluate(self, model: nn.Module, part: PartName) -> dict[str, float]:
        """Return every metric on one part of the data, in %."""
        return self._base.evaluate(model, part)
