"""Train through a simulator of your own: controls are read by a network, only the trajectory is supervised.

A body is pushed sixteen times and slowed by quadratic drag. Its path depends on all pushes before, so the loss is badly
conditioned, and differently for every sample. `nlcore.compose` makes the simulator a loss, the Newton loss does the
rest. The pushes themselves are needed, and the network can produce them: the aim is "outputs".
"""

import os

import torch

import nlcore


def simulate(pushes: torch.Tensor) -> torch.Tensor:
    """Return the places [batch, m] of a body pushed by [batch, m]: x' = v, v' = u − ½v|v|."""
    place = speed = torch.zeros_like(pushes[:, 0])
    places = []
    for push in pushes.unbind(-1):
        speed = speed + 0.3 * (push - 0.5 * speed * speed.abs())
        place = place + 0.3 * speed
        places.append(place)
    return torch.stack(places, dim=-1)


def train(criterion: torch.nn.Module, steps: int) -> float:
    """Return the root mean square error of the pushes on unseen signals."""
    torch.manual_seed(0)
    hidden = torch.randn(8, 8)  # the pushes are a fixed non-linear function of eight numbers each
    network = torch.nn.Sequential(torch.nn.Linear(8, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1), torch.nn.Flatten(-2))
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        signal = torch.randn(50, 16, 8)
        return signal, torch.tanh(signal @ hidden).sum(-1) / 2

    for _ in range(steps):
        signal, pushes = batch()
        optimizer.zero_grad()
        criterion(network(signal), simulate(pushes)).backward()
        optimizer.step()
        schedule.step()
    signal, pushes = batch()
    with torch.no_grad():
        return (network(signal) - pushes).square().mean().sqrt().item()


class Mean(torch.nn.Module):
    """The plain loss, for comparison."""

    def __init__(self, loss: nlcore.AlgorithmicLoss) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch."""
        return self.loss(prediction, target).mean()


if __name__ == "__main__":
    torch.set_num_threads(1)
    steps = int(os.environ.get("NLCORE_EXAMPLE_STEPS", "500"))
    loss = nlcore.compose(simulate)
    outputs = nlcore.NewtonLoss(loss, nlcore.Auto(aim="outputs"))
    print(f"plain:         error of the pushes {train(Mean(loss), steps):.3f}")
    print(f"aim 'loss':    error of the pushes {train(nlcore.NewtonLoss(loss), steps):.3f}")
    print(f"aim 'outputs': error of the pushes {train(outputs, steps):.3f}")
    print(outputs.explain())
