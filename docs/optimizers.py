"""The page that asks whether curvature adds to the optimiser, from the studies on record.

python docs/optimizers.py    writes docs/results/optimizers.md and optimizers.png
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, geometric_mean, median

from matplotlib.ticker import FixedLocator, NullLocator
from records import NAMES, RESULTS, plan_of, rows

from nlcore.plotting.figure import BLUE, GREY, ORANGE, legend_once, new_figure, render
from nlcore_bench.rows import Row, best_of, paired
from nlcore_bench.statistics import CLAIM_SEEDS, Paired
from nlcore_bench.tables import Table
from nlcore_bench.tasks.base import Measure

STUDIES = ("optimizers", "default", "sequences")
MEASURE = "loss"
REST = "control"  # the group of plain training, clipping and normalisation


@dataclass(frozen=True)
class Comparison:
    """The default beside plain training, on one task under one optimiser.

    Attributes:
        study: Id of the study.
        task: Label of the task.
        optimizer: Name of the optimiser.
        default: The default for the loss.
        plain: Plain training.
        half: The half power, a fixed curvature; `None` if it is not in the study.
        control: The best of plain training, clipping and normalisation on validation data; `None` without the latter.
    """

    study: str
    task: str
    optimizer: str
    default: Row
    plain: Row
    half: Row | None
    control: Row | None

    def paired(self, against: Row | None, mine: Row | None = None, *, equal_time: bool = False) -> Paired | None:
        """Return the loss of the default, or of another row, against a row."""
        mine = mine or self.default
        runs = mine.timed if equal_time else mine.runs
        if against is None or not runs or len(runs) < CLAIM_SEEDS:
            return None
        return paired(_measure(mine), runs, against.runs)


def comparisons() -> list[Comparison]:
    """Return all comparisons on record, by optimiser; of a task in two studies both."""
    found = []
    for id in STUDIES:
        plan, known = plan_of(id), rows(id)
        for task, optimizer in dict.fromkeys((one.entry.task, one.entry.optimizer) for one in known):
            members = [one for one in known if (one.entry.task, one.entry.optimizer) == (task, optimizer)]
            named = {one.entry.name: one for one in members}
            if plan is None or not {"default", "plain"} <= named.keys() or MEASURE not in _names(members[0]):
                continue
            controls = [one for one in members if one.entry.name == "plain" or "clip" in one.entry.name]
            controls += [one for one in members if one.entry.group == REST and one not in controls]
            best = max(controls, key=lambda one: plan.validation(one.entry)) if len(controls) > 1 else None
            label = plan.study.tasks[task].label or task
            found.append(Comparison(id, label, optimizer, named["default"], named["plain"], named.get("half"), best))
    order = list(NAMES)
    return sorted(found, key=lambda one: order.index(one.optimizer))


def _measure(row: Row) -> Measure:
    return next(one for one in row.measures if one.name == MEASURE)


def _names(row: Row) -> list[str]:
    return [one.name for one in row.measures]


def counted(pairs: list[Paired | None]) -> str:
    """Return better, level and worse of some comparisons in words."""
    words = [pair.word for pair in pairs if pair is not None]
    if not words:
        return "–"
    return f"{words.count('better')} / {words.count('level')} / {words.count('worse')}"


def summary(found: list[Comparison]) -> Table:
    """Return the table of the optimisers."""
    lines = []
    for optimizer in dict.fromkeys(one.optimizer for one in found):
        members = [one for one in found if one.optimizer == optimizer]
        costs = [_seconds(one.default) / _seconds(one.plain) for one in members]
        lines.append(
            (
                NAMES[optimizer],
                str(len(members)),
                counted([one.paired(one.plain) for one in members]),
                counted([one.paired(one.control) for one in members]),
                counted([one.paired(one.plain, one.half) for one in members if one.half is not None]),
                counted([one.paired(one.plain, equal_time=True) for one in members]),
                f"{geometric_mean(_ratios(members)):.2f}",
                f"{median(costs):.1f}",
            )
        )
    head = (
        "optimiser",
        "tasks",
        "default v plain",
        "default v best control",
        "half power v plain",
        "default v plain, equal time",
        "loss over plain",
        "time over plain",
    )
    title = "The held-out loss after equally many steps: tasks on which it is better / level / worse"
    return Table(head=head, rows=tuple(lines), title=title)


def _seconds(row: Row) -> float:
    return median(run.cpu_seconds for run in row.runs)


def _ratios(found: list[Comparison], *, equal_time: bool = False) -> list[float]:
    pairs = [one.paired(one.plain, equal_time=equal_time) for one in found]
    return [fmean(pair.mine) / fmean(pair.base) for pair in pairs if pair is not None]


def details(found: list[Comparison]) -> Table:
    """Return the table of all comparisons."""
    lines = []
    for one in found:
        values = [_loss(row) for row in (one.plain, one.control, one.half, one.default)]
        words = [pair.word if pair else "–" for pair in (one.paired(one.plain), one.paired(one.control))]
        timed = one.paired(one.plain, equal_time=True)
        after = "–" if timed is None else f"{fmean(timed.mine):.3g} {timed.word}"
        lines.append((one.task, NAMES[one.optimizer], one.study, *values, *words, after))
    head = ("task", "optimiser", "study", "plain", "best control", "half power", "default")
    head = (*head, "default v plain", "v best control", "default at equal time")
    return Table(head=head, rows=tuple(lines), title="Held-out loss, mean of the seeds", words=3)


def _loss(row: Row | None) -> str:
    return "–" if row is None else f"{fmean(run.final[MEASURE] for run in row.runs):.3g}"


def best_pairs() -> Iterator[tuple[str, ...]]:
    """Yield for every task the optimiser that is best without and with the default, chosen on validation data."""
    for id in STUDIES:
        plan, known = plan_of(id), rows(id)
        if plan is None:
            continue
        for task, part in plan.study.tasks.items():
            members = [one for one in known if one.entry.task == task and MEASURE in _names(one)]
            whole = {one.optimizer for one in plan.entries if one.task == task}
            if {one.entry.optimizer for one in members if one.entry.name == "default"} != whole:
                continue
            mine, base = (best_of(plan, members, name, MEASURE) for name in ("default", "plain"))
            if mine is None or base is None:
                continue
            pair = paired(_measure(mine), mine.runs, base.runs)
            names = [f"{_loss(row)} ({NAMES[row.entry.optimizer]})" for row in (base, mine)]
            yield (part.label or task, id, *names, f"{pair.signed()} {pair.claim}")


def finding(found: list[Comparison]) -> str:
    """Return the finding, in which every number is computed."""
    parts = []
    for optimizer in dict.fromkeys(one.optimizer for one in found):
        words = [pair.word for one in found if one.optimizer == optimizer and (pair := one.paired(one.plain))]
        parts.append(f"{words.count('better')} of {len(words)}{' tasks' * (not parts)} with {NAMES[optimizer]}")
    pairs = [pair.word for one in found if (pair := one.paired(one.plain))]
    timed = [pair.word for one in found if (pair := one.paired(one.plain, equal_time=True))]
    best = [line[-1].split()[-1] for line in best_pairs()]
    text = (
        f"After equally many steps the default lowers the held-out loss on {', '.join(parts)}, and raises it on "
        f"{pairs.count('worse')} of the {len(pairs)}. With the optimiser chosen on validation data for either side, it "
        f"is better on {best.count('better')} of {len(best)} tasks, level on {best.count('level')} and worse "
        f"on {best.count('worse')}."
    )
    if timed:
        text += (
            f" After equal time it is better on {timed.count('better')} of {len(timed)}, level on "
            f"{timed.count('level')}, worse on {timed.count('worse')}."
        )
    return text


def page(found: list[Comparison]) -> str:
    """Return the page."""
    pairs = Table(
        head=("task", "study", "plain", "default", "difference"),
        rows=tuple(best_pairs()),
        title="The best optimiser for either side, chosen on validation data: held-out loss",
        words=2,
    )
    lines = [
        "# Does curvature add to the optimiser?",
        "",
        f"**{finding(found)}**",
        "",
        "[![The loss of the default over that of plain training, by optimiser](optimizers.png)](optimizers.png)",
        "",
        "Muon and SOAP whiten the gradient in the space of the parameters; a Newton loss does so in the space of the "
        "outputs. Much of what curvature adds to SGD or Adam, an optimiser that whitens adds as well. *Default* is "
        "`NewtonLoss(loss)`, plain training the loss itself; the best control is the best of plain training, clipping "
        "and normalised gradients; the half power is `GaussNewton(power=0.5)`, or the same of |H| or the Fisher "
        "matrix.",
        "",
        summary(found).markdown(),
        pairs.markdown(),
        details(found).markdown(),
        *_missing(),
        "",
        "## Repeat it",
        "",
        "The page is made of the runs on record; the studies make the runs.",
        "",
        "<!-- not run: trains for hours -->",
        "```bash",
        *(f"nlcore bench run {id} --out docs/results" for id in STUDIES),
        "python docs/optimizers.py",
        "```",
        "",
    ]
    return "\n".join(lines)


def _missing() -> list[str]:
    """Return what the records do not hold, one list item each."""
    items = [
        f"- A comparison is of {CLAIM_SEEDS} seeds or more, paired, each side at its own learning rate. *Better* and "
        "*worse* follow [one rule](../reference/bench.md#how-to-read-a-table).",
        "- The study `optimizers` has 200 steps and runs of equal time: the same method with a schedule shortened to "
        "the processor time of plain training. `default` has 300 steps and `sequences` 200 or 600, without such runs.",
        "- Equal time is the hardest test on networks this small: a plain step takes 1 to 3 ms, so that curvature and "
        "probes cost as much as the network. [What a step costs](engine.md) has larger ones.",
        "- SGD and AdamW are in the study `optimizers` alone. A task that is in two studies counts twice.",
    ]
    for id in STUDIES:
        plan = plan_of(id)
        if plan is None:
            items.append(f"- Not on record: the study `{id}`.")
            continue
        open_rows = [one for one in plan.entries if not plan.complete(one)]
        tasks = dict.fromkeys(plan.study.tasks[one.task].label or one.task for one in open_rows)
        if open_rows:
            items.append(
                f"- Not on record: {len(open_rows)} of the {len(plan.entries)} rows of `{id}`, of the tasks "
                f"{'; '.join(tasks)}."
            )
    return items


def picture(found: list[Comparison]) -> bytes:
    """Return a PNG: the loss of the default over that of plain training, a mark for every task."""
    figure = new_figure(8.6, 4.2, dpi=110)
    axis = figure.subplots()
    names = list(dict.fromkeys(one.optimizer for one in found))
    for shift, (label, colour, equal_time) in enumerate(
        [("equal steps", BLUE, False), ("equal time (study optimizers)", ORANGE, True)]
    ):
        for place, optimizer in enumerate(names):
            values = _ratios([one for one in found if one.optimizer == optimizer], equal_time=equal_time)
            if not values:
                continue
            at = place + 0.24 * (shift - 0.5)
            axis.plot([at] * len(values), values, "o", color=colour, alpha=0.35, markersize=5)
            axis.plot([at], [geometric_mean(values)], "D", color=colour, markersize=8, label=label)
    axis.axhline(1.0, color=GREY, linewidth=1, linestyle="--")
    axis.set(yscale="log", xticks=range(len(names)), xticklabels=[NAMES[one] for one in names])
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0]))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylabel("held-out loss of the default\nover that of plain training")
    axis.grid(alpha=0.25)
    legend_once(axis, axis, loc="best")
    axis.set_title("below 1 the default is better; small marks are tasks, large ones their geometric mean", fontsize=10)
    return render(figure)


def main(folder: Path = RESULTS) -> None:
    """Write page and picture, and print the finding."""
    found = comparisons()
    (folder / "optimizers.md").write_text(page(found), encoding="utf-8")
    (folder / "optimizers.png").write_bytes(picture(found))
    print(finding(found))


if __name__ == "__main__":
    main()
