"""Is `nlcore.diagnose` right? Sixteen losses are diagnosed on an untrained network, then trained.

In every case a network reads pictures of digits, and only what an algorithm makes of its outputs is supervised. Plain
training, the better of two clippings, what the diagnosis says to use and what it warns of each get the best of three
learning rates, chosen on a seed of their own; other seeds are then measured on held-out pictures.

Run it from the repository: python examples/diagnose_verdicts.py --out docs/results
Three seeds leave some chance in it; --case logistic --seeds 15 looks closer at one case.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import pad, softplus

import nlcore
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork, ranks

torch.set_num_threads(1)
STEPS = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "150"))
QUICK = STEPS < 100
SEEDS, TUNING = ((10,), ()) if QUICK else ((10, 11, 12), (100,))
RATES, LIMITS, BATCH = (2e-3, 6e-3, 2e-2), (0.3, 0.03), 32

raw = load_digits()
order = torch.randperm(len(raw.target), generator=torch.Generator().manual_seed(0))
IMAGES = torch.tensor(raw.data, dtype=torch.float32)[order] / 16
LABELS = torch.tensor(raw.target)[order]
HELD_OUT = 1300


def drag(pushes: Tensor, strength: float = 0.5) -> Tensor:
    """Return the path of a body with quadratic drag, [batch, m]; without drag, a double integrator."""
    place = speed = torch.zeros_like(pushes[:, 0])
    places = []
    for push in pushes.unbind(1):
        speed = speed + 0.3 * (push - strength * speed * speed.abs())
        place = place + 0.3 * speed
        places.append(place)
    return torch.stack(places, 1)


def blur(signal: Tensor) -> Tensor:
    """Return a Gaussian blur of [batch, m]."""
    place = torch.arange(signal.shape[1], dtype=signal.dtype)
    kernel = torch.exp(-((place[:, None] - place) ** 2) / 8)
    return signal @ (kernel / kernel.sum(1)).mT


def travel(numbers: Tensor, side: int = 4) -> Tensor:
    """Return soft travel times from the corner of a map [batch, side²] to all of its cells."""
    cost = (softplus(numbers) + 0.1).unflatten(1, (side, side))
    corner = torch.zeros(side, side, dtype=torch.bool)
    corner[0, 0] = True
    times = torch.full_like(cost, 30.0).masked_fill(corner, 0.0)
    for _ in range(2 * side - 1):
        wide = pad(times, (1, 1, 1, 1), value=60.0)
        near = torch.stack([wide[:, :-2, 1:-1], wide[:, 2:, 1:-1], wide[:, 1:-1, :-2], wide[:, 1:-1, 2:]], -1)
        times = (cost - 0.3 * torch.logsumexp(-near / 0.3, -1)).masked_fill(corner, 0.0)
    return times.flatten(1)


source = torch.Generator().manual_seed(1)
FIRST = torch.randn(16, 48, generator=source) / 4
SECOND = torch.randn(48, 16, generator=source) / 48**0.5


def tangle(numbers: Tensor) -> Tensor:
    """Return a random network of two layers, [batch, 16]."""
    return torch.tanh(2 * numbers @ FIRST.to(numbers)) @ SECOND.to(numbers)


def naive(prediction: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy on a sharp float32 permutation matrix, as it is often written."""
    matrix = NeuralSort(temperature=0.002).permutation(prediction)
    wanted = torch.zeros_like(matrix).scatter_(1, target.unsqueeze(1), 1.0)
    return torch.nn.BCELoss(reduction="none")(matrix, wanted).flatten(1).mean(1)


def weighted(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors, of which some count a thousand times more than others."""
    return target[:, 0] * (prediction - target[:, 1:]).square().sum(1) / 2


def turned(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors of 16 measurements whose ill-conditioned device is another for every sample."""
    device, seen = target[..., :-1], target[..., -1]
    return ((device @ prediction.unsqueeze(-1)).squeeze(-1) - seen).square().sum(1) / 2


def weights(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Return targets for `weighted`."""
    return torch.cat([10 ** (1.5 * torch.randn(len(numbers), 1, generator=generator)), numbers], 1)


def devices(numbers: Tensor, generator: torch.Generator) -> Tensor:
    """Return targets for `turned`."""
    frame = torch.linalg.qr(torch.randn(len(numbers), 16, 16, generator=generator))[0]
    device = torch.logspace(-2, 0, 16).unsqueeze(-1) * frame
    return torch.cat([device, device @ numbers.unsqueeze(-1)], -1)


@dataclass(frozen=True)
class Case:
    """A loss and what it is fed with.

    Attributes:
        name: What tables call it.
        loss: The loss.
        task: `"digits"` reads m numbers, `"order"` sorts m of them, `"classes"` recognises single digits.
        items: m.
        target: From the true numbers [batch, m] to the target.
        mended: The loss that a diagnosis "mend the loss first" asks for.
    """

    name: str
    loss: Any
    task: str
    items: int
    target: Callable[[Tensor, torch.Generator], Tensor]
    mended: Any = None


def through(function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Return loss and target of supervision through a function."""
    return {"loss": nlcore.compose(function), "task": "digits", "target": lambda numbers, _: function(numbers)}


def sorting(loss: Any) -> dict[str, Any]:
    """Return loss and target of supervision by order."""
    return {"loss": loss, "task": "order", "items": 5, "target": lambda numbers, _: ranks(numbers)}


CASES = (
    Case("NeuralSort, n = 5", **sorting(NeuralSort())),
    Case("SoftSort, n = 5", **sorting(SoftSort())),
    Case("logistic sorting network, n = 5", **sorting(SortingNetwork(distribution="logistic"))),
    Case("Cauchy sorting network, n = 5", **sorting(SortingNetwork(distribution="cauchy"))),
    Case("running totals, m = 4", items=4, **through(partial(torch.cumsum, dim=1))),
    Case("running totals, m = 16", items=16, **through(partial(torch.cumsum, dim=1))),
    Case("double integrator, m = 16", items=16, **through(partial(drag, strength=0.0))),
    Case("Gaussian blur, m = 16", items=16, **through(blur)),
    Case("quadratic drag, m = 16", items=16, **through(drag)),
    Case("random network, m = 16", items=16, **through(tangle)),
    Case("travel times, m = 16", items=16, **through(travel)),
    Case("naive cross-entropy, τ = .002", **sorting(naive), mended=NeuralSort(temperature=0.002, objective="entries")),
    Case("softmax cross-entropy", nlcore.make("core/cross_entropy"), "classes", 1, lambda numbers, _: numbers),
    Case("squared error", items=16, **through(lambda numbers: numbers)),
    Case("weighted squared error", weighted, "digits", 16, weights),
    Case("turned devices", turned, "digits", 16, devices),
)


def network(case: Case) -> torch.nn.Module:
    """Return a fresh reader of single pictures."""
    last = 10 if case.task == "classes" else 1
    return torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, last)
    )


def sample(case: Case, count: int, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return pictures [count, m, 64] and digits [count, m], for an order of m different digits."""
    low, high = (HELD_OUT, len(LABELS)) if held_out else (0, HELD_OUT)
    if case.task != "order":
        places = torch.randint(low, high, (count, case.items), generator=generator)
        return IMAGES[places], LABELS[places]
    digits = torch.rand(count, 10, generator=generator).argsort(1)[:, : case.items]
    chance = torch.rand(count, case.items, high - low, generator=generator)
    places = low + (chance * (LABELS[low:high] == digits.unsqueeze(-1))).argmax(-1)
    return IMAGES[places], digits


def batch(case: Case, model: torch.nn.Module, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return the network's outputs for a batch, and the target."""
    pictures, digits = sample(case, count, generator)
    if case.task == "classes":
        return model(pictures.squeeze(1)), digits.squeeze(1)
    return model(pictures).squeeze(-1), case.target((digits - 4.5) / 3, generator)


def accuracy(case: Case, model: torch.nn.Module) -> float:
    """Return the share of held-out digits, or orders, that are right, in %."""
    with torch.no_grad():
        if case.task == "order":
            pictures, digits = sample(case, 400, torch.Generator().manual_seed(5), held_out=True)
            right = (ranks(model(pictures).squeeze(-1)) == ranks(digits)).all(1)
        elif case.task == "classes":
            right = model(IMAGES[HELD_OUT:]).argmax(1) == LABELS[HELD_OUT:]
        else:
            right = (model(IMAGES[HELD_OUT:]).squeeze(-1) * 3 + 4.5).round().clamp(0, 9) == LABELS[HELD_OUT:]
    return 100 * right.double().mean().item()


@dataclass(frozen=True)
class Arm:
    """A way to train: a loss, a curvature or none, a limit of the network's gradient or none."""

    name: str
    loss: Any
    curvature: Any = None
    clip: float | None = None


def train(case: Case, arm: Arm, seed: int, rate: float) -> float:
    """Train one network and return its accuracy; one that breaks down has none."""
    torch.manual_seed(seed)
    model, generator = network(case), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    newton = None if arm.curvature is None else nlcore.NewtonLoss(arm.loss, arm.curvature, on_failure="fallback")
    limit = None
    for _ in range(STEPS):
        prediction, target = batch(case, model, generator, BATCH)
        optimizer.zero_grad()
        (arm.loss(prediction, target).mean() if newton is None else newton(prediction, target)).backward()
        if arm.clip is not None:
            limit = limit or arm.clip * float(torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
            torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        schedule.step()
        if not all(bool(torch.isfinite(p).all()) for p in model.parameters()):
            return 0.0
    return accuracy(case, model)


def arms(case: Case, found: Any) -> dict[str, list[Arm]]:
    """Return the arms by what they stand for; of those in one list the best on the tuning seed is measured."""
    advised = [expression for expression in found.use if expression.startswith("nlcore.")]
    warned = f"nlcore.{found.curvature}(damping=nlcore.Bounded(), normalize=True)"
    if found.verdict == "per sample only":
        warned = f"nlcore.{found.curvature}(damping=nlcore.Relative(0.01))"
    listed = {
        "plain": [Arm("plain", case.loss)],
        "clipped": [Arm(f"clipped at {limit:g} of its first gradient", case.loss, clip=limit) for limit in LIMITS],
    }
    if found.verdict == "mend the loss first":
        listed["advised"] = [Arm("the mended loss", case.mended)]
        warned = "nlcore.EmpiricalFisher(damping=nlcore.Relative(1.0))"
    for place, one in enumerate(advised):
        listed["or" if place else "advised"] = [Arm(one, case.loss, eval(one, {"nlcore": nlcore}))]
    if warned not in advised:
        listed["not advised"] = [Arm(warned, case.loss, eval(warned, {"nlcore": nlcore}))]
    return listed


def measured(case: Case, options: list[Arm], seeds: Sequence[int]) -> dict[str, Any]:
    """Return the accuracy on every seed, at the rate and limit that are best on the tuning seed."""
    tried = [(arm, rate) for arm in options for rate in (RATES[1:2] if QUICK else RATES)]
    scores = [sum(train(case, arm, seed, rate) for seed in TUNING) for arm, rate in tried]
    arm, rate = tried[max(range(len(scores)), key=scores.__getitem__)]
    return {"name": arm.name, "rate": rate, "accuracy": [train(case, arm, seed, rate) for seed in seeds]}


def margin(first: list[float], second: list[float]) -> tuple[float, float]:
    """Return mean and standard error of the paired difference."""
    gaps = [a - b for a, b in zip(first, second, strict=True)]
    return statistics.mean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps)) if len(gaps) > 1 else 0.0


def outcome(verdict: str, runs: dict[str, dict[str, Any]]) -> str:
    """Say whether training bears the verdict out: a gain is more than 3 points and 2 standard errors."""
    scores = {name: run["accuracy"] for name, run in runs.items()}
    control = max(scores["plain"], scores["clipped"], key=statistics.mean)

    def gains(first: str, than: list[float]) -> bool:
        mean, error = margin(scores[first], than)
        return mean > max(3.0, 2 * error)

    if verdict == "undecided":
        return "no claim"
    if verdict in {"gain", "mend the loss first"}:
        held = gains("advised", control)
    elif verdict == "per sample only":
        if not gains("advised", scores["not advised"]):
            return "no"
        return "yes" if gains("advised", control) else "in part: one matrix fails, but clipping does as well"
    elif verdict == "only a scale":
        held = gains("clipped", scores["plain"]) and not gains("not advised", control)
    else:
        held = not gains("not advised", control)
    return "yes" if held else "no"


def examined(case: Case, seeds: Sequence[int]) -> dict[str, Any]:
    """Diagnose a case on an untrained network, then train it."""
    torch.manual_seed(0)
    with torch.no_grad():
        prediction, target = batch(case, network(case), torch.Generator().manual_seed(0), 100)
    found = nlcore.diagnose(case.loss, prediction, target)
    runs = {name: measured(case, options, seeds) for name, options in arms(case, found).items()}
    return {"case": case.name, **found.as_dict(), "runs": runs, "borne_out": outcome(found.verdict, runs)}


def row(record: dict[str, Any]) -> str:
    """Return a line of the table."""

    def cell(name: str) -> str:
        run = record["runs"].get(name)
        if run is None:
            return "–"
        scores = run["accuracy"]
        error = statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0
        return f"{statistics.mean(scores):.0f} ± {error:.0f}"

    further = record["amplification_further_0.1"]
    figures = [f"{record['condition']:.3g}", f"{record['cosine']:.2f}"]
    figures += [f"{record['amplification_0.1']:.2f} → {further:.2f}", f"{100 * record['float32_wrong']:.0f} %"]
    trained = [cell(name) for name in ("plain", "clipped", "advised", "or", "not advised")]
    return "| " + " | ".join([record["case"], record["verdict"], *figures, *trained, record["borne_out"]]) + " |"


HEAD = """# Verdicts before training, and what training says

`nlcore.diagnose` looked at 100 samples of an untrained network. Then networks were trained for {steps} steps of {batch}
samples, Adam with a cosine schedule: {seeds} seeds, the best of the rates {rates} (and of the clippings at {limits} of
the first gradient) for every arm on another seed. Accuracy on held-out pictures in %, ± standard error. *Advised* and
*or* are the expressions that the diagnosis names, *not advised* is what it warns of; all are in `diagnose.json`. A
verdict holds by more than 3 points and 2 standard errors over the better of plain and clipped, or by less where it says
that nothing is to be gained. Amplification is at ρ = 0.1, at the prediction → further on; *wrong* is the share of wrong
float32 gradients.

| case | verdict | condition | cosine | amplification | wrong | plain | clipped | advised | or | not advised | held |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main() -> None:
    """Print the table, and write it where `--out` says."""
    parser = argparse.ArgumentParser(description="Train what nlcore.diagnose has judged.")
    parser.add_argument("--out", type=Path, help="folder for diagnose.md and diagnose.json")
    parser.add_argument("--case", default="", help="only the cases with this word in their name")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds, from 10 on")
    given = parser.parse_args()
    out, seeds = given.out, range(SEEDS[0], SEEDS[0] + given.seeds)
    shown = {"rates": ", ".join(map(str, RATES)), "limits": " and ".join(map(str, LIMITS))}
    lines, records = [HEAD.format(steps=STEPS, batch=BATCH, seeds=len(seeds), **shown)], []
    print(lines[0])
    for case in (one for one in CASES if given.case in one.name):
        records.append(examined(case, seeds))
        lines.append(row(records[-1]))
        print(lines[-1], flush=True)
    lines.append(f"\n{time.process_time():.0f} s on one core. To repeat: `python examples/diagnose_verdicts.py`.")
    print(lines[-1])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "diagnose.md").write_text("\n".join(lines) + "\n", "utf-8")
        settings = {
            "steps": STEPS,
            "batch": BATCH,
            "seeds": [*seeds],
            "tuning": TUNING,
            "rates": RATES,
            "limits": LIMITS,
        }
        text = json.dumps({"settings": settings, "cases": records}, indent=1, ensure_ascii=False, allow_nan=False)
        (out / "diagnose.json").write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    main()
