"""The jobs of the bench of the engine, timed on one thread."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from tqdm import tqdm

from nlcore_bench.engine.contestants import LOSSES, Step, loss_part, solvers
from nlcore_bench.engine.default import DefaultCost, measure_default, steps_of
from nlcore_bench.engine.workloads import WORKLOADS
from nlcore_bench.records import installed
from nlcore_bench.timer import Timing, clock_of, interleaved
from nlcore_bench.train import one_thread

__all__ = ["TABLES", "Bench", "Figures", "Job", "run_bench"]

Job = tuple[str, ...]
"""Table and parameters of a job: ("loss", label, n), ("step", network, label, n), ("solver", m, N),
("default", label)."""

TABLES = ("loss", "step", "solver", "default")
"""The names of the tables."""


@dataclass(frozen=True)
class Bench:
    """The options of the engine bench.

    Attributes:
        sizes: n of the loss part.
        networks: Networks of the whole step.
        step_sizes: n of the whole step; with the CNN only the first.
        outputs: m of the solvers.
        counts: N of the solvers.
        workloads: Trainings in which the default is compared with a plain step.
        short: Steps of a short run of the default.
        long: Steps of a long run.
        seconds: Time for one line of a table; four times as much with the CNN, whose steps are long.
        tables: Names of the tables to make.
        device: Device of the timings.
    """

    sizes: tuple[int, ...] = (5, 10, 32)
    networks: tuple[str, ...] = ("MLP", "CNN")
    step_sizes: tuple[int, ...] = (5, 10)
    outputs: tuple[int, ...] = (16, 64, 256, 512, 1024)
    counts: tuple[int, ...] = (32, 128)
    workloads: tuple[str, ...] = tuple(WORKLOADS)
    short: int = 500
    long: int = 5000
    seconds: float = 2.0
    tables: tuple[str, ...] = TABLES
    device: str = "cpu"

    @classmethod
    def quick(cls) -> Bench:
        """Return a bench with few sizes and rounds, for a check that everything works."""
        return cls(
            sizes=(5,),
            networks=("MLP",),
            step_sizes=(5,),
            outputs=(16, 64),
            counts=(32,),
            workloads=tuple(WORKLOADS)[:1],
            short=20,
            long=40,
            seconds=0.05,
        )

    def jobs(self) -> list[Job]:
        """Return the jobs in the order of the tables."""
        labels = [entry.label for entry in LOSSES if entry.ranked]
        jobs = [
            *(("loss", entry.label, str(n)) for entry in LOSSES for n in self.sizes),
            *(
                ("step", network, label, str(n))
                for network in self.networks
                for label in labels
                for n in (self.step_sizes[:1] if network == "CNN" else self.step_sizes)
            ),
            *(("solver", str(m), str(n)) for n in self.counts for m in self.outputs),
            *(("default", label) for label in self.workloads),
        ]
        return [job for job in jobs if job[0] in self.tables]


@dataclass(frozen=True)
class Figures:
    """The timings of all jobs.

    Attributes:
        timings: Job to contestant to timing.
        defaults: Workload to the cost of the default.
        steps: Steps of a short and of a long run of the default.
        machine: Processor and versions.
    """

    timings: dict[Job, dict[str, Timing]] = field(default_factory=dict)
    defaults: dict[str, DefaultCost] = field(default_factory=dict)
    steps: tuple[int, int] = (Bench.short, Bench.long)
    machine: dict[str, str] = field(default_factory=dict)

    def of(self, kind: str) -> Iterator[tuple[Job, dict[str, Timing]]]:
        """Yield the jobs of one kind, without its name, and their timings."""
        for job, timings in self.timings.items():
            if job[0] == kind:
                yield job[1:], timings


def run_bench(bench: Bench, *, quiet: bool = False) -> Figures:
    """Time all jobs.

    Args:
        bench: The choice of jobs.
        quiet: Whether the progress bar is hidden.
    """
    figures = Figures(
        steps=(bench.short, bench.long),
        machine={
            "processor": platform.processor() or platform.machine(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": installed("numba"),
            "threads": "1",
            **({"device": torch.cuda.get_device_name(bench.device)} if bench.device.startswith("cuda") else {}),
        },
    )
    with one_thread(), tqdm(bench.jobs(), disable=quiet, file=sys.stderr, unit="line") as bar:
        for job in bar:
            bar.set_postfix_str(", ".join(job))
            if job[0] == "default":
                figures.defaults[job[1]] = _default(job[1], bench, quiet=quiet)
                continue
            figures.timings[job] = interleaved(
                _calls(job, bench.device),
                bench.seconds * (4 if "CNN" in job else 1),
                clock=clock_of(torch.device(bench.device)),
            )
    return figures


def _default(label: str, bench: Bench, *, quiet: bool) -> DefaultCost:
    lengths = {"short": bench.short, "long": bench.long}
    total = steps_of(label, **lengths)
    with tqdm(total=total, desc=label, disable=quiet, file=sys.stderr, unit="step", leave=False) as bar:
        return measure_default(label, **lengths, seconds=bench.seconds / 2, advance=bar.update, device=bench.device)


def _calls(job: Job, device: str) -> dict[str, Callable[[], object]]:
    kind, *rest = job
    if kind == "solver":
        return solvers(int(rest[0]), int(rest[1]), device)
    label, size = rest[-2], int(rest[-1])
    entry = next(entry for entry in LOSSES if entry.label == label)
    if kind == "loss":
        return loss_part(entry, size, device)
    step = Step(rest[0], size, device)
    return {name: step.call(criterion) for name, criterion in entry.criteria().items()}
