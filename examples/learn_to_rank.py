"""Learn scores from the order of lists alone, with a relaxed sorting algorithm: plain, and with two Newton losses.

The default follows the loss, and the loss also falls where a wrong scorer only makes its scores larger. Look at the
measure that you need beside the loss: the default has a lower loss than plain training here, and orders fewer lists
right.
"""

import os
from typing import Any

import torch

import nlcore
import nlcore_sorting

SORTER = nlcore.make("sorting/neuralsort", temperature=1.0)


def train(criterion: Any, steps: int) -> tuple[float, float]:
    """Return the loss on unseen lists of five items, and the share of them that a linear scorer orders right."""
    torch.manual_seed(0)
    truth = torch.randn(10)
    scorer = torch.nn.Linear(10, 1, bias=False)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=1e-2)
    for _ in range(steps):
        items = torch.randn(100, 5, 10)
        optimizer.zero_grad()
        criterion(scorer(items).squeeze(-1), nlcore_sorting.ranks(items @ truth)).mean().backward()
        optimizer.step()
    items = torch.randn(1000, 5, 10)
    with torch.no_grad():
        scores, ranks = scorer(items).squeeze(-1), nlcore_sorting.ranks(items @ truth)
    right = (nlcore_sorting.ranks(scores) == ranks).all(1)
    return SORTER(scores, ranks).mean().item(), right.float().mean().item()


if __name__ == "__main__":
    torch.set_num_threads(1)
    steps = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "200"))
    default = nlcore.NewtonLoss(SORTER)
    methods = {
        "plain": SORTER,
        "NewtonLoss(sorter)": default,
        "NewtonLoss(sorter, nlcore.Hessian())": nlcore.NewtonLoss(SORTER, nlcore.Hessian()),
    }
    for name, criterion in methods.items():
        loss, right = train(criterion, steps)
        print(f"{name:37} loss {loss:.2f}, lists in the right order {right:.0%}")
    print(default.explain())
