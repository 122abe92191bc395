"""Two aims: a low loss, or the outputs themselves. A small network reads forces; only the places are supervised.

A body is pushed sixteen times, and its places are two running sums of the pushes. A network that is too small to give
every body its own pushes cannot have both a low loss and pushes near the true ones, and the aim decides which. A
larger network comes nearer to both.
"""

import os
from collections.abc import Callable
from statistics import mean
from typing import Any

import torch

import nlcore


def simulate(pushes: torch.Tensor) -> torch.Tensor:
    """Return the places [batch, m] of a body pushed by [batch, m]."""
    return pushes.cumsum(1).cumsum(1) / 4


def train(criterion: Any, units: int, seed: int, steps: int) -> tuple[float, ...]:
    """Return the loss on unseen bodies, and the root mean square error of the pushes."""
    torch.manual_seed(seed)
    truth = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 16))
    network = torch.nn.Sequential(torch.nn.Linear(8, units), torch.nn.Tanh(), torch.nn.Linear(units, 16))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        signal = torch.randn(64, 8)
        pushes = 10 * truth(signal).detach()
        optimizer.zero_grad()
        criterion(network(signal), simulate(pushes)).mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        signal = torch.randn(500, 8)
        pushes, found = 10 * truth(signal), network(signal)
        return LOSS(found, simulate(pushes)).mean().item(), (found - pushes).square().mean().sqrt().item()


LOSS = nlcore.compose(simulate)
METHODS: dict[str, Callable[[], Any]] = {
    "plain": lambda: LOSS,
    "NewtonLoss(loss)": lambda: nlcore.NewtonLoss(LOSS),
    "Auto(aim='outputs')": lambda: nlcore.NewtonLoss(LOSS, nlcore.Auto(aim="outputs")),
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    steps = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "150"))
    print("hidden units  method               loss  error of the pushes")
    for units in (4, 64):
        for name, make in METHODS.items():
            runs = [train(make(), units, seed, steps) for seed in range(5)]
            loss, error = (mean(one) for one in zip(*runs, strict=True))
            print(f"{units:12}  {name:19} {loss:5.0f}  {error:19.1f}")
