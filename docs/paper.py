"""The tables and the numbers of the page on the paper, written from the records into docs/results/paper.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median

from paper_values import grouped, value
from records import RESULTS, plan_of, rows

from nlcore_bench import Sample, find
from nlcore_bench.rows import Row, paired
from nlcore_bench.statistics import Paired
from nlcore_bench.tables import Table
from nlcore_bench.tails import tail

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_VALUE = re.compile(r"(<!-- value: ([\w.]+) -->).*?(<!-- end -->)")
_SIGNS = {"better": " ▲", "worse": " ▼", "level": ""}


def main() -> None:
    """Write all tables and values into the page."""
    page = RESULTS / "paper.md"
    page.write_text(filled(page.read_text("utf-8")), "utf-8")


def filled(text: str, folder: Path = RESULTS) -> str:
    """Return the text of the page with its tables and values.

    Args:
        text: The page. Each table has `<!-- table: NAME -->` before it, each number of ours in a sentence
            `<!-- value: NAME -->`, and both have `<!-- end -->` behind them.
        folder: Folder of the studies on record.
    """
    text = _VALUE.sub(lambda found: f"{found[1]}{value(found[2], folder)}{found[3]}", text)
    return _MARKED.sub(lambda found: f"{found[1]}\n{TABLES[found[2]](folder).strip()}\n\n{found[3]}", text)


def absent(study: str) -> str:
    """Return the sentence in the place of a table whose study has not run."""
    return f"The study `{study}` has no complete rows on record yet: `nlcore bench run {study}`."


def pivot(study: str, folder: Path, losses: tuple[str, ...] = ()) -> str:
    """Return the means of a study as Markdown: a row for each task and loss, a column for each method.

    Args:
        study: Id of the study.
        folder: Folder of the studies on record.
        losses: Labels of the losses; all if empty.
    """
    known = [row for row in rows(study, folder) if not losses or row.entry.group in losses]
    if not known:
        return absent(study)
    found = find(study)
    several = len(found.optimizers) > 1
    lines: dict[tuple[str, ...], dict[str, Row]] = {}
    for row in known:
        task = found.tasks[row.entry.task].label or row.entry.task
        words = [task] * (len(found.tasks) > 1) + [row.entry.optimizer] * several
        lines.setdefault((*words, *([row.entry.group] if found.losses else [])), {})[row.entry.label] = row
    methods = list(dict.fromkeys(row.entry.label for row in known))
    body = tuple(
        (*key, *(_cell(members[name]) if name in members else "–" for name in methods))
        for key, members in lines.items()
    )
    titles = ["task"] * (len(found.tasks) > 1) + ["optimiser"] * several + ["relaxation"] * bool(found.losses)
    return Table((*titles, *methods), body, words=len(titles)).markdown()


def _cell(row: Row) -> str:
    """Return the mean of a row with its standard deviation, and a sign for a claim against the baseline."""
    sample, pair = row.held_out(row.first), row.difference(row.first)
    return f"{row.first.text(sample.mean)} ± {row.first.text(sample.spread or 0.0)}{_SIGNS[pair.word] if pair else ''}"


def transfer(study: str, task: str, folder: Path) -> str:
    """Return exact matches on lists of 10 of networks that were trained on lists of 5."""
    known = [row for row in rows(study, folder) if row.entry.task == task]
    if not known:
        return absent(study)
    measure = next(one for one in known[0].measures if one.name == "exact_transfer")
    methods = list(dict.fromkeys(row.entry.label for row in known))
    body = []
    for group in dict.fromkeys(row.entry.group for row in known):
        members = {row.entry.label: row for row in known if row.entry.group == group}
        cells = []
        for name in methods:
            if name not in members:
                cells.append("–")
                continue
            pair = paired(measure, members[name].runs, members["plain"].runs) if "plain" in members else None
            sign = _SIGNS[pair.word] if pair and name != "plain" else ""
            cells.append(f"{_mean(measure.text, members[name].held_out(measure))}{sign}")
        body.append((group, *cells))
    return Table(("relaxation", *methods), tuple(body)).markdown()


def learning_rates(folder: Path) -> str:
    """Return exact matches on validation data, a row for each training and learning rate of `paper_regimes`."""
    plan = plan_of("paper_regimes", folder)
    known = [row for row in rows("paper_regimes", folder) if row.entry.group == "τ = 0.1"]
    if plan is None or not known:
        return absent("paper_regimes")
    methods = list(dict.fromkeys(row.entry.label for row in known))
    cells: dict[tuple[str, float], dict[str, str]] = {}
    for row in sorted(known, key=lambda one: list(plan.study.tasks).index(one.entry.task)):
        for rate in plan.study.learning_rates:
            runs = [plan.runs[cell] for cell in plan.tuning(row.entry) if cell.learning_rate == rate]
            sample = Sample(tuple(run.final[row.first.name] for run in runs))
            training = plan.study.tasks[row.entry.task].label
            cells.setdefault((training, rate), {})[row.entry.label] = _mean(row.first.text, sample)
    body = tuple(
        (training, f"{rate:g}", *(members.get(name, "–") for name in methods))
        for (training, rate), members in cells.items()
    )
    return Table(("training", "learning rate", *methods), body, words=2).markdown()


def _mean(text: Callable[[float], str], sample: Sample) -> str:
    return f"{text(sample.mean)} ± {text(sample.spread or 0.0)}"


def tails(folder: Path) -> str:
    """Return the tails of the gradients of plain training and of the Fisher, naive and exact."""
    groups = grouped("paper_explanation", folder)
    if not groups:
        return absent("paper_explanation")
    names = ("exact", "naive", "naive, Fisher", "naive, Hessian")
    body = tuple((group, *(_tail(members.get(name)) for name in names)) for group, members in groups.items())
    return Table(("relaxation", *names), body).markdown()


def _tail(row: Row | None) -> str:
    """Return the quantile 99.9 % and the largest norm over the median, each the median over the seeds."""
    if row is None:
        return "–"
    return " / ".join(f"{median(tail(run, 'sample', level) for run in row.runs):.2g}" for level in (0.999, 1.0))


def shares(folder: Path) -> str:
    """Return the gain of the Fisher with the naive loss, and the parts that simpler means reach, paired by seed."""
    groups = grouped("paper_explanation", folder)
    parts = {
        "naive loss: Fisher": ("naive, Fisher", "naive"),
        "naive loss: clipping": ("naive, clipping", "naive"),
        "exact loss alone": ("exact", "naive"),
        "exact loss: Fisher": ("exact, Fisher", "exact"),
        "exact loss: clipping": ("exact, clipping", "exact"),
        "exact loss: Fisher against clipping": ("exact, Fisher", "exact, clipping"),
        "exact loss: Hessian": ("exact, Hessian", "exact"),
    }
    body = []
    for group, members in groups.items():
        cells = [_paired(members.get(mine), members.get(base)) for mine, base in parts.values()]
        body.append((group, _mean_of(members.get("naive")), *cells))
    return (
        Table(("relaxation", "naive, plain", *parts), tuple(body)).markdown() if body else absent("paper_explanation")
    )


def _mean_of(row: Row | None) -> str:
    return "–" if row is None else row.first.text(row.held_out(row.first).mean)


def _paired(mine: Row | None, base: Row | None) -> str:
    """Return a row against another, seed by seed."""
    return "–" if mine is None or base is None else _difference(paired(mine.first, mine.runs, base.runs))


def _difference(pair: Paired) -> str:
    return f"{pair.signed()}{_SIGNS[pair.word]}"


def damping(folder: Path) -> str:
    """Return the difference to plain training along the damping, a row for each λ."""
    known = rows("paper_damping", folder)
    if not known:
        return absent("paper_damping")
    columns: dict[str, dict[str, Row]] = {}
    for row in known:
        kind, _, value = row.entry.label.partition(", λ = ")
        if value:
            columns.setdefault(f"{row.entry.group}, {kind}", {})[value] = row
    values = sorted({value for members in columns.values() for value in members}, key=float)
    body = tuple((value, *(_against(members.get(value)) for members in columns.values())) for value in values)
    plain = "; ".join(f"{row.entry.group} {_cell(row)}" for row in known if row.entry.label == "plain")
    return f"Plain training: {plain}. Differences to it:\n\n{Table(('λ', *columns), body).markdown()}"


def _against(row: Row | None) -> str:
    pair = row.difference(row.first) if row else None
    return _difference(pair) if pair else "–"


TABLES: Mapping[str, Callable[[Path], str]] = {
    "ranking": lambda folder: pivot("paper_ranking", folder),
    "transfer": lambda folder: transfer("paper_ranking", "n5", folder),
    "mnist": lambda folder: pivot("paper_mnist", folder),
    "mnist_transfer": lambda folder: transfer("paper_mnist", "mnist", folder),
    "regimes": lambda folder: pivot("paper_regimes", folder, ("τ = 0.1",)),
    "learning_rates": learning_rates,
    "precision": lambda folder: pivot("paper_regimes", folder, ("τ = 0.005", "τ = 0.002")),
    "explanation": lambda folder: pivot("paper_explanation", folder),
    "tails": tails,
    "shares": shares,
    "damping": damping,
    "no_harm": lambda folder: pivot("paper_no_harm", folder),
    "paths": lambda folder: pivot("paper_paths", folder),
}
"""The tables by the name in the page."""


if __name__ == "__main__":
    if "--check" in sys.argv:
        text = (RESULTS / "paper.md").read_text("utf-8")
        sys.exit(0 if filled(text) == text else "docs/results/paper.md is out of date. Run: python docs/paper.py")
    main()
