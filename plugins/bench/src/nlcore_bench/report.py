"""The report of a study: the finding, the pictures, the tables and what they do not say, as text, Markdown and HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nlcore.errors import ConfigError
from nlcore_bench.catalogue import find
from nlcore_bench.files import write_whole
from nlcore_bench.findings import finding, summaries, summary_tables
from nlcore_bench.pictures import pictures_of
from nlcore_bench.plan import Plan
from nlcore_bench.rows import Row, rows_of
from nlcore_bench.settings import options_given
from nlcore_bench.statistics import RULE, Paired, Sample, holm
from nlcore_bench.study import Entry, Study
from nlcore_bench.tables import Table, bullets
from nlcore_bench.tails import TAILS, tail_text
from nlcore_bench.tasks.base import Measure, task_settings

__all__ = ["Report", "make_report", "write_report"]

_MOST_NAMED = 12


@dataclass(frozen=True)
class Report:
    """A report in its parts.

    Attributes:
        title: Title of the study.
        question: Its question.
        finding: The finding in sentences.
        pictures: Pictures by file name.
        tables: The tables.
        notes: Notes for the reader of the numbers.
        limits: Conclusions that the study does not allow.
        commands: The command that repeats each row.
        machine: Versions and machine of the runs.
    """

    title: str
    question: str
    finding: tuple[str, ...]
    pictures: dict[str, bytes]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    limits: tuple[str, ...]
    commands: tuple[str, ...]
    machine: str

    def text(self) -> str:
        """Return the report for a terminal."""
        limits = ["What this does not say", "", bullets(self.limits, wrap=True), ""] if self.limits else []
        tables = [table.text() for table in self.tables]
        lines = [self.title, "", bullets(self.finding, wrap=True), "", *tables, bullets(self.notes, wrap=True), ""]
        return "\n".join([*lines, *limits, self.machine, ""])

    def markdown(self) -> str:
        """Return the report in Markdown."""
        lines = [f"# {self.title}", "", *([self.question, ""] if self.question else [])]
        lines += [f"**{' '.join(self.finding)}**", ""]
        lines += [f"[![{self.title}]({name})]({name})\n" for name in self.pictures]
        lines += [table.markdown() for table in self.tables]
        lines += [bullets(self.notes), ""]
        lines += ["## What this does not say", "", bullets(self.limits), ""] if self.limits else []
        lines += ["## Repeat it", "", f"Runs on record: {self.machine}.", "", "<!-- not run: trains -->", "```bash"]
        return "\n".join([*lines, *self.commands, "```", ""])

    def html(self) -> str:
        """Return the report as a page, whose pictures are files beside it."""

        def items(lines: Sequence[str]) -> str:
            return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"

        parts = [f"<h1>{escape(self.title)}</h1>", f"<p>{escape(self.question)}</p>"]
        parts += [f"<p><strong>{escape(' '.join(self.finding))}</strong></p>"]
        parts += [f"<p><img src='{name}' alt='{escape(self.title)}' width='100%'></p>" for name in self.pictures]
        parts += [table.html() for table in self.tables]
        parts += [items(self.notes)]
        parts += ["<h2>What this does not say</h2>", items(self.limits)] if self.limits else []
        parts += ["<h2>Repeat it</h2>", f"<p>Runs on record: {escape(self.machine)}.</p>"]
        parts += [f"<pre>{escape(chr(10).join(self.commands))}</pre>"]
        head = f"<!doctype html><meta charset='utf-8'><title>{escape(self.title)}</title>"
        return "\n".join([head, *parts, ""])


def write_report(plan: Plan, folder: Path) -> str:
    """Write `report.txt`, `report.md`, `report.html` and the pictures into the folder of a study; return the text."""
    report = make_report(plan, _machine(folder), _given(plan.study, folder))
    for name, content in report.pictures.items():
        write_whole(folder / name, content)
    write_whole(folder / "report.md", report.markdown())
    write_whole(folder / "report.html", report.html())
    write_whole(folder / "report.txt", report.text())
    return report.text()


def make_report(plan: Plan, machine: str = "", given: Sequence[str] = ()) -> Report:
    """Return the report of the rows whose runs are all there.

    Args:
        plan: The plan with its runs.
        machine: Versions and machine of the runs.
        given: Names of the options that the command needs beside those of the study.
    """
    study, rows = plan.study, rows_of(plan, plan.entries)
    tables: dict[str, list[Row]] = {}
    for row in rows:
        tables.setdefault(_table_name(study, row.entry), []).append(row)
    summary = summary_tables(study, summaries(plan, rows))
    missing = [one for one in plan.entries if not plan.complete(one)]
    listed = ", ".join(" ".join(one.key) for one in missing)
    if len(missing) > _MOST_NAMED:
        counts = Counter(_table_name(study, one) for one in missing)
        listed = "; ".join(f"{name}: {count}" for name, count in counts.items())
    unfinished = [f"Rows without all of their runs are left out: {listed}."] if missing else []
    return Report(
        title=study.title,
        question=study.question,
        finding=tuple(finding(plan, rows)),
        pictures=pictures_of(plan, tables) if rows else {},
        tables=(*summary, *(table for name, members in tables.items() for table in _tables(plan, name, members))),
        notes=(*unfinished, *study.notes, *_notes(plan, rows)),
        limits=study.limits,
        commands=tuple(_command(study, row.entry, given) for row in rows),
        machine=machine,
    )


def _table_name(study: Study, entry: Entry) -> str:
    parts = [study.tasks[entry.task].label or entry.task] if len(study.tasks) > 1 else []
    parts += [entry.optimizer] if len(study.optimizers) > 1 else []
    return ", ".join(parts)


def _tables(plan: Plan, name: str, rows: Sequence[Row]) -> list[Table]:
    """Return the table of the figures and, where there are differences of several seeds, those of their statistics."""
    columns = _columns(plan, rows)
    body = tuple(tuple(cell(row) for cell in columns.values()) for row in rows)
    found = [Table(head=tuple(columns), rows=body, title=name)]
    for measure in rows[0].compared:
        pairs = {row.entry.title: pair for row in rows if (pair := row.difference(measure)) is not None}
        if pairs and plan.study.seeds > 1:
            title = f"{name}{': ' if name else ''}differences in {measure.label}"
            found.append(_statistics(f"{title[:1].upper()}{title[1:]}", measure, pairs))
    return found


def _statistics(title: str, measure: Measure, pairs: Mapping[str, Paired]) -> Table:
    adjusted = holm([pair.wilcoxon for pair in pairs.values()])
    lines = []
    for (name, pair), corrected in zip(pairs.items(), adjusted, strict=True):
        low, middle, high = map(measure.text, Sample(pair.mine).quartiles)
        bounds = " … ".join(measure.text(one, signed=True) for one in pair.interval)
        tests = [f"{value:.3f}" for value in (pair.wilcoxon, corrected, pair.student)]
        lines.append((name, f"{middle} ({low}–{high})", bounds, *tests, f"{pair.improved:.0%}", pair.claim))
    head = ("method", "median (quartiles)", "difference, bootstrap 95 %", "Wilcoxon p", "Holm", "t-test p")
    return Table(head=(*head, "seeds improved", "in a word"), rows=tuple(lines), title=title)


def _columns(plan: Plan, rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """Return the columns by name, each with the function that makes its cells; those without content are left out."""
    first, base = rows[0].first, {one.label for row in rows if (one := plan.baseline(row.entry)) is not None}
    columns: dict[str, Callable[[Row], str]] = {"method": lambda row: row.entry.title}
    for measure in rows[0].measures:
        columns[_head(measure)] = lambda row, measure=measure: _mean(measure, row.held_out(measure))  # type: ignore[misc]
    columns[f"training{' %' if first.unit == '%' else ''}"] = lambda row: _mean(first, row.training(first))
    difference = f"difference to {base.pop() if len(base) == 1 else 'baseline'}"
    for measure in rows[0].compared:
        inside = f" in {measure.label}" if len(rows[0].compared) > 1 else ""
        for words, timed in ((difference, False), (f"equal time: {difference}", True)):
            if any(row.difference(measure, equal_time=timed) for row in rows):
                columns[words + inside] = lambda row, one=measure, timed=timed: _signed(  # type: ignore[misc]
                    row.difference(one, equal_time=timed)
                )
    if first.threshold is not None:
        goal = f"{first.threshold:g}{' %' if first.unit == '%' else ''}"
        columns[f"steps to {goal}"] = lambda row: row.reached_text(lambda run: run.steps)
        if all(run.times for row in rows for run in row.runs):
            columns[f"seconds to {goal}"] = lambda row: row.reached_text(lambda run: run.times, digits=2)
    if any(run.norms for row in rows for run in row.runs):
        columns["samples' gradients: 99.9 % / median"] = lambda row: tail_text(row.runs, "sample", 0.999)
        columns["largest / median"] = lambda row: tail_text(row.runs, "sample", 1.0)
        columns["network's gradient: largest / median"] = lambda row: tail_text(row.runs, "step", 1.0)
    columns["learning rate"] = lambda row: _tuned(row.chosen.learning_rate, edge=row.edges[0])
    if any(row.chosen.damping is not None for row in rows):
        columns["damping"] = lambda row: _tuned(row.chosen.damping, edge=row.edges[1])
    columns["seconds per run"] = lambda row: f"{Sample(tuple(run.cpu_seconds for run in row.runs)).mean:.2f}"
    return columns


def _head(measure: Measure) -> str:
    return f"{measure.label} %" if measure.unit == "%" else measure.label


def _tuned(value: float | None, *, edge: bool) -> str:
    """Return a tuned value, with a mark if a better one may lie beyond those that were tried."""
    return "" if value is None else f"{value:g}{'*' if edge else ''}"


def _mean(measure: Measure, sample: Sample) -> str:
    """Return mean ± standard deviation."""
    spread = sample.spread
    return measure.text(sample.mean) + ("" if spread is None else f" ± {measure.text(spread)}")


def _signed(pair: Paired | None) -> str:
    """Return a difference ± its standard error and the word; empty for a baseline."""
    return "" if pair is None else f"{pair.signed()} {pair.claim}"


def _steps(study: Study) -> str:
    """Return the number of steps in words: that of the study, and those of tasks with their own."""
    others = [f"{part.steps} on {part.label or name}" for name, part in study.tasks.items() if part.steps]
    return f"{study.steps} steps" + (f" ({'; '.join(others)})" if others else "")


def _notes(plan: Plan, rows: Sequence[Row]) -> list[str]:
    study = plan.study
    seeds = "1 seed" if study.seeds == 1 else f"{study.seeds} seeds; ± is the standard deviation over them"
    paired = ", for differences (paired by seed) the standard error" if study.seeds > 1 else ""
    counts = sorted({len(entry.candidates) for entry in plan.entries})
    others = "1 other seed" if study.tuning_seeds == 1 else f"{study.tuning_seeds} other seeds"
    damped = any(entry.method.dampings for entry in plan.entries)
    values = "learning rates, or learning rates times dampings," if damped else "learning rates"
    tuned = f"Every method tried {'–'.join(map(str, counts))} {values} × {others} on validation data"
    if study.learning_rates_from:
        tuned = f"Learning rates are those of the study {study.learning_rates_from}"
    kinds = ", ".join(dict.fromkeys(one.kind for one in study.optimizers.values()))
    notes = [
        f"{_steps(study)} of {kinds} with a {study.schedule} schedule; {seeds}{paired}. {tuned}; the reported "
        "seeds were then measured once on test data. Time is processor time on one thread, without evaluations.",
        RULE,
    ]
    if study.seeds > 1:
        notes.append(
            "Bootstrap: percentiles of the mean of resampled differences. Wilcoxon and t-test: two-sided, paired by "
            "seed; Holm: Wilcoxon's p adjusted for all rows of the table."
        )
    if study.tails:
        notes.append(TAILS)
    if any(row.timed for row in rows):
        notes.append(
            "Equal time: the same method on the same seeds, with a schedule shortened so that a run takes as much "
            "processor time as one of the baseline, by the medians of their tuning runs."
        )
    if any(any(row.edges) for row in rows):
        notes.append("* the smallest or largest value tried; a better one may lie beyond.")
    for row in rows:
        notes += [f"A run of '{row.entry.title}' stopped early and counts as it stood: {why}" for why in row.failures]
    return notes


def _command(study: Study, entry: Entry, given: Sequence[str]) -> str:
    words = ["nlcore bench run", study.id, "--methods", entry.name]
    words += ["--tasks", entry.task] if len(study.tasks) > 1 else []
    words += ["--optimizers", entry.optimizer] if len(study.optimizers) > 1 else []
    return " ".join([*words, *(["--option", *(f"{name}={name.upper()}" for name in given)] if given else [])])


def _given(study: Study, folder: Path) -> list[str]:
    """Return the names of the options on record that the study in its file does not set."""
    try:
        written = find(study.id)
    except ConfigError:  # a study of the user's own file
        written = study
    tasks = {name: task_settings(part.id, part.options)["options"] for name, part in written.tasks.items()}
    options = options_given(folder, tasks)
    return sorted({name for task in options.values() for name in task})


def _machine(folder: Path) -> str:
    found = json.loads((folder / "settings.json").read_text("utf-8")).get("environment", {})
    return ", ".join(f"{name} {value}" for name, value in found.items() if value != "not installed")
