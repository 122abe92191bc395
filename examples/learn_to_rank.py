"""Learn scores from the order of lists alone, with a relaxed sorting algorithm from the registry."""

import os

import torch

import nlcore
import nlcore_sorting


def main(steps: int) -> None:
    """Train a linear scorer on the order of lists of five items and print how many lists it orders right."""
    torch.manual_seed(0)
    truth = torch.randn(10)
    scorer = torch.nn.Linear(10, 1, bias=False)
    optimizer = torch.optim.Adam(scorer.parameters(), lr=1e-2)
    sorter = nlcore.make("sorting/neuralsort", temperature=1.0)
    criterion = nlcore.NewtonLoss(sorter)
    for _ in range(steps):
        items = torch.randn(100, 5, 10)
        optimizer.zero_grad()
        criterion(scorer(items).squeeze(-1), nlcore_sorting.ranks(items @ truth)).backward()
        optimizer.step()
    items = torch.randn(1000, 5, 10)
    with torch.no_grad():
        right = nlcore_sorting.ranks(scorer(items).squeeze(-1)) == nlcore_sorting.ranks(items @ truth)
    print(f"{criterion.explain()}\nlists in the right order: {right.all(1).float().mean():.1%}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(os.environ.get("NLCORE_EXAMPLE_STEPS", "200")))
