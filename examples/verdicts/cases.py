"""Sixteen losses with their data: what a network reads, and what supervises it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import pad, softplus

import nlcore
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork, ranks

raw = load_digits()
order = torch.randperm(len(raw.target), generator=torch.Generator().manual_seed(0))
IMAGES = torch.tensor(raw.data, dtype=torch.float32)[order] / 16
LABELS = torch.tensor(raw.target)[order]
HELD_OUT = 1300


def drag(pushes: Tensor, strength: float = 0.5) -> Tensor:
    """Return the path of a body with quadratic drag, [batch, m]; without drag, a double integrator."""
    position = speed = torch.zeros_like(pushes[:, 0])
    positions = []
    for push in pushes.unbind(1):
        speed = speed + 0.3 * (push - strength * speed * speed.abs())
        position = position + 0.3 * speed
        positions.append(position)
    return torch.stack(positions, 1)


def blur(signal: Tensor) -> Tensor:
    """Return a Gaussian blur of [batch, m]."""
    position = torch.arange(signal.shape[1], dtype=signal.dtype)
    kernel = torch.exp(-((position[:, None] - position) ** 2) / 8)
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
    """Return the binary cross-entropy of a sharp float32 permutation matrix, as it is often written."""
    matrix = NeuralSort(temperature=0.002).permutation(prediction)
    wanted = torch.zeros_like(matrix).scatter_(1, target.unsqueeze(1), 1.0)
    return torch.nn.BCELoss(reduction="none")(matrix, wanted).flatten(1).mean(1)


def weighted(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors, some of which are weighted a thousand times more than others."""
    return target[:, 0] * (prediction - target[:, 1:]).square().sum(1) / 2


def turned(prediction: Tensor, target: Tensor) -> Tensor:
    """Return squared errors of 16 measurements, with another ill-conditioned device for every sample."""
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
    """A loss with its data.

    Attributes:
        name: Name in tables.
        loss: The loss.
        task: `"digits"` reads m numbers, `"order"` sorts m of them, `"classes"` recognises single digits.
        items: m.
        target: Function from the true numbers [batch, m] to the target.
        mended: The loss that the verdict "fix the loss first" asks for.
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
    """Return a new network that reads single pictures."""
    last = 10 if case.task == "classes" else 1
    return torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, last)
    )


def sample(case: Case, count: int, generator: torch.Generator, *, held_out: bool = False) -> tuple[Tensor, Tensor]:
    """Return pictures [count, m, 64] and digits [count, m], for an order of m different digits."""
    low, high = (HELD_OUT, len(LABELS)) if held_out else (0, HELD_OUT)
    if case.task != "order":
        index = torch.randint(low, high, (count, case.items), generator=generator)
        return IMAGES[index], LABELS[index]
    digits = torch.rand(count, 10, generator=generator).argsort(1)[:, : case.items]
    chance = torch.rand(count, case.items, high - low, generator=generator)
    index = low + (chance * (LABELS[low:high] == digits.unsqueeze(-1))).argmax(-1)
    return IMAGES[index], digits


def batch(case: Case, model: torch.nn.Module, generator: torch.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Return the outputs of the network for a batch, and the target."""
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
