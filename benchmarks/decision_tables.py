"""The page of the trainings on decisions, made of its record alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from textwrap import fill
from typing import Any

from nlcore_bench.files import write_whole
from nlcore_bench.tables import Table

__all__ = ["NOTEBOOK_PAGE", "Row", "Section", "page", "write_page"]

NOTEBOOK_PAGE = (
    "https://github.com/khalil-research/PyEPO/blob/81089e6c03c7728f91cec9ae6b08273e48d02796/"
    "notebooks/03%20Training%20and%20Testing.ipynb"
)
"""The notebook whose printed regrets and seconds are `Method.published`."""

_TEXT = """\
A linear predictor is trained for {epochs} epochs of {steps} steps, in batches of 32, with Adam and a learning rate of
0.01, as in PyEPO's notebook [Training and Testing]({notebook}), on its data: 1000 samples, and 1000 others for the
test. The loop is the same for both libraries, and so are seeds, weights and order of the samples. Regret is
Σ |cost − best cost| / Σ |best cost| on the test samples, the mean and standard deviation over seeds: {seeds}.

**What is timed.** A step: choosing the batch, the predictor, the loss with its solver, the backward pass and Adam. The
best decisions of the training data, which both libraries are given, and the evaluations are not timed. *Seconds* is the
median time of a step times {total}. A method of nlcore, the same one of PyEPO and the training on the squared error of
the costs are timed in turns, in processor time on one thread. *× as fast as PyEPO* is the quotient of two times of this
table. *Time / bare loop* is the time divided by that of the squared error in the same turns, which solves nothing: no
method can be faster.

**PyEPO as it was timed here** is {peer}, in one process, with {trained}: its default, and the fastest of the solvers in
the second table of each problem. torch is {torch}{numba}. {machine}

**Published** is what the notebook prints: one run of PyEPO 2.2.0 with Gurobi in two processes, on a machine that it
does not name (the output of its installation is that of Google Colab). Nothing of it was measured here. The notebook
reads its clock at the beginning of an epoch, and adds the time since then after each of the {steps} steps. The seconds
that it prints thus count the first step of an epoch {steps} times and the last step once, ({steps} + 1)/2 = {factor:g}
times the time of the training if all steps take equally long. The last column is divided by this.

A layer of PyEPO that returns solutions has the loss of nlcore behind it, the number of differing entries or the squared
distance; where the notebook takes another, that is a row of its own. There the interpolation that a sample sees is
divided by the size of the batch, and for I-MLE by the number of edges too.
"""
_COMMAND = """\
## Repeat it

<!-- not run: trains for two hours, needs PyEPO -->
```bash
python -m benchmarks decisions --out runs/benchmarks   # writes decisions.json and this page
```
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
        published: Regret, in %, and seconds as PyEPO's notebook prints them.
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


def write_page(folder: Path, name: str, sections: Sequence[Section], about: Mapping[str, object]) -> str:
    """Write `{name}.json`, the record, and `{name}.md`, the page that is made of it, and return the page.

    Args:
        folder: Where the files go.
        name: Name of the files.
        sections: The problems.
        about: The settings: `epochs`, `steps` of an epoch, the versions `torch`, `peer` and `numba`, and `machine`.
    """
    document = {
        **about,
        "titles": {one.name: one.title for one in sections},
        "rows": [asdict(row) for one in sections for row in one.rows],
        "microseconds": {one.name: dict(one.solvers) for one in sections},
    }
    text = json.dumps(document, indent=1) + "\n"
    write_whole(folder / f"{name}.json", text)
    made = page(json.loads(text))
    write_whole(folder / f"{name}.md", made)
    return made


def page(document: Mapping[str, Any]) -> str:
    """Return the page of a record."""
    sections = [
        Section(name, title, document["microseconds"][name], [_row(one) for one in document["rows"] if _of(one, name)])
        for name, title in document["titles"].items()
    ]
    factor = (document["steps"] + 1) / 2
    parts = ["# Training on decisions, beside PyEPO\n", *map(_finding, sections), _text(document, sections, factor)]
    for one in sections:
        solvers = Table(
            head=("solver", "µs a problem"),
            rows=tuple((key, f"{us:.3g}" if us < 1000 else f"{us:.0f}") for key, us in one.solvers.items()),
        )
        table = _table(one.rows, factor).markdown()
        parts += [f"## {one.title[:1].upper()}{one.title[1:]}\n", table, solvers.markdown()]
    return "\n".join([*parts, _COMMAND])


def _of(row: Mapping[str, Any], name: str) -> bool:
    return bool(row["problem"] == name)


def _row(fields: Mapping[str, Any]) -> Row:
    published = fields["published"]
    return Row(**{**fields, "published": published and tuple(published)})


def _text(document: Mapping[str, Any], sections: Sequence[Section], factor: float) -> str:
    """Return what is timed and where the published numbers come from."""
    numba, machine = document["numba"], document["machine"]
    given = {"the machine": machine, "whether numba was installed": numba}
    unknown = [words for words, value in given.items() if not value]
    text = _TEXT.format(
        epochs=document["epochs"],
        steps=document["steps"],
        total=document["epochs"] * document["steps"],
        factor=factor,
        notebook=NOTEBOOK_PAGE,
        seeds="; ".join(_seeds(sections)),
        peer=document["peer"],
        trained=" and ".join(_trained(sections)) or "no solver",
        torch=document["torch"],
        numba=f", numba {numba}" if numba else "",
        machine=f"Not on record: {' and '.join(unknown)}." if unknown else f"The machine: {machine}.",
    )
    wide = [fill(one, 120, break_long_words=False, break_on_hyphens=False) for one in text.split("\n\n")]
    return "\n\n".join(wide) + "\n"


def _seeds(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the number of seeds of either library on every problem."""
    for one in sections:
        counts = {row.library.partition(",")[0]: row.seeds for row in one.rows}
        yield f"{one.name}: " + ", ".join(f"{count} with {library}" for library, count in counts.items())


def _trained(sections: Sequence[Section]) -> Iterator[str]:
    """Yield the solver with which PyEPO was trained on every problem."""
    for one in sections:
        others = list(one.solvers)[1:]
        if others:
            yield f"{others[0].partition(', ')[2]} on the {one.name}"


def _finding(section: Section) -> str:
    """Return in a sentence how many times as fast nlcore is."""
    found = []
    for pool, words in ((False, "methods that solve every sample"), (True, "a pool of solutions")):
        faster = [row.faster for row in section.rows if row.faster is not None and row.pool == pool]
        if faster:
            found.append(f"{min(faster):.3g} to {max(faster):.3g} times as fast as PyEPO with {words}")
    return f"**{section.name.capitalize()}: nlcore is {', and '.join(found)}.**\n" if found else ""


def _table(rows: Sequence[Row], factor: float) -> Table:
    head = ("method", "library", "regret, %", "seconds", "× as fast as PyEPO", "time / bare loop")
    published = any(row.published for row in rows)
    cells = [
        (
            row.method,
            row.library,
            f"{row.regret:.2f} ± {row.deviation:.2f}" if row.seeds > 1 else f"{row.regret:.2f}",
            f"{row.seconds:.3g}",
            "" if row.faster is None else f"{row.faster:.1f}",
            f"{row.loop:.1f}",
            *(_published(row, factor) if published else ()),
        )
        for row in rows
    ]
    extra = ("published: regret, %", "seconds, as printed", f"÷ {factor:g}") if published else ()
    return Table(head=(*head, *extra), rows=tuple(cells), words=2)


def _published(row: Row, factor: float) -> tuple[str, str, str]:
    if row.published is None:
        return "", "", ""
    regret, seconds = row.published
    return f"{regret:.2f}", f"{seconds:g}", f"{seconds / factor:.3g}"
