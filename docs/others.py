"""The page of problems that other authors have published: their figures, and ours beside them.

python docs/others.py    writes docs/results/others.md and others.png
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from choices import FILE, SAMPLES
from records import LOOKS, NAMES, RESULTS, row

from nlcore.plotting.figure import GREY, legend_once, new_figure, render
from nlcore_bench.data.choices import PUBLISHED
from nlcore_bench.rows import Row
from nlcore_bench.tables import Table

MEASURES = {"error": "error of the outputs", "loss": "loss"}
METHODS = {"plain": "plain", "half": "half power", "default": "default", "supervised": "outputs supervised"}


@dataclass(frozen=True)
class Published:
    """A published figure: what was trained how, and what it gave."""

    method: str
    setting: str
    figure: str


@dataclass(frozen=True)
class Problem:
    """A problem of other authors.

    Attributes:
        title: Title of its section.
        source: Where it is published, in Markdown.
        figures: What is published.
        differences: How the settings differ, in Markdown.
        rows: Study and task of our runs.
        scale: Factor of our loss where theirs is in other units.
        steps: Steps of our runs.
    """

    title: str
    source: str
    figures: tuple[Published, ...]
    differences: str
    rows: tuple[str, str]
    scale: float = 1.0
    steps: int = 300


_PBDL = "https://github.com/tum-pbs/pbdl-book/blob/main"
PROBLEMS = (
    Problem(
        "Linear oscillators",
        f"*Physics-based Deep Learning*, Thuerey and others, the notebook [Coupled Oscillators with Half-Inverse "
        f"Gradients]({_PBDL}/physgrad-hig-code.ipynb), as printed there",
        (
            Published("before training", "", "1.44"),
            Published("half-inverse gradients", "1 epoch, batches of 32, 28 s with TensorFlow's start", "5.4e-5"),
            Published("half-inverse gradients", "4 epochs, 512 steps, 38 s", "1.2e-6"),
            Published("Adam, and scale-invariant physics", "100 s", "about 10⁴ times as much (text)"),
        ),
        "Theirs is the loss on the training data, the squared distance without ½; ours is on held-out data, doubled "
        "for this table. The equations, the steps of time, the network, 4096 samples and batches of 256 for Adam are "
        "the same, the first weights are drawn by other rules; ours has 300 steps with a tuned learning rate and a "
        "cosine schedule, theirs a constant one.",
        ("default", "linear_oscillators"),
        2.0,
    ),
    Problem(
        "Nonlinear oscillators",
        "Schnell, Holl, Thuerey, [Half-Inverse Gradients for Physical Deep Learning]"
        "(https://arxiv.org/abs/2203.10131), ICLR 2022, and [its programs]"
        "(https://github.com/tum-pbs/half-inverse-gradients)",
        (Published("Adam, Gauss–Newton, half-inverse gradients", "curves against time", "Figure 2, no number"),),
        "96 pushes, 4096 samples, batches of 128 and ReLU layers of 20, 20 and 20 are theirs. The paper compares after "
        "equal time on its machine, ours after 300 steps. The study `half_inverse` measures their own "
        "update; it is not on record.",
        ("default", "oscillators"),
    ),
    Problem(
        "Heat equation",
        "Holl, Koltun, Thuerey, [Scale-invariant Learning by Physics Inversion](https://arxiv.org/abs/2109.15048), "
        f"NeurIPS 2022, Figure 6; numbers from the book's notebook [Learning to Invert Heat Conduction]"
        f"({_PBDL}/physgrad-code.ipynb)",
        (
            Published("Adam, step 5 of the printed ones", "loss of the effect, from 52.9", "4.23"),
            Published("Adam with inverse physics, step 5", "loss of the effect, from 52.9", "3.33"),
            Published("Adam, step 5", "squared error of the cause, from 185", "52.6"),
            Published("Adam with inverse physics, step 5", "squared error of the cause, from 185", "42.0"),
        ),
        "Theirs has 64×64 cells, a spread of 4 cells, a U-net, batches of 128 and a learning rate of 0.001, and prints "
        "only the first five steps; ours has 12×12 cells, a spread of 1, a network of two layers and 300 steps. The "
        "numbers cannot be compared, the order can: a step that inverts the physics lowers the error of the cause.",
        ("default", "heat"),
    ),
    Problem(
        "Forecasts under soft-DTW",
        "Cuturi, Blondel, [Soft-DTW: a Differentiable Loss Function for Time-Series](https://arxiv.org/abs/1703.01541),"
        " ICML 2017",
        (Published("a network under soft-DTW or squared error", "UCR data sets", "average ranks, no loss"),),
        "The paper ranks training losses by the final DTW over many data sets; optimisers are not compared. Ours are "
        "series of one generator, and every method trains on soft-DTW.",
        ("default", "forecast"),
    ),
    Problem(
        "Deblurring",
        "rows of the photograph `china.jpg` of scikit-learn, Gaussian blur, with noise",
        (),
        "An inverse problem of textbooks on data that are not ours, without a published figure.",
        ("default", "deblurring_noisy"),
    ),
)


def ours(problem: Problem) -> list[tuple[str, str, str, Row]]:
    """Return our rows of a problem: optimiser, method, measure, row."""
    found = []
    id, task = problem.rows
    for optimizer in ("adam", "muon", "soap"):
        for name in METHODS:
            known = row(id, task, optimizer, name)
            for measure in known.measures if known else ():
                found.append((optimizer, name, measure.name, known))
    for name in ("plain", "half_inverse"):
        known = row("half_inverse", task, "sgd", name)
        found += [("sgd", name, "loss", known)] if known else []
    return found


def table(problem: Problem) -> Table | None:
    """Return published figures and ours in one table; `None` if there is neither."""
    lines = [("published", one.method, one.setting, one.figure) for one in problem.figures]
    found = ours(problem)
    for optimizer, name in dict.fromkeys((one[0], one[1]) for one in found):
        known = next(one for one in found if one[:2] == (optimizer, name))[3]
        cells = []
        for measure in [one for one in known.measures if one.name in MEASURES]:
            scale = problem.scale if measure.name == "loss" else 1.0
            mean = fmean(run.final[measure.name] for run in known.runs) * scale
            cells.append(f"{MEASURES[measure.name]} {mean:.3g}")
        method = f"{METHODS.get(name, 'half-inverse gradients')}, {NAMES[optimizer]}"
        steps = f"{problem.steps} steps, {len(known.runs)} seeds"
        lines.append(("nlcore", method, steps, "; ".join(cells[::-1])))
    if not lines:
        return None
    return Table(head=("from", "method", "setting", "figure"), rows=tuple(lines), title=problem.title, words=3)


def section(problem: Problem) -> list[str]:
    """Return the section of a problem."""
    found, known = table(problem), ours(problem)
    id, task = problem.rows
    missing = f"Our runs are not on record yet: `nlcore bench run {id} --tasks {task}` makes them."
    return [
        f"## {problem.title}",
        "",
        f"{'Published' if problem.figures else 'Not published'}: {problem.source}.",
        "",
        problem.differences,
        "",
        *([] if known else [missing, ""]),
        *([found.markdown()] if found else []),
    ]


def likelihoods() -> Table:
    """Return the published likelihoods of choices and ours."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["samples"]
    lines = [(SAMPLES[name], f"{PUBLISHED[name]:.3f}", f"{found[name]['best']:.3f}") for name in SAMPLES]
    return Table(head=("sample", "published", "nlcore"), rows=tuple(lines), title="Largest log-likelihood, in nats")


def finding() -> str:
    """Return the finding, in which every number is computed."""
    found = json.loads(FILE.read_text(encoding="utf-8"))["samples"]
    hit = sum(f"{found[name]['best']:.3f}" == f"{PUBLISHED[name]:.3f}" for name in SAMPLES)
    known = [problem for problem in PROBLEMS if ours(problem)]
    lower = [fmean(_loss(problem, "default")) / fmean(_loss(problem, "plain")) for problem in known]
    numbers = ", ".join(f"{ratio:.2f} ({problem.title.lower()})" for ratio, problem in zip(lower, known, strict=True))
    return (
        f"Of {len(SAMPLES)} exact published numbers, the log-likelihoods of real choices, {hit} are hit to the last "
        "digit. Elsewhere the settings differ or no number is printed, so that only the order can be compared. There "
        f"the loss of the default with Adam is that of plain training times {numbers}."
    )


def _loss(problem: Problem, name: str) -> list[float]:
    return [
        run.final["loss"]
        for optimizer, method, measure, known in ours(problem)
        if (optimizer, method, measure) == ("adam", name, "loss")
        for run in known.runs
    ]


def page() -> str:
    """Return the page."""
    lines = [
        "# Problems of other authors: published figures, and ours beside them",
        "",
        f"**{finding()}**",
        "",
        "[![The loss of every method over that of plain training with Adam](others.png)](others.png)",
        "",
        "Tasks that other authors have published, or whose data are not ours. Every published number stands with its "
        "source and its setting; where the setting differs from ours, the section says how.",
        "",
        "## Real choices",
        "",
        "Published: Biogeme's example *01logit* for SwissMetro, R's mlogit for the suppliers; sources, data and the "
        "steps to them are on the page [Real choices](choices.md). Same data, same model, same number. The mixed logit "
        "of the same suppliers is another model, which is not built here.",
        "",
        likelihoods().markdown(),
        *(line for problem in PROBLEMS for line in section(problem)),
        "## Repeat it",
        "",
        "The page is made of the runs on record.",
        "",
        "<!-- not run: trains for hours -->",
        "```bash",
        "nlcore bench run default half_inverse --out docs/results",
        "python docs/choices.py",
        "python docs/others.py",
        "```",
        "",
    ]
    return "\n".join(lines)


def picture() -> bytes:
    """Return a PNG: the loss of every method over that of plain training with Adam, seed by seed."""
    known = [problem for problem in PROBLEMS if ours(problem)]
    figure = new_figure(8.6, 1.4 + 0.7 * len(known), dpi=110)
    axis = figure.subplots()
    for place, problem in enumerate(known[::-1]):
        unit = fmean(_loss(problem, "plain"))
        for optimizer, name, measure, found in ours(problem):
            if measure != "loss" or name == "supervised":
                continue
            colour, mark = LOOKS[name]
            ratio = fmean(run.final["loss"] for run in found.runs) / unit
            axis.plot(
                [ratio], [place], mark, color=colour, alpha=0.85, label=METHODS.get(name, "half-inverse gradients")
            )
            if name == "plain":
                axis.annotate(NAMES[optimizer], (ratio, place), xytext=(0, 7), textcoords="offset points", ha="center")
    axis.axvline(1.0, color=GREY, linewidth=1, linestyle="--")
    axis.set(xscale="log", yticks=range(len(known)), yticklabels=[one.title for one in known[::-1]])
    axis.set(ylim=(-0.6, len(known) - 0.3), xlabel="held-out loss over that of plain training with Adam")
    legend_once(figure, axis, loc="outside lower center", ncols=4)
    return render(figure)


def main(folder: Path = RESULTS) -> None:
    """Write page and picture, and print the finding."""
    (folder / "others.md").write_text(page(), encoding="utf-8")
    (folder / "others.png").write_bytes(picture())
    print(finding())


if __name__ == "__main__":
    main()
