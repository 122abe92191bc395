"""The finding of a study in sentences, and its summary, both computed from the statistics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from scipy.stats import sem

from nlcore_bench.plan import Plan
from nlcore_bench.rows import Row, best_of, paired, rows_of
from nlcore_bench.statistics import CLAIM_SEEDS, Paired
from nlcore_bench.study import Study
from nlcore_bench.tables import Table
from nlcore_bench.tasks.base import Measure

__all__ = ["Summary", "finding", "in_short", "summaries", "summary_tables"]


_BEST = "best pair"


@dataclass(frozen=True)
class Summary:
    """The subject of a study on one task, beside what it is compared with.

    Attributes:
        task: Label of the task.
        optimizer: Optimiser; "best pair" where both sides choose their own on validation data.
        slot: Name of the measure; empty where every task is compared by its first.
        measure: The measure.
        subject: The subject.
        others: The rows it is compared with, by their names in the study; `None` where the task has no such method.
    """

    task: str
    optimizer: str
    slot: str
    measure: Measure
    subject: Row
    others: dict[str, Row | None]

    def paired(self, name: str, *, training: bool = False) -> Paired | None:
        """Return the subject against one of the others, on test data or on training data."""
        other = self.others[name]
        return None if other is None else paired(self.measure, self.subject.runs, other.runs, training=training)

    def mean(self, row: Row, *, training: bool = False) -> float:
        """Return the mean of the measure, on test data or on training data."""
        return (row.training(self.measure) if training else row.held_out(self.measure)).mean


def summaries(plan: Plan, rows: Sequence[Row]) -> list[Summary]:
    """Return the subject of the study on every task, under every optimiser and with the best pairs of several.

    A task with an unfinished row of these groups under these optimisers is left out, since the best may be missing.
    """
    study, found = plan.study, []
    names = {study.subject, *study.against}
    concerned = [one for one in plan.entries if names & {one.name, one.group}]
    unfinished = {(one.task, one.optimizer) for one in concerned if not plan.complete(one)}
    scopes = {name: [name] for name in study.optimizers}
    if len(scopes) > 1:
        scopes[_BEST] = list(study.optimizers)
    for task, part in study.tasks.items():
        members = [row for row in rows if row.entry.task == task] if study.subject else []
        for measure in members[0].compared if members else ():
            for scope, optimizers in scopes.items():
                if any((task, optimizer) in unfinished for optimizer in optimizers):
                    continue
                known = [row for row in members if row.entry.optimizer in optimizers]
                subject = best_of(plan, known, study.subject or "", measure.name)
                if subject is not None:
                    slot = measure.name if study.measures else ""
                    others = {name: best_of(plan, known, name, measure.name) for name in study.against}
                    found.append(Summary(part.label or task, scope, slot, measure, subject, others))
    return found


def _names(study: Study) -> dict[str, str]:
    """Return the methods and groups that the subject is compared with, in words."""
    return {name: name if name in study.methods else f"best of {name}" for name in study.against}


def summary_tables(study: Study, found: Sequence[Summary]) -> list[Table]:
    """Return two tables in units of the baseline, and the summaries in one table for every measure by name."""
    slots = [[one for one in found if one.slot == slot] for slot in dict.fromkeys(one.slot for one in found)]
    return [*(_in_units(study, slots[0]) if slots else ()), *(_summary_table(study, members) for members in slots)]


def _in_units(study: Study, found: Sequence[Summary]) -> Iterator[Table]:
    """Yield the first measure of all tasks as multiples of the mean of the baseline; shares in % are left out.

    The first table is of test data, the second of training data: there, methods differ in how well they optimise alone.
    """
    members = [one for one in found if one.measure.unit != "%"]
    tasks = list(dict.fromkeys(one.task for one in members))
    if study.baseline not in study.against or len(tasks) < 2:
        return
    names = {name: words for name, words in _names(study).items() if name != study.baseline}
    optimizers = list(dict.fromkeys(one.optimizer for one in members))
    label = members[0].measure.label
    inside = f" (that of the {', '.join(names.values())})" if names else ""
    for training, measure in ((False, label), (True, f"{label.removeprefix('held-out ')} on the training data")):
        cells = {
            (one.task, one.optimizer): _multiples(one, study.baseline or "", names, training=training)
            for one in members
        }
        yield Table(
            head=("task", *optimizers),
            rows=tuple((task, *(cells.get((task, optimizer), "–") for optimizer in optimizers)) for task in tasks),
            title=f"{measure[:1].upper()}{measure[1:]} of the {study.subject}{inside} in units of {study.baseline}, "
            f"and whether it is better than {study.baseline}",
        )


def _multiples(one: Summary, baseline: str, names: Iterable[str], *, training: bool) -> str:
    pair, base = one.paired(baseline, training=training), one.others[baseline]
    if pair is None or base is None:
        return "–"
    unit = one.mean(base, training=training)

    def in_units(row: Row | None) -> str:
        return "–" if row is None else _brief(one.mean(row, training=training) / unit)

    others = ", ".join(in_units(one.others[name]) for name in names)
    inside = f" ({others})" if others else ""
    return f"{in_units(one.subject)}{inside} {pair.claim}"


def _brief(multiple: float) -> str:
    """Return a number with two decimals, or with one digit where these would be zeros."""
    return f"{multiple:.2f}" if multiple >= 0.095 else f"{multiple:.1g}"


def _summary_table(study: Study, found: Sequence[Summary]) -> Table:
    names, several = _names(study), len(study.optimizers) > 1
    rows = []
    for one in found:
        pairs = [one.paired(name) for name in study.against]
        means = [
            _mean(row, one.measure, chosen=name not in study.methods, optimizer=several)
            for name, row in {str(study.subject): one.subject, **one.others}.items()
        ]
        differences = ["–" if pair is None else f"{pair.signed()} {pair.claim}" for pair in pairs]
        rows.append((one.task, *([one.optimizer] if several else []), *means, *differences))
    head = ("task", *(["optimiser"] if several else []), str(study.subject), *names.values())
    return Table(
        head=(*head, *(f"difference to {name}" for name in names.values())),
        rows=tuple(rows),
        title=f"Summary: {', '.join(dict.fromkeys(one.measure.label for one in found))}",
        words=1 + several,
    )


def _mean(row: Row | None, measure: Measure, *, chosen: bool, optimizer: bool) -> str:
    if row is None:
        return "–"
    words = [row.entry.label] * chosen + [row.entry.optimizer] * optimizer
    return measure.text(row.held_out(measure).mean) + (f" ({', '.join(words)})" if words else "")


def finding(plan: Plan, rows: Sequence[Row]) -> list[str]:
    """Return the finding in sentences, of the subject or of every method against its baseline."""
    found, seeds = summaries(plan, rows), plan.study.seeds
    sentences = [*(_of_subject(plan.study, found) if found else _of_methods(plan, rows))]
    if sentences and seeds < CLAIM_SEEDS:
        sentences.append(f"With {seeds} seed{'s' * (seeds > 1)} these are observations; a claim needs {CLAIM_SEEDS}.")
    return [one[:1].upper() + one[1:] for one in sentences] or ["No method has all of its runs yet."]


def in_short(plan: Plan) -> str:
    """Return title, measure and finding of a study in one paragraph."""
    rows = rows_of(plan, plan.entries)
    measures = dict.fromkeys(one.label for row in rows for one in row.compared[: None if plan.study.measures else 1])
    compared = f" Compared: {', '.join(measures)} on held-out data." if measures else ""
    return f"{plan.study.title}.{compared} {' '.join(finding(plan, rows))}"


def _of_subject(study: Study, found: Sequence[Summary]) -> Iterator[str]:
    """Yield a sentence for every method or group of `against`, in the first measure of each task."""
    first: dict[str, str] = {}
    for one in found:
        first.setdefault(one.task, one.slot)
    members = [one for one in found if one.slot == first[one.task]]
    inside = f" in {' or '.join(dict.fromkeys(filter(None, first.values())))}" if any(first.values()) else ""
    for name, words in _names(study).items():
        counts = []
        for optimizer in dict.fromkeys(one.optimizer for one in members):
            pairs = [pair for one in members if one.optimizer == optimizer and (pair := one.paired(name)) is not None]
            under = f" {'with the' if optimizer == _BEST else 'under'} {optimizer}" if len(study.optimizers) > 1 else ""
            counts += [f"{_counted(pairs, 'task')}{under}"] if pairs else []
        if counts:
            yield f"{study.subject} against {words}{inside}: {'; '.join(counts)}."


def _of_methods(plan: Plan, rows: Sequence[Row]) -> Iterator[str]:
    names = dict.fromkeys(measure.name for row in rows for measure in row.compared)
    study = plan.study
    noun = "loss" if study.losses and len(study.tasks) == len(study.optimizers) == 1 else "case"
    for label in dict.fromkeys(row.entry.label for row in rows if row.base):
        members = [row for row in rows if row.entry.label == label]
        for name in names if plan.study.measures else [None]:
            inside = f" in {name}" if name else ""
            for words, equal_time in (("", False), (" at equal time", True)):
                measured = [(row, one) for row in members for one in row.compared[: None if name else 1]]
                pairs = [
                    row.difference(one, equal_time=equal_time) for row, one in measured if name in {None, one.name}
                ]
                known = [pair for pair in pairs if pair is not None]
                if len(known) == 1:
                    base = plan.baseline(members[0].entry)
                    joint = f"{'with' if known[0].word == 'level' else 'than'} {base.label if base else ''}"
                    yield f"{label} is {known[0].word} {joint}{inside}{words} ({known[0].signed()})."
                elif known:
                    yield f"{label}{inside}{words}: {_counted(known, noun)}."


def _counted(pairs: Sequence[Paired], noun: str) -> str:
    words = [pair.word for pair in pairs]
    several = {"loss": "losses"}.get(noun, f"{noun}s")
    text = f"better on {words.count('better')} of {len(words)} {several if len(words) > 1 else noun}"
    text += f", level on {words.count('level')}, worse on {words.count('worse')}"
    means = [pair.difference.mean for pair in pairs]
    # Losses of different tasks have no common scale.
    if len(means) > 1 and len({pair.measure for pair in pairs}) == 1 and pairs[0].measure.unit == "%":
        measure = pairs[0].measure
        text += f" ({measure.text(fmean(means), signed=True)} ± {measure.text(float(sem(means)))} on average)"
    return text
