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
from nlcore_bench.rows import Row, best_of, paired, rows_of

DOCS = Path(__file__).parent
OUTPUTS, LOSS = "totals", "heat"
"""The task of each aim."""

_METHODS = {
    "plain": "plain gradient",
    "control": "best without curvature",
    "default": "NewtonLoss(loss)",
    "outputs": 'NewtonLoss(loss, Auto(aim="outputs"))',
}

Found = dict[str, dict[str, Row]]
"""The rows of a task by optimiser and method."""


def main(results: Path = RESULTS) -> None:
    """Write landing-light.png, landing-dark.png and landing.md beside the landing page.

    Args:
        results: Folder of the studies on record.
    """
    plan = plan_of("default", results)
    if plan is None:
        raise SystemExit(f"{results} has no records of the study default.")
    digits, heat = table_of(plan, OUTPUTS, "accuracy"), table_of(plan, LOSS, "loss")
    save(DOCS / "landing", _drawing(plan, digits, heat))
    text = "\n\n".join([_sentence(digits), _loss_sentence(heat), _setting(plan, digits)])
    (DOCS / "landing.md").write_text(text + "\n", encoding="utf-8")


def table_of(plan: Plan, task: str, measure: str) -> Found:
    """Return the rows of a task by optimiser and method, the best control by the measure on validation data."""
    rows = rows_of(plan, [one for one in plan.entries if one.task == task])
    known = {
        optimizer: {
            name: best_of(plan, [row for row in rows if row.entry.optimizer == optimizer], name, measure)
            for name in _METHODS
        }
        for optimizer in plan.study.optimizers
    }
    return {key: {name: row for name, row in one.items() if row is not None} for key, one in known.items()}


def _right(row: Row) -> list[float]:
    """Return the shares of digits right, in %."""
    return [run.final["accuracy"] for run in row.runs]


def _relative(row: Row, plain: Row) -> list[float]:
    """Return the held-out losses in units of the mean of plain training."""
    unit = fmean(run.final["loss"] for run in plain.runs)
    return [run.final["loss"] / unit for run in row.runs]


def _drawing(plan: Plan, digits: Found, heat: Found) -> Callable[[], Any]:
    """Return what draws both charts, with the standard deviation over the seeds."""
    supervised = plan.study.entries(tasks=[OUTPUTS], optimizers=["adam"], methods=["supervised"])
    level = fmean(_right(rows_of(plan, supervised)[0]))
    shares = [{name: _right(row) for name, row in rows.items()} for rows in digits.values()]
    losses = [
        {name: _relative(rows[name], rows["plain"]) for name in ("plain", "control", "default")}
        for rows in heat.values()
    ]

    def draw() -> Any:
        figure = new_figure(8.6, 3.6)
        left, right = figure.subplots(1, 2)
        _bars(left, shares, base=3, digits=0)
        left.axhline(level, color=GREY, linestyle=":", linewidth=1, label="every digit labelled, Adam")
        left.set(ylim=(0, 100), ylabel="unseen digits read correctly, %", title="aim: the right digits, from totals")
        _bars(right, losses, base=0.03, digits=2)
        right.set(ylim=(0, None), ylabel="held-out loss, plain gradient = 1", title="aim: a low loss, heat equation")
        for axes, found in ((left, digits), (right, heat)):
            kinds = [plan.study.optimizers[one].kind for one in found]
            axes.set(xticks=range(len(kinds)), xticklabels=[NAMES[one] for one in kinds])
        legend_once(figure, left, loc="outside lower center", ncols=3)
        return figure

    return draw


def _bars(axes: Any, found: list[dict[str, list[float]]], *, base: float, digits: int) -> None:
    """Draw a group of bars for each optimiser, with their heights at the foot."""
    for place, methods in enumerate(found):
        width = 0.8 / len(methods)
        for number, (name, values) in enumerate(methods.items()):
            at = place + width * (number - (len(methods) - 1) / 2)
            style = {"color": LOOKS[name][0], "ecolor": GREY, "label": _METHODS[name]}
            axes.bar(at, fmean(values), 0.9 * width, yerr=stdev(values), **style)
            axes.text(at, base, f"{fmean(values):.{digits}f}", ha="center", color="white", fontsize=8)


def _sentence(table: Found) -> str:
    """Return the finding for the outputs, with its controls."""
    adam = table["adam"]
    best = {name: max((rows[name] for rows in table.values()), key=lambda row: fmean(_right(row))) for name in _METHODS}
    control = max((best["plain"], best["control"]), key=lambda row: fmean(_right(row)))
    mine = max((best["default"], best["outputs"]), key=lambda row: fmean(_right(row)))

    def share(row: Row) -> str:
        return f"{fmean(_right(row)):.0f} %"

    other = control.entry.optimizer
    return (
        f"**The right outputs: digits, learned from their running totals alone.** With Adam and "
        f"`NewtonLoss(loss)`, the default, the network reads {share(adam['default'])} of unseen digits correctly. "
        f"Without curvature it reads {share(adam['plain'])} with plain gradients, and {share(adam['control'])} with "
        f"the best of plain gradients, gradient clipping and gradient normalisation. {NAMES[other]} achieves much of "
        f"this gain without curvature: {share(table[other]['plain'])} with plain gradients and "
        f"{share(table[other]['control'])} with the best of the three. With {NAMES[other]}, the "
        f"default, which aims at a low loss, reads {share(table[other]['default'])}. "
        f"The best result is {share(mine)}, with {NAMES[mine.entry.optimizer]} and `{_METHODS[mine.entry.name]}`."
    )


def _loss_sentence(table: Found) -> str:
    """Return the finding for a low loss, with the optimisers under which the default is not better than a control."""
    plain = {optimizer: rows["plain"] for optimizer, rows in table.items()}
    values, verdicts = {}, []
    for name in ("default", "control"):
        means = [f"{fmean(_relative(rows[name], plain[key])):.2f} with {NAMES[key]}" for key, rows in table.items()]
        values[name] = f"{', '.join(means[:-1])} and {means[-1]}"
    words = verdicts_of(table)
    for word in sorted(set(words.values()), key=list(words.values()).index):
        verdicts += [f"{word} under {' and '.join(NAMES[key] for key in table if words[key] == word)}"]
    return (
        f"**A low loss: a network predicts the initial temperatures of a plate; its training data contain only the "
        f"temperatures at a later time, never the initial ones.** Relative to plain training with the same optimiser, "
        f"the held-out loss of the default is {values['default']}. Without curvature, the best of plain training, "
        f"clipping and normalisation has {values['control']}. Compared with this best, the default is "
        f"{', '.join(verdicts[:-1])}{' and ' * (len(verdicts) > 1)}{verdicts[-1]}."
    )


def verdicts_of(table: Found) -> dict[str, str]:
    """Return whether the loss of the default is better, level or worse than that of the best control, by optimiser."""
    (measure,) = [one for one in table["adam"]["default"].measures if one.name == "loss"]
    return {key: paired(measure, rows["default"].runs, rows["control"].runs).word for key, rows in table.items()}


def _setting(plan: Plan, table: Found) -> str:
    """Return the setting of both."""
    steps = {plan.study.steps_of(task) for task in (OUTPUTS, LOSS)}
    return (
        f"All numbers are means of {len(table['adam']['plain'].runs)} seeds after "
        f"{' or '.join(map(str, sorted(steps)))} steps. The dotted line is the same network, trained with Adam and the "
        "label of every digit. Each learning rate was chosen from equally many candidates, on validation data and with "
        'other seeds: the one with the lowest loss, or, for `Auto(aim="outputs")`, with the largest share of correct '
        "digits. [The study](results/default/report.md)."
    )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
