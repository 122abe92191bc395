"""Runs as a script until it is killed: trains, and saves a checkpoint on the way."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from nlcore import Bounded, GaussNewton, NewtonLoss, compose

SAVED_AFTER, STEPS = 6, 14


def bent(y):
    """Return features whose Jacobian differs from sample to sample, [N, m]."""
    return (y + 0.4 * y.square()).cumsum(1)


class Training:
    """A network, its optimiser and a criterion whose damping is looked up every four steps."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4))
        self.optimizer = torch.optim.Adam(self.model.parameters(), 0.05)
        self.criterion = NewtonLoss(compose(bent), GaussNewton(damping=Bounded(refresh=4)))
        self.parts = {"model": self.model, "optimizer": self.optimizer, "criterion": self.criterion}

    def run(self, first, last):
        """Take the steps from `first` up to `last`; return the losses."""
        losses = []
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            x, t = torch.randn(10, 6, generator=generator), 0.3 * torch.randn(10, 4, generator=generator)
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(x), t)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.item())
        return losses

    def save(self, path):
        """Put all parts into a file, whole or not at all."""
        torch.save({name: part.state_dict() for name, part in self.parts.items()}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)

    def load(self, path, without=()):
        """Take them from it."""
        for name, state in torch.load(path).items():
            if name not in without:
                self.parts[name].load_state_dict(state)


if __name__ == "__main__":
    torch.set_num_threads(1)
    training = Training()
    training.run(0, SAVED_AFTER)
    training.save(Path(sys.argv[1]))
    for step in range(SAVED_AFTER, 1_000_000):
        training.run(step, step + 1)
        time.sleep(0.01)
