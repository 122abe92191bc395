"""The list of results: the pages in three groups, and a table with one line for each, from the pages themselves.

python docs/results_list.py    writes the tables of docs/results/index.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
END = "<!-- end -->"
FINDING = re.compile(r"^\*\*(.{40,}?)\*\*$", re.MULTILINE)
VALUE = re.compile(r"<!-- (?:value: [\w.]+|end) -->")  # around a computed number, see docs/paper.py

_COUNT = r"better on (\d+) of (\d+) \w+, level on (\d+), worse on (\d+)"
_UNDER = "; ".join(
    rf"better on (\d+) of (\d+) tasks?, level on \d+, worse on (\d+) under {one}" for one in ("adam", "muon", "soap")
)


@dataclass(frozen=True)
class Page:
    """A page of results.

    Attributes:
        path: Its path in docs/results.
        title: Its title in the list.
        pattern: Expression that finds the numbers in the finding of the page.
        line: The finding in one line, in which they stand.
        default: Version of the default in its rows; "–" if it has no such rows.
        seeds: Number of seeds, if it is not that of a study of this folder.
    """

    path: str
    title: str
    pattern: str = r"(.+?)\.(?= [A-Z]|$)"
    line: str = "{0}"
    default: str = "–"
    seeds: str = ""


PRESENT, FIRST = "present", "version 0.1"
GROUPS = {
    "The default": (
        Page(
            "default/report.md",
            "The default against plain training, clipping and fixed curvatures, under three optimisers",
            f"Default against plain in loss: {_UNDER}",
            "lower loss than plain training on {0} of {1} problems under Adam, {3} of {4} under Muon and {6} of {7} "
            "under SOAP; higher on {2}, {5} and {8}",
            PRESENT,
        ),
        Page(
            "default_outputs/report.md",
            "The default for the outputs against clipping and full supervision",
            default=PRESENT,
        ),
        Page("default_long/report.md", "The default after ten times as many steps", default=PRESENT),
        Page(
            "optimizers.md",
            "Does curvature help beyond the choice of the optimiser? All studies together",
            r"held-out loss on (.+?), and raises it on (\d+) of the (\d+)\..* time it is better on (\d+) of (\d+), "
            r"level on (\d+), worse on (\d+)",
            "in equal steps, lower loss than plain training on {0}; higher on {1} of all {2}. In equal time, lower on "
            "{3} of {4}, higher on {6}",
            PRESENT,
            "8",
        ),
        Page(
            "optimizers/report.md",
            "Five optimisers with and without the default, in equal steps and in equal time",
            rf"Default, aim loss in loss: {_COUNT}\. Default, aim loss in loss at equal time: {_COUNT}",
            "loss against plain training: in equal steps lower in {0} of {1} cases, higher in {3}; in equal time lower "
            "in {4}, higher in {7}",
            PRESENT,
        ),
        Page(
            "totals/report.md",
            "Sixteen handwritten digits, read from their running totals",
            r"clipping is \w+ than plain \((\S+ ± \S+)\).*Default is \w+ than plain \((\S+ ± \S+)\).*"
            r"Hessian is \w+ than plain \((\S+ ± \S+)\)",
            "points of digits right, compared with plain training: default {1}, Hessian {2}, clipping {0}",
            PRESENT,
        ),
        Page(
            "ranking/report.md",
            "Five numbers of four digits, ranked from their order",
            rf"Default: {_COUNT}.*Fisher: {_COUNT}.*Hessian: {_COUNT}",
            "default better than plain training with {0} of {1} losses, Fisher matrix with {4} and Hessian with {8}",
            PRESENT,
        ),
        Page(
            "sequences/report.md",
            "Sequences with real data: a water meter, double sums, utterances",
            f"Default against plain in loss: {_UNDER}",
            "lower loss than plain training on {0} of {1} tasks under Adam, {3} of {4} under Muon and {6} of {7} under "
            "SOAP; higher on {2}, {5} and {8}",
            PRESENT,
        ),
        Page("engine.md", "Time and memory of a training step", default=PRESENT),
        Page(
            "defaults/report.md",
            "The default of version 0.1 beside a grid of curvatures",
            rf"against plain: {_COUNT}\..*best of grid: {_COUNT}",
            "better than plain training on {0} of {1} tasks, level on {2}, worse on {3}; than the best curvature of "
            "the grid on {4}, level on {6}, worse on {7}",
            FIRST,
        ),
        Page(
            "diagnose.md",
            "Does the diagnosis before training predict what training shows?",
            r"(\d+) of (\d+) verdicts .*; (\d+) cases",
            "{0} of {1} verdicts for the outputs held in the training that followed; {2} cases were left undecided",
            seeds="3",
        ),
    ),
    "The paper": (
        Page(
            "paper.md",
            "The claims of the Newton Losses paper, repeated with controls",
            r"Fisher matrix gains (.+?) percentage points.*reports (.+?):.*exactly, gains (\S+ to \S+)\.",
            "with a naive loss at the sharpest setting, the Fisher matrix gains {0} points over plain training, where "
            "the paper reports {1}; clipping or an exact evaluation gains {2}",
            seeds="8",
        ),
        Page(
            "paper_explanation/report.md",
            "Do the published gains on ranking come from curvature or from exploding float32 gradients?",
            rf"Naive, clipping: {_COUNT}.*Naive, Fisher: {_COUNT}.*Naive, Hessian: {_COUNT}",
            "with the naive loss, of {1} settings, clipping is better than plain training in {0} and worse in {3}, the "
            "Fisher matrix in {4} and {7}, the Hessian in {8} and {11}",
        ),
        Page(
            "paper_ranking/report.md",
            "The ranking table of the paper, reduced",
            rf"Clipping: {_COUNT}.*Fisher: {_COUNT}.*Hessian: {_COUNT}.*Default: {_COUNT}",
            "with the exact loss, better than plain training in {0} (clipping), {4} (Fisher matrix), {8} (Hessian) and "
            "{12} (default) of {1} cases; worse in {3}, {7}, {11} and {15}",
            PRESENT,
        ),
        Page(
            "paper_mnist/report.md",
            "The ranking table of the paper on MNIST at half its resolution",
            rf"Clipping: {_COUNT}.*?Fisher: {_COUNT}.*?Hessian: {_COUNT}.*?Default: {_COUNT}",
            "with the exact loss, better than plain training in {0} (clipping), {4} (Fisher matrix), {8} (Hessian) and "
            "{12} of {13} (default) of {1} cases; worse in {3}, {7}, {11} and {15}",
            PRESENT,
        ),
        Page(
            "paper_regimes/report.md",
            "Network, training length, learning rate and precision behind the gains on ranking",
            rf"Clipping: {_COUNT}.*?Fisher: {_COUNT}.*?Hessian: {_COUNT}.*?Default: {_COUNT}",
            "with the exact loss, of {1} trainings the Fisher matrix is better than plain training in {4}, the Hessian "
            "in {8}, clipping in {0} and the default in {12}; worse in {7}, {11}, {3} and {15}",
            PRESENT,
        ),
        Page(
            "paper_paths/report.md",
            "The shortest paths of the paper, reduced",
            rf"Clipping: {_COUNT}.*Fisher: {_COUNT}.*Default: {_COUNT}.*Hessian: {_COUNT}",
            "better than plain training on {0} (clipping) and {4} (Fisher matrix) of {1} losses, {8} of {9} (default) "
            "and {12} of {13} (Hessian); worse on {3}, {7}, {11} and {15}",
            PRESENT,
        ),
        Page(
            "paper_damping/report.md",
            "The damping of Newton losses over six orders of magnitude",
            rf"Fisher, λ = 0\.1: {_COUNT}.*Hessian, λ = 0\.1: {_COUNT}",
            "with λ = 0.1, better than plain training: Fisher matrix with {0} of {1} losses, Hessian with {4}; worse "
            "with {3} and {7}",
        ),
        Page(
            "paper_no_harm/report.md",
            "Classification by cross-entropy, where nothing is to be gained",
            rf"Fisher: {_COUNT}.*Hessian: {_COUNT}",
            "Fisher matrix level with plain training in {2} of {1} cases, Hessian level in {6} and worse in {7}",
        ),
    ),
    "Others": (
        Page(
            "decisions/report.md",
            "Decisions from predicted costs: paths on grids, knapsacks, patients",
            rf"Clipped: {_COUNT}.*?Default: {_COUNT}",
            "default better than plain training in {4} of {5} cases, level in {6}, worse in {7}; clipping {0} / {2} / "
            "{3}",
            PRESENT,
        ),
        Page(
            "paths/report.md",
            "Shortest paths on maps, from pictures",
            rf"Fisher: {_COUNT}.*?Fisher at equal time: {_COUNT}",
            "Fisher matrix better than plain training with {0} of {1} losses, worse with {3}; in equal time better "
            "with {4}, worse with {7}",
        ),
        Page(
            "ltr/report.md",
            "Learning to rank the rows of a table",
            rf"Fisher: {_COUNT}.*Default: {_COUNT}",
            "level with plain training on {2} of {1} losses with the Fisher matrix, on {6} with the default",
            PRESENT,
        ),
        Page(
            "half_inverse/report.md",
            "Half-Inverse Gradients on the tasks of their authors",
        ),
        Page(
            "others.md",
            "Problems of other authors: their published figures beside ours",
            r"Of (\d+) exact published numbers.*?, (\d+) are.*plain training times (.+?)\.?$",
            "{1} of {0} exact published numbers reproduced; elsewhere, the loss of the default with Adam is that of "
            "plain training times {2}",
            PRESENT,
            "8",
        ),
        Page(
            "choices.md",
            "Choices of travellers and customers, fitted to their published likelihood",
            default=PRESENT,
        ),
        Page("algorithms_cost.md", "The cost of curvature for each algorithm"),
        Page("sorting.md", "Speed of sorting operators beside other libraries"),
        Page("paths_speed.md", "Speed of shortest paths beside other libraries"),
        Page("sequences.md", "Speed of soft-DTW beside other libraries"),
        Page("decisions_speed.md", "Speed of training on decisions beside PyEPO"),
    ),
}
"""The groups of the list, with their pages in order; a page that is not on record yet is left out."""


def main(results: Path = RESULTS) -> None:
    """Write the tables of the list of results."""
    path = results / "index.md"
    path.write_text(with_tables(path.read_text("utf-8"), results), encoding="utf-8")


def with_tables(text: str, results: Path = RESULTS) -> str:
    """Return the list of results with its tables."""
    for mark, made in MARKS.items():
        text = replaced(text, mark, made(results))
    return text


def replaced(text: str, mark: str, part: str) -> str:
    """Return a page with another part between its marks.

    Raises:
        SystemExit: The page does not have the mark.
    """
    before, found, rest = text.partition(mark)
    if not found:
        raise SystemExit(f"The mark {mark} is missing.")
    return f"{before}{mark}\n{part.strip()}\n{END}{rest.partition(END)[2]}"


def table(results: Path = RESULTS) -> str:
    """Return a table of all pages on record, in Markdown."""
    lines = ["| page | finding | default | seeds |", "|---|---|---|---:|"]
    for group, pages in recorded(results).items():
        lines.append(f"| **{group}** | | | |")
        lines += [
            f"| [{one.title}]({one.path}) | {in_one_line(one, results)} | {one.default} | {_seeds(one)} |"
            for one in pages
        ]
    return "\n".join(lines)


def recorded(results: Path = RESULTS) -> dict[str, list[Page]]:
    """Return the pages that are there, by group."""
    found = {group: [one for one in pages if (results / one.path).exists()] for group, pages in GROUPS.items()}
    return {group: pages for group, pages in found.items() if pages}


def in_one_line(page: Page, results: Path = RESULTS) -> str:
    """Return the finding of a page in one line.

    Raises:
        SystemExit: The finding does not have the numbers.
    """
    finding = FINDING.search(VALUE.sub("", (results / page.path).read_text("utf-8")))
    numbers = finding and re.search(page.pattern, finding[1])
    if not numbers:
        raise SystemExit(f"The finding of {page.path} has changed; adapt its pattern in docs/results_list.py.")
    line = page.line.format(*numbers.groups())
    return line if line.startswith("nlcore") else line[:1].upper() + line[1:]


def counts(results: Path = RESULTS) -> str:
    """Return the counts of the page of optimisers, in a table of three."""
    number = r"\d+ / \d+ / \d+"
    rows = re.findall(
        rf"^\| (Adam|Muon|SOAP) \| \d+ \| ({number}) \| ({number}) ",
        (results / "optimizers.md").read_text("utf-8"),
        re.MULTILINE,
    )
    head = ["| optimiser | against plain training | against the best control |", "|---|---:|---:|"]
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows)])


def _seeds(page: Page) -> str:
    """Return the number of seeds of a study, or that of the page."""
    from nlcore_bench import find

    return page.seeds or (str(find(page.path.partition("/")[0]).seeds) if "/" in page.path else "–")


def missing(results: Path = RESULTS) -> Iterator[str]:
    """Yield the pages that are in no group."""
    known = {one.path for pages in GROUPS.values() for one in pages}
    for path in sorted([*results.glob("*.md"), *results.glob("*/report.md")]):
        if (name := str(path.relative_to(results))) not in {*known, "index.md"}:
            yield name


MARKS = {
    "<!-- the findings of all pages, by `make pages` -->": table,
    "<!-- the counts of optimizers.md, by `make pages` -->": counts,
}
"""The marks in the list of results, each with the function that makes the table after it."""


if __name__ == "__main__":
    main()
