"""The cost of the default beside plain training: time over whole runs, lower bound of a probe, and memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nlcore import NewtonLoss
from nlcore.newton.network import Network
from nlcore_bench.criteria import MeanLoss
from nlcore_bench.engine.workloads import WORKLOADS, Workload
from nlcore_bench.tasks.base import Batch
from nlcore_bench.timer import clock_of, interleaved

__all__ = ["DefaultCost", "measure_default", "peak_memory", "probe_floor", "steps_of"]

_TURN = 10
"""Steps of each of the two trainings in a turn."""

_WARM = 4

_WATCHED = 8
"""Steps whose memory is measured: the checks of the first step and two probes, with the tensors that they keep."""


@dataclass(frozen=True)
class DefaultCost:
    """The cost of the default in one training, in units of plain training unless another is given.

    Attributes:
        milliseconds: Processor time of a plain step.
        floor: Lower bound of the time of a probe.
        short: The time of a short run, median over the rounds.
        long: The time of a long run; `None` without one.
        memory: The peak memory of the first steps.
        probes: Number of probes in the longest of the runs.
    """

    milliseconds: float
    floor: float
    short: float
    long: float | None
    memory: float
    probes: int


def measure_default(
    label: str,
    *,
    short: int,
    long: int,
    seconds: float,
    advance: Callable[[int], object] = lambda steps: None,
    device: str = "cpu",
) -> DefaultCost:
    """Train plainly and with the default, in turns on the same batches.

    Args:
        label: Name of the workload.
        short: Steps of a short run.
        long: Steps of a long run, which begins with a short one.
        seconds: Time for the floor of a probe.
        advance: Called with the number of steps that were taken since its last call.
        device: Where it trains.
    """
    workload = _moved(WORKLOADS[label], torch.device(device))
    goes_on = workload.limits.long is not None and long > short
    _run(workload, [_WARM])
    found = []
    for round in range(workload.rounds):
        marks = [short, long] if goes_on and round == workload.rounds - 1 else [short]
        found.append(_run(workload, marks, advance))
    last = found[-1]
    return DefaultCost(
        milliseconds=1e3 * median(one.plain[0] for one in found) / short,
        floor=probe_floor(workload, seconds),
        short=median(one.ratio(0) for one in found),
        long=last.ratio(1) if goes_on else None,
        memory=peak_memory(workload, NewtonLoss) / peak_memory(workload, MeanLoss),
        probes=last.probes,
    )


def _moved(workload: Workload, device: torch.device) -> Workload:
    """Return a training whose networks and batches are on a device."""
    if device.type == "cpu":
        return workload
    batches = workload.batches
    return replace(
        workload,
        network=lambda: workload.network().to(device),
        batches=lambda: (batch.to(device) for batch in batches()),
    )


def steps_of(label: str, *, short: int, long: int) -> int:
    """Return how many steps `measure_default` reports, of each of the two trainings."""
    workload = WORKLOADS[label]
    further = max(0, long - short) if workload.limits.long is not None else 0
    return workload.rounds * short + further


@dataclass(frozen=True)
class _Run:
    """Processor time of the two trainings up to some steps, in seconds, and the probes at the end."""

    plain: list[float]
    default: list[float]
    probes: int

    def ratio(self, mark: int) -> float:
        """Return the time of the default in units of plain training."""
        return self.default[mark] / self.plain[mark]


class _Training:
    """A network in training.

    Args:
        workload: The training.
        criterion: Makes the criterion from the loss.
    """

    def __init__(self, workload: Workload, criterion: Callable[[Any], nn.Module]) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.network = workload.network()
        self.loss = workload.loss()
        self.criterion: Any = criterion(self.loss)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)
        self.seconds = 0.0
        self.clock = clock_of(next(self.network.parameters()).device)

    def step(self, batch: Batch) -> None:
        """Take a step, and add its processor time to `seconds`."""
        start = self.clock()
        self.optimizer.zero_grad()
        self.criterion(self.network(batch.inputs), batch.target, **batch.options).backward()
        self.optimizer.step()
        self.seconds += self.clock() - start


def _run(workload: Workload, marks: Sequence[int], advance: Callable[[int], object] = lambda steps: None) -> _Run:
    """Train to the last of the marks, and return the times at each of them."""
    plain, default = _Training(workload, MeanLoss), _Training(workload, NewtonLoss)
    batches, taken = workload.batches(), 0
    times: list[tuple[float, float]] = []
    for mark in marks:
        while taken < mark:
            turn = list(islice(batches, min(_TURN, mark - taken)))
            for training in (plain, default):
                for batch in turn:
                    training.step(batch)
            taken += len(turn)
            advance(len(turn))
        times.append((plain.seconds, default.seconds))
    return _Run([one for one, _ in times], [one for _, one in times], len(default.criterion.history))


def probe_floor(workload: Workload, seconds: float) -> float:
    """Return a lower bound of the time of a probe, in units of a plain step.

    The graph of the prediction is that of the step. A probe needs the backward pass of the network with a graph of its
    own; for each of two directions a backward pass to the parameters (Jᵀd) and one through the first backward pass
    (JJᵀd); and one evaluation of the loss at the moved outputs, without gradient.

    Args:
        workload: The training.
        seconds: Wall time for the measurement.
    """
    plain, still = _Training(workload, MeanLoss), _Training(workload, MeanLoss)
    batch = next(workload.batches())
    prediction = still.network(batch.inputs)
    directions = torch.randn(2, *prediction.shape, generator=torch.Generator().manual_seed(0)).to(prediction.device)

    def probe() -> Tensor:
        network = Network.of(prediction, check=False)
        for direction in directions:
            moved = network.jvp(network.vjp(direction))
        with torch.no_grad():
            losses: Tensor = still.loss(prediction - moved.view_as(prediction), batch.target, **batch.options)
        return losses

    timings = interleaved({"plain": lambda: plain.step(batch), "probe": probe}, seconds, clock=plain.clock)
    return timings["probe"].ratio[1]


def peak_memory(workload: Workload, criterion: Callable[[Any], nn.Module]) -> int:
    """Return the peak number of bytes in tensors during the first steps of a training.

    It includes parameters, their gradients, the moments of Adam, the batch, and the tensors that a step keeps for the
    next one, but not the work space inside an operation of torch.

    Args:
        workload: The training.
        criterion: Makes the criterion from the loss.
    """
    next(workload.batches())  # loads the data
    held = _Held()
    with held:
        training = _Training(workload, criterion)
        for batch in islice(workload.batches(), _WATCHED):
            training.step(batch)
    return held.peak


class _Held(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of the living storages among those that operations return.

    Attributes:
        held: Bytes now.
        peak: The most so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: int = 0
        self.peak: int = 0
        self._watched: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, and count what it returns."""
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, Tensor):
                self._watch(leaf.untyped_storage())
        return found

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        if key in self._watched:
            return

        def free(_: object) -> None:
            del self._watched[key]
            self.held -= size

        self._watched[key] = weakref.ref(storage, free)  # a storage and its wrapper in Python die together
        self.held += size
        self.peak = max(self.peak, self.held)
