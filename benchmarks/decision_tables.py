"""The page of the trainings on decisions: rows from runs and timings, and the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

import torch

from nlcore_bench.files import write_whole
from nlcore_bench.tables import Table

__all__ = ["Row", "Section", "write_page"]

_HEAD = (
    *("method", "library", "regret, %", "seconds", "× as fast as PyEPO", "time / bare loop"),
    *("published: regret, %", "seconds"),
)
_INTRO = """\
A linear predictor is trained for {epochs} epochs in batches of 32 with Adam and a learning rate of 0.01, as in PyEPO's
notebook "Training and Testing", on its data: 1000 samples, and 1000 others for the test. The loop is the same for both
libraries, and so are seeds, weights and order of the samples. Regret is Σ |cost − best cost| / Σ |best cost|, the mean
and standard deviation over seeds. **Published** is what the notebook prints, with Gurobi in two processes on another
machine.

{peer}, torch {torch}.
PyEPO solves in one process, with the solver that is its default and the fastest of those in the second table. One
thread, processor time, medians of interleaved calls. **Time / bare loop** is the time divided by that of the same
training on the squared error of the costs, which solves nothing: no method can be faster.

A layer of PyEPO that returns solutions has the loss of nlcore behind it, the number of differing entries or the squared
distance; where the notebook takes another, that is a row of its own. There the interpolation that a sample sees is
divided by the size of the batch, and for I-MLE by the number of edges too.
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A method in a library, on a problem.

    Attributes:
        problem: Name of the problem.
        method: Title of the method.
        library: Whose it is.
        pool: Whether it seldom solves.
        regret: Mean over the seeds, in %.
        deviation: Standard deviation over the seeds; 0 for one.
        seeds: Number of seeds.
        seconds: Processor time of the training, from the median time of a step.
        faster: How many times as fast as PyEPO; `None` for others.
        loop: Time divided by that of the squared error.
        published: Regret, in %, and seconds in PyEPO's notebook.
    """

    problem: str
    method: str
    library: str
    pool: bool
    regret: float
    deviation: float
    seeds: int
    seconds: float
    faster: float | None
    loop: float
    published: tuple[float, float] | None

    @classmethod
    def of(cls, regrets: Sequence[float], **others: object) -> Row:
        """Return a row from the regrets of its seeds."""
        deviation = stdev(regrets) if len(regrets) > 1 else 0.0
        return cls(regret=fmean(regrets), deviation=deviation, seeds=len(regrets), **others)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Section:
    """A problem on the page.

    Attributes:
        name: Name of the problem.
        title: Title of its table.
        solvers: Microseconds of a problem by the solver; the first is that of nlcore, the second that of the trainings.
        rows: The rows of its table.
    """

    name: str
    title: str
    solvers: Mapping[str, float]
    rows: Sequence[Row]


def write_page(folder: Path, name: str, sections: Sequence[Section], *, epochs: int, peer: str) -> str:
    """Write `{name}.md` and `{name}.json` and return the page.

    Args:
        folder: Where the files go.
        name: Name of the files.
        sections: The problems.
        epochs: Length of a training.
        peer: The versions of the other library.
    """
    about: Mapping[str, object] = {
        "epochs": epochs,
        "torch": torch.__version__.partition("+")[0],
        "peer": peer,
    }
    parts = ["# Training on decisions, beside PyEPO\n", *(_finding(one) for one in sections), _INTRO.format(**about)]
    for one in sections:
        solvers = Table(
            head=("solver", "µs a problem"),
            rows=tuple((key, f"{us:.3g}" if us < 1000 else f"{us:.0f}") for key, us in one.solvers.items()),
        )
        parts += [f"## {one.title[:1].upper()}{one.title[1:]}\n", _table(one.rows).markdown(), solvers.markdown()]
    page = "\n".join(parts)
    write_whole(folder / f"{name}.md", page)
    document = {
        "rows": [asdict(row) for one in sections for row in one.rows],
        "microseconds": {one.name: dict(one.solvers) for one in sections},
    }
    write_whole(folder / f"{name}.json", json.dumps(document, indent=1) + "\n")
    return page


def _finding(section: Section) -> str:
    """Return in a sentence how many times as fast nlcore is."""
    found = []
    for pool, words in ((False, "methods that solve every sample"), (True, "a pool of solutions")):
        faster = [row.faster for row in section.rows if row.faster is not None and row.pool == pool]
        if faster:
            found.append(f"{min(faster):.3g} to {max(faster):.3g} times as fast as PyEPO with {words}")
    return f"**{section.name.capitalize()}: nlcore is {', and '.join(found)}.**\n" if found else ""


def _table(rows: Sequence[Row]) -> Table:
    cells = [
        (
            row.method,
            row.library,
            f"{row.regret:.2f} ± {row.deviation:.2f}" if row.seeds > 1 else f"{row.regret:.2f}",
            f"{row.seconds:.3g}",
            "" if row.faster is None else f"{row.faster:.1f}",
            f"{row.loop:.1f}",
            *(("", "") if row.published is None else (f"{row.published[0]:.2f}", f"{row.published[1]:g}")),
        )
        for row in rows
    ]
    return Table(head=_HEAD, rows=tuple(cells), words=2)
