"""Training of a case with the methods that a verdict advises and warns of, and the comparison of their accuracies."""

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import sem

import nlcore

from .cases import Case, accuracy, batch, network

STEPS = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "150"))
QUICK = STEPS < 100
SEEDS, TUNING = ((10,), ()) if QUICK else ((10, 11, 12), (100,))
LEARNING_RATES, LIMITS, BATCH = (2e-3, 6e-3, 2e-2), (0.3, 0.03), 32


@dataclass(frozen=True)
class Method:
    """A way to train: a loss, with or without a curvature and a limit of the network's gradient."""

    name: str
    loss: Any
    curvature: Any = None
    clip: float | None = None


def train(case: Case, method: Method, learning_rate: float, seed: int) -> float:
    """Train one network and return its accuracy, 0 if its parameters are no longer finite."""
    torch.manual_seed(seed)
    model, generator = network(case), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    newton = (
        None if method.curvature is None else nlcore.NewtonLoss(method.loss, method.curvature, on_failure="fallback")
    )
    limit = None
    for _ in range(STEPS):
        prediction, target = batch(case, model, generator, BATCH)
        optimizer.zero_grad()
        (method.loss(prediction, target).mean() if newton is None else newton(prediction, target)).backward()
        if method.clip is not None:
            limit = limit or method.clip * float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
            torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        schedule.step()
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            return 0.0
    return accuracy(case, model)


def methods(case: Case, found: Any) -> dict[str, list[Method]]:
    """Return the methods by column of the table; of those in one list the best on the tuning seed is measured.

    The methods advised are those for the outputs.
    """
    advised = [expression for expression in found.use_outputs if expression.startswith("nlcore.")][:2]
    warned = f"nlcore.{found.curvature}(damping=nlcore.Bounded(), normalize=True)"
    if found.verdict == "per sample only":
        warned = f"nlcore.{found.curvature}(damping=nlcore.Relative(0.01))"
    elif found.verdict_outputs == "gain":
        warned = ""
    listed = {
        "plain": [Method("plain", case.loss)],
        "clipped": [Method(f"clipped at {limit:g} of its first gradient", case.loss, clip=limit) for limit in LIMITS],
    }
    if found.verdict_outputs == "fix the loss first":
        listed["advised"] = [Method("the mended loss", case.mended)]
        warned = "nlcore.EmpiricalFisher(damping=nlcore.Relative(1.0))"
    for index, one in enumerate(advised):
        listed["or" if index else "advised"] = [Method(one, case.loss, eval(one, {"nlcore": nlcore}))]
    if warned and warned not in advised:
        listed["not advised"] = [Method(warned, case.loss, eval(warned, {"nlcore": nlcore}))]
    return listed


def measured(case: Case, options: list[Method], seeds: Sequence[int]) -> dict[str, Any]:
    """Return the accuracy on every seed, at the learning rate and limit that are best on the tuning seed."""
    learning_rates = LEARNING_RATES[1:2] if QUICK else LEARNING_RATES
    tried = [(method, one) for method in options for one in learning_rates]
    scores = [sum(train(case, *one, seed) for seed in TUNING) for one in tried]
    method, learning_rate = tried[max(range(len(scores)), key=scores.__getitem__)]
    accuracies = [train(case, method, learning_rate, seed) for seed in seeds]
    return {"name": method.name, "learning_rate": learning_rate, "accuracy": accuracies}


def error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; 0 for a single value."""
    return float(sem(values)) if len(values) > 1 else 0.0


def margin(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return mean and standard error of the paired differences."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return statistics.mean(gaps), error(gaps)


def outcome(verdict: str, runs: dict[str, dict[str, Any]]) -> str:
    """Return whether training confirms the verdict: a gain is more than 3 points and 2 standard errors."""
    scores = {name: run["accuracy"] for name, run in runs.items()}
    control = max(scores["plain"], scores["clipped"], key=statistics.mean)

    def gains(first: str, than: list[float]) -> bool:
        mean, deviation = margin(scores[first], than)
        return mean > max(3.0, 2 * deviation)

    if verdict in {"undecided", "not determined"}:
        return "no claim"
    if verdict in {"gain", "fix the loss first"}:
        held = gains("advised", control)
        if verdict == "gain" and "not advised" in scores:
            held = held and gains("advised", scores["not advised"])
    elif verdict == "only a scale":
        held = gains("clipped", scores["plain"]) and not gains("not advised", control)
    else:
        held = not gains("not advised", control)
    return "yes" if held else "no"
