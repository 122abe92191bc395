"""Picture and number of the landing page, from the records of the study `default`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from concept_pictures import save
from records import LOOKS, NAMES, RESULTS, plan_of

from nlcore.plotting.figure import GREY, legend_once, new_figure
from nlcore_bench.plan import Plan
from nlcore_bench.rows import Row, best_of, rows_of

DOCS = Path(__file__).parent
TASKS = {"totals": "only running totals are known", "blur": "only a blurred row is known"}
MEASURE = "accuracy"
_METHODS = {
    "plain": "plain gradient",
    "control": "best of clipping and normalisation",
    "default": "NewtonLoss(loss)",
    "outputs": 'NewtonLoss(loss, Auto(aim="outputs"))',
}


def main(results: Path = RESULTS) -> None:
    """Write landing-light.png, landing-dark.png and landing.md beside the landing page.

    Args:
        results: Folder of the studies on record.
    """
    plan = plan_of("default", results)
    if plan is None:
        raise SystemExit(f"{results} has no records of the study default.")
    found = {task: _table(plan, task) for task in TASKS}
    save(DOCS / "landing", _drawing(plan, found))
    text = _sentence(found["totals"], plan.study.steps_of("totals"))
    (DOCS / "landing.md").write_text(text + "\n", encoding="utf-8")


def _table(plan: Plan, task: str) -> dict[str, dict[str, Row]]:
    """Return the rows of a task by optimiser and method."""
    rows = rows_of(plan, [one for one in plan.entries if one.task == task])
    known = {
        optimizer: {
            name: best_of(plan, [row for row in rows if row.entry.optimizer == optimizer], name, MEASURE)
            for name in _METHODS
        }
        for optimizer in plan.study.optimizers
    }
    return {key: {name: row for name, row in one.items() if row is not None} for key, one in known.items()}


def _right(row: Row) -> list[float]:
    return [run.final[MEASURE] for run in row.runs]


def _drawing(plan: Plan, found: dict[str, dict[str, dict[str, Row]]]) -> Callable[[], Any]:
    """Return what draws the shares of digits right, with their standard deviation over the seeds."""

    def draw() -> Any:
        figure = new_figure(8.6, 3.6)
        for axes, (task, table) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
            for place, methods in enumerate(table.values()):
                for shift, (name, label) in enumerate(_METHODS.items()):
                    values, at = _right(methods[name]), place + 0.2 * (shift - 1.5)
                    style = {"color": LOOKS[name][0], "ecolor": GREY, "label": label}
                    axes.bar(at, fmean(values), 0.18, yerr=stdev(values), **style)
                    axes.text(at, 3, f"{fmean(values):.0f}", ha="center", color="white", fontsize=8)
            supervised = plan.study.entries(tasks=[task], optimizers=["adam"], methods=["supervised"])
            level = fmean(_right(rows_of(plan, supervised)[0]))
            axes.axhline(level, color=GREY, linestyle=":", linewidth=1, label="every digit labelled, Adam")
            names = [plan.study.optimizers[one].kind for one in table]
            axes.set(xticks=range(len(table)), xticklabels=[NAMES[one] for one in names], title=TASKS[task])
            axes.set(ylim=(0, 100))
        figure.axes[0].set_ylabel("unseen digits read correctly, %")
        legend_once(figure, figure.axes[0], loc="outside lower center", ncols=3)
        return figure

    return draw


def _sentence(table: dict[str, dict[str, Row]], steps: int) -> str:
    """Return the sentences of the landing page: the finding, its controls and its setting."""
    adam, seeds = table["adam"], len(_right(table["adam"]["plain"]))
    best = {name: max((rows[name] for rows in table.values()), key=lambda row: fmean(_right(row))) for name in _METHODS}
    control = max((best["plain"], best["control"]), key=lambda row: fmean(_right(row)))
    mine = max((best["default"], best["outputs"]), key=lambda row: fmean(_right(row)))

    def share(row: Row) -> str:
        return f"{fmean(_right(row)):.0f} %"

    whitening = control.entry.optimizer
    return (
        f"**Digits, learned from their running totals alone:** trained with Adam and the default, the network reads "
        f"{share(adam['default'])} of unseen digits correctly, against {share(adam['plain'])} with plain gradients and "
        f"{share(adam['control'])} with the best of clipping and normalisation. Optimisers that whiten the updates of "
        f"weight matrices achieve much of this gain without curvature: {share(control)} with {NAMES[whitening]}, where "
        f"the default, which aims at a low loss, reads {share(table[whitening]['default'])}. The best result is "
        f"{share(mine)}, with {NAMES[mine.entry.optimizer]} and `{_METHODS[mine.entry.name]}`. These are means of "
        f"{seeds} seeds after {steps} steps. For each method, the learning rate was chosen from the same number of "
        "candidates, on validation data and with other seeds. [The study](results/default/report.md)."
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
