"""Tables of the study `default` on other pages: its counts in the README, its problems in when.md.

python docs/gains.py    writes the parts of README.md and docs/concepts/when.md between the marks
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from records import NAMES, RESULTS, plan_of
from results_list import replaced

from nlcore_bench.findings import Summary, summaries, summary_tables
from nlcore_bench.plan import Plan
from nlcore_bench.rows import rows_of
from nlcore_bench.statistics import Paired
from nlcore_bench.tables import Table

ROOT = Path(__file__).parents[1]
AGAINST = {"plain": "plain training", "control": "the best control"}
WORDS = ("better", "level", "worse")


def main(results: Path = RESULTS) -> None:
    """Write both parts.

    Args:
        results: Folder of the studies on record.
    """
    for path, (mark, made) in MARKS.items():
        path.write_text(replaced(path.read_text("utf-8"), mark, made(results)), encoding="utf-8")


def counts(results: Path = RESULTS) -> str:
    """Return on how many problems the default is better, level and worse, and the problems on which it is worse."""
    found = _loss(_plan(results))
    optimizers = list(dict.fromkeys(one.optimizer for one in found))
    members = {name: [one for one in found if one.optimizer == name] for name in optimizers}
    rows = tuple(
        (_name(name), str(len(some)), *(_counted(some, other) for other in AGAINST), _counted(some, "plain", True))
        for name, some in members.items()
    )
    head = ("optimiser", "problems", *(f"against {words}" for words in AGAINST.values()), "on the training data")
    return "\n".join([Table(head=head, rows=rows).markdown(), *_worse(members)])


def problems(results: Path = RESULTS) -> str:
    """Return the tables of all problems, of held-out data and of training data, as in the report."""
    plan = _plan(results)
    tables = summary_tables(plan.study, summaries(plan, rows_of(plan, plan.entries)))[:2]
    titles = "Loss on held-out data", "Loss on the training data"
    return "\n\n".join(
        Table(head=one.head, rows=one.rows, title=title).markdown().strip()
        for one, title in zip(tables, titles, strict=True)
    )


def _plan(results: Path) -> Plan:
    plan = plan_of("default", results)
    if plan is None:
        raise SystemExit(f"{results} has no records of the study default.")
    return plan


def _loss(plan: Plan) -> list[Summary]:
    """Return the summaries of the held-out loss."""
    return [one for one in summaries(plan, rows_of(plan, plan.entries)) if one.slot == "loss"]


def _name(optimizer: str) -> str:
    return NAMES.get(optimizer, optimizer)


def _pairs(found: list[Summary], other: str, training: bool = False) -> list[tuple[str, Paired]]:
    pairs = ((one.task, one.paired(other, training=training)) for one in found)
    return [(re.sub(r", [mn] = \d+$", "", task), pair) for task, pair in pairs if pair is not None]


def _counted(found: list[Summary], other: str, training: bool = False) -> str:
    words = [pair.word for _, pair in _pairs(found, other, training)]
    return " / ".join(str(words.count(word)) for word in WORDS)


def _worse(members: dict[str, list[Summary]]) -> Iterator[str]:
    """Yield one list item for each comparison in which the default is worse on a problem."""
    for other, words in AGAINST.items():
        parts = []
        for name, found in members.items():
            tasks = [task for task, pair in _pairs(found, other) if pair.word == "worse"]
            with_optimizer = f"under {NAMES[name]}" if name in NAMES else f"with the {name}"
            parts += [f"*{'*, *'.join(tasks)}* {with_optimizer}"] if tasks else []
        if parts:
            yield f"- Worse than {words}: {'; '.join(parts)}."


MARKS = {
    ROOT / "README.md": ("<!-- the counts of docs/results/default/report.md, by `make pages` -->", counts),
    ROOT / "docs/concepts/when.md": ("<!-- the table of docs/results/default/report.md, by `make pages` -->", problems),
}
"""The pages, each with its mark and the function that makes the part after it."""


if __name__ == "__main__":
    main()
