"""Measure the loss and its backward pass, plain and with each curvature, for every registered algorithm.

    python docs/catalogue/measure_cost.py [ID ...]

Writes docs/results/algorithms_cost.json, from which the pages of the algorithms take their ratios, and
docs/results/algorithms_cost.md. With ids, only these are measured and the others keep their entries.
"""

from __future__ import annotations

import json
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import nlcore
from nlcore.capabilities import read_capabilities
from nlcore.errors import NlcoreError

RESULT = Path(__file__).parents[1] / "results/algorithms_cost.json"
BATCH, ROUNDS, PATIENCE = 100, 31, 2.0
"""Samples; rounds, in each of which every kind of step is timed; CPU seconds after which no further round begins."""

CURVATURES = (nlcore.EmpiricalFisher, nlcore.Hessian, nlcore.GaussNewton)


def measure(id: str) -> dict[str, Any]:
    """Return the time of a plain step in milliseconds, and the median ratio of each curvature's step to it."""
    loss = nlcore.make(id)
    generator = torch.Generator().manual_seed(0)
    prediction, target = loss.example(BATCH, generator=generator, dtype=torch.float32, device="cpu")
    prediction = prediction.detach()
    steps: dict[str, Callable[[Tensor, Any], Tensor]] = {"plain": lambda y, t: loss(y, t, generator=generator).mean()}
    for curvature in CURVATURES:
        try:
            curvature().check(read_capabilities(loss))
        except NlcoreError:
            continue
        steps[curvature.__name__] = nlcore.NewtonLoss(loss, curvature(), on_failure="fallback", generator=generator)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    begin = time.process_time()
    for round in range(-2, ROUNDS):  # the first two warm up
        if round >= 3 and time.process_time() - begin > PATIENCE:
            break
        for name, step in steps.items():
            spent = _seconds(step, prediction, target)
            if round >= 0:
                seconds[name].append(spent)
    plain = seconds.pop("plain")
    return {
        "samples": BATCH,
        "event": "×".join(map(str, prediction.shape[1:])),
        "rounds": len(plain),
        "plain_ms": round_to(1000 * median(plain)),
        "ratios": {
            name: round_to(median(one / own for one, own in zip(spent, plain, strict=True)))
            for name, spent in seconds.items()
        },
    }


def round_to(number: float, digits: int = 3) -> float:
    """Return a number with three significant digits."""
    return float(f"{number:.{digits}g}")


def _seconds(step: Callable[[Tensor, Any], Tensor], prediction: Tensor, target: Any) -> float:
    leaf = prediction.clone().requires_grad_()
    start = time.process_time()
    value = step(leaf, target)
    if value.requires_grad:
        value.backward()
    return time.process_time() - start


def setting() -> dict[str, Any]:
    """Return the machine and the versions."""
    return {
        "nlcore": nlcore.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": _processor(),
        "dtype": "float32",
        "threads": torch.get_num_threads(),
        "inputs": "example(), seed 0",
        "statistic": "CPU time on a shared machine, medians over interleaved rounds; "
        "a ratio is the median of the rounds' ratios",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def report(found: dict[str, Any]) -> str:
    """Return the page: the finding first, then the table and the setting."""
    measured, how = found["algorithms"], found["setting"]
    names = [one.__name__ for one in CURVATURES]
    lines, medians = [], []
    for name in names:
        ratios = {id: one["ratios"][name] for id, one in measured.items() if name in one["ratios"]}
        least, most = min(ratios, key=ratios.__getitem__), max(ratios, key=ratios.__getitem__)
        medians.append(f"{median(ratios.values()):.1f} with {name}")
        lines.append(
            f"- `{name}`: {len(ratios)} algorithms, from {ratios[least]:.1f} (`{least}`) to {ratios[most]:.1f} "
            f"(`{most}`) times the plain loss."
        )
    rows = [
        f"| `{id}` | {one['event']} | {one['plain_ms']:.3g} | "
        + " | ".join(f"{one['ratios'][name]:.1f}" if name in one["ratios"] else "–" for name in names)
        + " |"
        for id, one in measured.items()
    ]
    return "\n".join(
        [
            "# Cost of the algorithms",
            "",
            "**The loss alone, with its backward pass, takes longer by a factor of "
            f"{', '.join(medians[:-1])} and {medians[-1]}, in the median of the algorithms.**",
            "",
            "Value and backward pass of the loss alone, with a curvature and without. The control is the plain loss of "
            "the same algorithm at its default options; a network around the loss makes every ratio smaller.",
            "",
            *lines,
            "",
            "**Every algorithm**",  # a long table below a caption is folded
            "",
            f"| algorithm | outputs | plain, ms | {' | '.join(names)} |",
            f"|---|---|---|{'---|' * len(names)}",
            *rows,
            "",
            f"Setting: {BATCH} samples of `{how['inputs']}`, {how['dtype']}, {how['threads']} thread, "
            f"{how['machine']}, torch {how['torch']}, Python {how['python']}, nlcore {how['nlcore']}; "
            f"{how['statistic']}, of which there are {ROUNDS}, fewer where they would take more than {PATIENCE:g} "
            "seconds in all. "
            "`–`: the algorithm does not have that curvature. Repeat it with "
            "`python docs/catalogue/measure_cost.py`.",
            "",
        ]
    )


def main(ids: list[str]) -> None:
    """Measure these algorithms, all of them without any, and write the files."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    old = json.loads(RESULT.read_text(encoding="utf-8"))["algorithms"] if ids and RESULT.exists() else {}
    found = {nlcore.spec(id).id: measure(id) for id in ids or nlcore.names()}
    whole = {"setting": setting(), "algorithms": dict(sorted((old | found).items()))}
    RESULT.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    RESULT.with_suffix(".md").write_text(report(whole), encoding="utf-8")
    print(f"{len(found)} algorithms measured, {RESULT} written")


if __name__ == "__main__":
    main(sys.argv[1:])
