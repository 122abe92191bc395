"""Measurement of operators side by side: forward, forward and backward, and memory."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from nlcore_bench.timer import clock_of, interleaved

__all__ = ["Case", "Measured", "Operator", "Suite", "alone", "is_own", "measure", "silent"]

Operator = Callable[[Tensor], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """Operators that compute the same thing, and their input.

    Attributes:
        group: What they compute.
        operators: By library; those of nlcore begin with "nlcore".
        inputs: What they are called with, [batch, n] or [batch, n, n].
        differentiable: Whether the backward pass is timed too.
        memory: `"kept"` for what autograd keeps between the passes in tensors, `"peak"` for the most that torch
            allocates during a call, which also sees what an operator keeps by itself.
    """

    group: str
    operators: Mapping[str, Operator]
    inputs: Tensor
    differentiable: bool = True
    memory: Literal["kept", "peak"] = "kept"


@dataclass(frozen=True, slots=True)
class Suite:
    """A page of measurements.

    Attributes:
        title: Of the page.
        size: Name of the column with n and the batch size.
        intro: What a reader needs to know, in Markdown; `{torch}` stands for the version.
        cases: What is measured, in the order of the page.
    """

    title: str
    size: str
    intro: str
    cases: Iterable[Case]


@dataclass(frozen=True, slots=True)
class Measured:
    """One operator at one size.

    Attributes:
        group: What it computes.
        library: Whose it is.
        n: Length of a list, or side of a map.
        batch: Number of lists or maps in a call.
        forward: Median milliseconds of the forward pass.
        both: Median milliseconds of the forward and the backward pass; `None` without a backward pass.
        memory: Mebibytes, as the case measures them.
        rounds: Number of timed calls.
        faster: How many times as fast as the fastest other library; `None` for others, and where there is none.
    """

    group: str
    library: str
    n: int
    batch: int
    forward: float
    both: float | None
    memory: float
    rounds: int
    faster: float | None = None

    @property
    def whole(self) -> float:
        """Milliseconds of everything that is timed in one call."""
        return self.forward if self.both is None else self.both


def is_own(library: str) -> bool:
    """Return whether an operator is one of nlcore's."""
    return library.startswith("nlcore")


def alone(operators: Mapping[str, Operator], device: torch.device) -> dict[str, Operator]:
    """Return the operators that work on a device: on the CPU all, elsewhere those of nlcore without compiled code."""
    here = device.type == "cpu"
    return {name: one for name, one in operators.items() if here or (is_own(name) and "numba" not in name)}


def measure(case: Case, seconds: float) -> list[Measured]:
    """Time the operators of a case in turns, after a first call of each that measures the memory.

    Args:
        case: What is measured.
        seconds: Time of the rounds; at least two are made.
    """
    memory = {library: _memory(case, operator) for library, operator in case.operators.items()}
    calls = {key: call for library, operator in case.operators.items() for key, call in _calls(case, library, operator)}
    timings = interleaved(calls, seconds, fewest=2, warm=False, clock=clock_of(case.inputs.device))
    batch, n = case.inputs.shape[:2]

    def median(library: str, what: str) -> float:
        return timings[f"{library}: {what}"].milliseconds[1]

    last = "both" if case.differentiable else "forward"
    others = [median(library, last) for library in case.operators if not is_own(library)]
    return [
        Measured(
            group=case.group,
            library=library,
            n=n,
            batch=batch,
            forward=median(library, "forward"),
            both=median(library, "both") if case.differentiable else None,
            memory=memory[library],
            rounds=timings[f"{library}: forward"].rounds,
            faster=min(others) / median(library, last) if others and is_own(library) else None,
        )
        for library in case.operators
    ]


def _calls(case: Case, library: str, operator: Operator) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the calls of one turn; the first refills caches and memory that were another library's."""

    def forward() -> None:
        with torch.no_grad():
            operator(case.inputs)

    def refill() -> None:
        gc.collect()
        forward()

    yield f"{library}: refill", refill
    yield f"{library}: forward", forward
    if case.differentiable:
        yield f"{library}: both", partial(_both, operator, case.inputs)


def _both(operator: Operator, inputs: Tensor) -> None:
    """Take a forward and a backward pass."""
    torch.autograd.backward(operator(inputs.clone().requires_grad_()).square().sum())


def _memory(case: Case, operator: Operator) -> float:
    if case.memory == "kept":
        return _kept(operator, case.inputs)
    call = partial(_both if case.differentiable else lambda one, inputs: one(inputs), operator, case.inputs)
    return _peak(call, case.inputs)


def _kept(operator: Operator, inputs: Tensor) -> float:
    """Return the mebibytes of the distinct tensors that autograd keeps for the backward pass."""
    storages: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        storages[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = operator(inputs.clone().requires_grad_())
    torch.autograd.backward(result.sum())
    return sum(storages.values()) / 2**20


def _peak(call: Callable[[], object], inputs: Tensor) -> float:
    """Return the mebibytes that torch allocates at most during a call, beyond those allocated before."""
    if inputs.is_cuda:
        before = torch.cuda.memory_allocated(inputs.device)
        torch.cuda.reset_peak_memory_stats(inputs.device)
        call()
        return (torch.cuda.max_memory_allocated(inputs.device) - before) / 2**20
    with silent(2), profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as record:
        call()
    level = highest = 0
    recorded: Any = record.profiler
    for event in sorted(recorded.kineto_results.events(), key=lambda event: event.start_ns()):
        level += event.nbytes() if event.name() == "[memory]" else 0
        highest = max(highest, level)
    return highest / 2**20


@contextmanager
def silent(stream: Literal[1, 2]) -> Iterator[None]:
    """Drop what compiled code writes to the standard output, 1, or the standard error, 2."""
    (sys.stdout if stream == 1 else sys.stderr).flush()
    kept, nowhere = os.dup(stream), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream)
    try:
        yield
    finally:
        os.dup2(kept, stream)
        os.close(kept)
        os.close(nowhere)
