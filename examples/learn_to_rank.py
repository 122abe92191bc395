"""Learn scores from the order of lists alone, with a relaxed sorting algorithm: plain, and with two Newton losses.

With a learning rate of 0.1, the default reaches less than half the loss of plain training, and orders about as many
lists right. With one of 0.01, the scores are still small after 200 steps. The loss then falls fastest if a scorer that
is not right yet makes its scores larger, and the default does this first: its loss is lower there too, but it orders
fewer lists right than plain training. Look at the measure that you need beside the loss.
"""

import os
from typing import Any

import torch

import nlcore
import nlcore_sorting

SORTER = nlcore.make("sorting/neuralsort", temperature=1.0)


def train(criterion: Any, steps: int, learning_rate: float) -> tuple[float, float]:
    """Return the loss on unseen lists of five items, and the share of them that a linear scorer orders right."""
    torch.manual_seed(0)
    truth = torch.randn(10)
    scorer = torch.nn.Linear(10, 1, bias=False)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=learning_rate)
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
    for learning_rate in (0.01, 0.1):
        default = nlcore.NewtonLoss(SORTER)
        methods = {
            "plain": SORTER,
            "NewtonLoss(sorter)": default,
            "NewtonLoss(sorter, nlcore.Hessian())": nlcore.NewtonLoss(SORTER, nlcore.Hessian()),
        }
        print(f"learning rate {learning_rate}")
        for name, criterion in methods.items():
            loss, right = train(criterion, steps, learning_rate)
            print(f"  {name:37} loss {loss:.2f}, lists in the right order {right:.0%}")
        print(f"  {default.explain()}")
