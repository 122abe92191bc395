"""The calls that the engine bench times: losses, curvatures, networks, and Hessians by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative, compose
from nlcore_bench.criteria import MeanLoss
from nlcore_bench.data.digits import digits, draw, side_by_side
from nlcore_bench.tasks import Ranking
from nlcore_sequences import PrefixSum
from nlcore_sorting import NeuralSort, SoftSort, SortingNetwork, ranks

__all__ = ["LOSSES", "BenchLoss", "Scores", "Step", "blur", "loss_part", "solvers"]

_BATCH = 100
_DIGITS = 4


@dataclass(frozen=True)
class BenchLoss:
    """A loss and its curvatures.

    Attributes:
        label: Name in tables.
        loss: The loss.
        closed: Whether its Hessian has a closed form.
        splits: Whether it has a Gauss–Newton split.
        ranked: Whether its targets are ranks; totals otherwise.
    """

    label: str
    loss: Any
    closed: bool
    splits: bool
    ranked: bool = True

    def data(self, size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
        """Return a prediction and a target on a device, each [100, size]."""
        prediction, other = torch.randn(2, _BATCH, size, generator=torch.Generator().manual_seed(0)).to(device)
        return prediction, ranks(other) if self.ranked else other

    def criteria(self) -> dict[str, nn.Module]:
        """Return plain training, every curvature, and the bare steps, by name."""
        found: dict[str, nn.Module] = {
            "plain": MeanLoss(self.loss),
            "Fisher": NewtonLoss(self.loss, EmpiricalFisher()),
            "Hessian": NewtonLoss(self.loss, Hessian()),
        }
        if self.splits:
            found["Gauss–Newton"] = NewtonLoss(self.loss, GaussNewton())
        found["bare Fisher"] = _Bare(self.loss, "fisher")
        found["bare Hessian"] = _Bare(self.loss, "closed" if self.closed else "products")
        return found


class _Bare(nn.Module):
    """The fewest operations of a step, a lower bound: without checks, weights, float64, repair and statistics.

    Args:
        loss: With `hessian` for the kind that needs it.
        kind: `"fisher"`; `"closed"` for the Hessian that the loss supplies; or `"products"` for one pulled back in all
            directions at once.
    """

    def __init__(self, loss: Any, kind: str) -> None:
        super().__init__()
        self.loss, self.kind = loss, kind

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return a scalar with the gradient of a step whose damping is one."""
        y = prediction.detach().requires_grad_()
        products = self.kind == "products"
        (gradient,) = torch.autograd.grad(self.loss(y, target).sum(), y, create_graph=products)
        count, size = gradient.shape
        if products:
            basis = torch.eye(size, device=y.device)[:, None].expand(size, count, size)
            matrix = torch.autograd.grad(gradient, y, basis, is_grads_batched=True)[0].sum(1)
            gradient = gradient.detach()
        with torch.no_grad():
            if not products:
                closed = self.kind == "closed"
                matrix = self.loss.hessian(y, target).sum(0) if closed else gradient.mT @ gradient
            matrix.diagonal().add_(count)
            step = torch.cholesky_solve(gradient.mT, torch.linalg.cholesky_ex(matrix)[0]).mT
        return (prediction * step).sum()


LOSSES = (
    BenchLoss("NeuralSort", NeuralSort(), closed=True, splits=True),
    BenchLoss("SoftSort", SoftSort(), closed=True, splits=True),
    BenchLoss("NeuralSort, entries", NeuralSort(objective="entries"), closed=False, splits=False),
    BenchLoss("logistic network", SortingNetwork(distribution="logistic"), closed=False, splits=False),
    BenchLoss("prefix sum", PrefixSum(), closed=True, splits=True, ranked=False),
)


def loss_part(entry: BenchLoss, size: int, device: str = "cpu") -> dict[str, Callable[[], object]]:
    """Return the calls that compute the value and the gradient of the prediction, and the n double backwards.

    Args:
        entry: The loss.
        size: n.
        device: Where the prediction is.
    """
    prediction, target = entry.data(size, device)
    calls = _calls(entry.criteria(), prediction, target)
    calls["n double backwards"] = lambda: _double_backwards(entry.loss, prediction, target)
    return calls


def _calls(criteria: Mapping[str, nn.Module], prediction: Tensor, target: Tensor) -> dict[str, Callable[[], object]]:
    """Return a function for each criterion that computes its value and the gradient of the prediction."""

    def run(criterion: nn.Module) -> None:
        y = prediction.clone().requires_grad_()
        criterion(y, target).backward()

    return {name: partial(run, criterion) for name, criterion in criteria.items()}


def _double_backwards(loss: Any, prediction: Tensor, target: Tensor) -> Tensor:
    """Return the Hessians [N, n, n], one backward pass through the gradient for each of the n outputs."""
    y = prediction.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(y, target).sum(), y, create_graph=True)
    rows = [torch.autograd.grad(column.sum(), y, retain_graph=True)[0] for column in gradient.unbind(1)]
    return torch.stack(rows, 1)


class Step:
    """A whole training step of a network that scores pictures of numbers: forward, loss, backward, Adam.

    Args:
        network: `"MLP"`, the one of `nlcore bench ranking` on pictures of 8×32; or `"CNN"`, the layers of the paper's
            ranking network (5×5 convolutions to 32 and 64 channels, each with a maximum over 2×2, then 64 hidden
            units) on the same pictures scaled to 16×64.
        size: n, numbers in a list.
        device: Where network and pictures are.
    """

    def __init__(self, network: str, size: int, device: str = "cpu") -> None:
        generator = torch.Generator().manual_seed(0)
        part = digits().train
        index = draw(part, (_BATCH, size, _DIGITS), generator)
        self.pictures = side_by_side(part.images[index])
        self.target = ranks(torch.rand(_BATCH, size, generator=generator))
        self.network = network
        if network == "CNN":
            wide = self.pictures.view(_BATCH * size, 1, 8, 8 * _DIGITS)
            self.pictures = nn.functional.interpolate(wide, scale_factor=2).view(_BATCH, size, 1, 16, 16 * _DIGITS)
        self.device, self.pictures, self.target = device, self.pictures.to(device), self.target.to(device)

    def call(self, criterion: nn.Module) -> Callable[[], None]:
        """Return a training step with its own network."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = (Scores() if self.network == "CNN" else Ranking().network(0)).to(self.device)
        optimizer = torch.optim.Adam(model.parameters(), 1e-4)

        def run() -> None:
            optimizer.zero_grad()
            criterion(model(self.pictures), self.target).backward()
            optimizer.step()

        return run


class Scores(nn.Module):
    """A convolutional network for every picture of a list: [N, n, 1, 16, 64] to [N, n].

    Args:
        channels: Those of the two convolutions; the hidden layer has as many units as the second.
    """

    def __init__(self, channels: tuple[int, int] = (32, 64)) -> None:
        super().__init__()
        first, second = channels
        self.layers = nn.Sequential(
            nn.Conv2d(1, first, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(first, second, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(second * 1 * 13, second),
            nn.ReLU(),
            nn.Linear(second, 1),
        )

    def forward(self, pictures: Tensor) -> Tensor:
        """Return a score for every picture."""
        scores: Tensor = self.layers(pictures.flatten(0, 1))
        return scores.view(pictures.shape[:2])


def blur(y: Tensor) -> Tensor:
    """Return features that are nonlinear functions of a few outputs each, [N, m] to [N, m]."""
    spread = y + 0.5 * torch.roll(y, 1, -1) + 0.2 * torch.roll(y, 3, -1)
    return spread + 0.1 * spread.square()


def solvers(size: int, count: int, device: str = "cpu") -> dict[str, Callable[[], object]]:
    """Return a step with every solver, for m outputs and N samples, except the slowest ones."""
    prediction, target = torch.randn(2, count, size, generator=torch.Generator().manual_seed(0)).to(device)
    loss = compose(blur)
    relative = Relative(0.1)
    curvatures: dict[str, Any] = {
        "Fisher, dense": EmpiricalFisher(damping=relative, solver="cholesky"),
        "Fisher, kernel": EmpiricalFisher(damping=relative, solver="kernel"),
        "Gauss–Newton, dense": GaussNewton(damping=relative),
        "Gauss–Newton, cg": GaussNewton(damping=relative, solver="cg"),
        "Hessian, each |H|": Hessian(damping=relative),
    }
    if count * size**3 > 2e9:
        del curvatures["Hessian, each |H|"]
    if count**2 * size > 2**25:
        del curvatures["Gauss–Newton, cg"]
    criteria: dict[str, nn.Module] = {"plain": MeanLoss(loss)}
    criteria |= {name: NewtonLoss(loss, curvature) for name, curvature in curvatures.items()}
    return _calls(criteria, prediction, target)
