"""Pictures of pages of results whose figures lie beside them as JSON.

python docs/results_pictures.py    writes docs/results/{algorithms_cost,decisions_speed,diagnose,paths_speed}.png
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

from nlcore.plotting.figure import BLUE, GREEN, GREY, ORANGE, SKY, legend_once, new_figure, render

RESULTS = Path(__file__).parent / "results"


def _algorithms_cost(found: Any) -> Any:
    """The times of every curvature over the plain loss, all algorithms in the order of their ratios."""
    figure = new_figure(8.6, 3.8, dpi=110)
    axis = figure.subplots()
    ratios = [one["ratios"] for one in found["algorithms"].values()]
    for name, colour in {"EmpiricalFisher": GREEN, "GaussNewton": BLUE, "Hessian": ORANGE}.items():
        values = sorted(one[name] for one in ratios if name in one)
        shares = [100 * (place + 1) / len(values) for place in range(len(values))]
        axis.step(values, shares, where="post", color=colour, label=f"{name}, {len(values)} algorithms")
    axis.axvline(1.0, color=GREY, linestyle="--", linewidth=1)
    axis.set(
        xscale="log", xlabel="time of the loss with a curvature over its own", ylabel="% of the algorithms, up to it"
    )
    axis.grid(alpha=0.25, which="both")
    axis.legend(frameon=False)
    return figure


def _diagnose(found: Any) -> Any:
    """Outputs right after plain training, clipping and what the diagnosis advised, for every case."""
    cases = found["cases"]
    figure = new_figure(8.6, 1.2 + 0.3 * len(cases), dpi=110)
    axis = figure.subplots()
    kinds = {"plain": (GREY, "o"), "clipped": (SKY, "s"), "advised": (BLUE, "D"), "not advised": (ORANGE, "x")}
    for place, case in enumerate(cases[::-1]):
        for name, (colour, mark) in kinds.items():
            if (run := case["runs"].get(name)) is not None:
                axis.plot(fmean(run["accuracy"]), place, mark, color=colour, label=name)
    axis.set(yticks=range(len(cases)), xlim=(0, 100), xlabel="outputs right on held-out data, %")
    axis.set_yticklabels([f"{one['case']}: {one['verdict_outputs']}" for one in cases[::-1]], fontsize=8)
    axis.grid(alpha=0.25)
    legend_once(figure, axis, loc="outside lower center", ncols=4)
    return figure


def _paths_speed(found: Any) -> Any:
    """Milliseconds of a call, for every way of every comparison."""
    groups = list(dict.fromkeys(one["group"] for one in found))
    figure = new_figure(8.6, 1.0 + 0.26 * (len(found) + 1.4 * len(groups)), dpi=110)
    axis = figure.subplots()
    ticks, titles, place = [], [], 0.0
    for group in groups[::-1]:
        for one in [one for one in found if one["group"] == group][::-1]:
            colour = BLUE if one["contender"].startswith("nlcore") else GREY
            axis.barh(place, one["milliseconds"][1], color=colour)
            ticks.append((place, one["contender"]))
            place += 1.0
        titles.append((place - 0.1, group))
        place += 1.4
    axis.set(xscale="log", xlabel="ms a call (a shorter bar is better)")
    for at, group in titles:
        axis.text(axis.get_xlim()[0], at, f" {group}", fontsize=8, weight="bold", va="center")
    axis.set_yticks([at for at, _ in ticks], [name for _, name in ticks], fontsize=8)
    axis.grid(alpha=0.25, axis="x")
    return figure


def _decisions_speed(found: Any) -> Any:
    """Seconds of a training and regret of both libraries, a panel for every problem."""
    problems = list(dict.fromkeys(one["problem"] for one in found["rows"]))
    figure = new_figure(8.6, 0.9 + 2.6 * len(problems), dpi=110)
    for axis, problem in zip(figure.subplots(len(problems), squeeze=False)[:, 0], problems, strict=True):
        rows = [one for one in found["rows"] if one["problem"] == problem]
        for one in rows:
            own = one["library"] == "nlcore"
            axis.plot(one["seconds"], one["regret"], "o" if own else "s", color=BLUE if own else GREY)
        pairs = {one["method"]: one for one in rows if one["library"] == "PyEPO"}
        for one in rows:
            if one["library"] == "nlcore" and (other := pairs.get(one["method"])) is not None:
                ends = [[one[name], other[name]] for name in ("seconds", "regret")]
                axis.plot(*ends, color=GREY, linewidth=0.6, zorder=0)
        axis.set(xscale="log", xlabel="seconds of 20 epochs", ylabel="regret on unseen samples, %", title=problem)
        axis.plot([], [], "o", color=BLUE, label="nlcore")
        axis.plot([], [], "s", color=GREY, label="PyEPO, the same method at the other end of the line")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    return figure


PICTURES: dict[str, Callable[[Any], Any]] = {
    "algorithms_cost": _algorithms_cost,
    "decisions_speed": _decisions_speed,
    "diagnose": _diagnose,
    "paths_speed": _paths_speed,
}


def main(folder: Path = RESULTS) -> None:
    """Write the pictures beside the figures."""
    for name, draw in PICTURES.items():
        found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        (folder / f"{name}.png").write_bytes(render(draw(found)))


if __name__ == "__main__":
    main()
