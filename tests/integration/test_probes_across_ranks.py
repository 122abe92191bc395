"""The default under DistributedDataParallel: the choices and weights of one process, on both ranks or one alone.

The ranks may have batches of different size, also so different that one process would examine them in other parts.
A rank that cannot probe its network takes the others along to the curvature without probes.
"""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

import nlcore

STEPS, TIMEOUT = 25, datetime.timedelta(seconds=60)


def bent(y):
    return torch.sin(y).cumsum(-1) + 0.1 * y


LOSSES = {"bent": lambda: nlcore.compose(bent), "sum": lambda: nlcore.make("sequences/prefix_sum")}
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
ALONE = (7, 15, 20, 23)
"""Steps at which all samples are on the first rank; 15 and 20 have a probe."""


def train(
    rank: int, world: int, folder: Path, loss: str, optimizer_name: str, sizes: tuple[int, int], outputs: int
) -> None:
    torch.set_num_threads(1)
    if world > 1:
        meet = f"file://{folder / 'meet'}"
        dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=world, timeout=TIMEOUT)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, outputs)).double()
    network = nn.parallel.DistributedDataParallel(net) if world > 1 else net
    optimizer = OPTIMIZERS[optimizer_name](net.parameters(), 1e-2)
    criterion = nlcore.NewtonLoss(LOSSES[loss]())
    for seed in range(STEPS):
        x = torch.randn(sum(sizes), 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        target = torch.cat([x.pow(1 + k) for k in range(outputs // 4 + 1)], 1)[:, :outputs].cumsum(1)
        optimizer.zero_grad()
        here = ((sum(sizes), 0) if seed in ALONE else sizes)[rank]
        part = slice(None) if world == 1 else slice(rank * (sum(sizes) - here), rank * sum(sizes) + (1 - rank) * here)
        criterion(network(x[part]), target[part]).backward()
        optimizer.step()
    weights = torch.cat([one.detach().flatten() for one in net.parameters()])
    chosen = torch.tensor([probe.chosen for probe in criterion.history])
    torch.save((chosen, torch.tensor(criterion.history[-1].scores), weights), folder / f"{world}-{rank}.pt")
    if world > 1:
        dist.destroy_process_group()


def train_blind(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2, timeout=TIMEOUT)
    torch.manual_seed(0)
    net = nn.Linear(4, 6)
    if rank == 0:
        net.weight.register_hook(lambda gradient: gradient)
    criterion, told = nlcore.NewtonLoss(nlcore.compose(bent)), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            criterion(net(torch.randn(8, 4)), torch.randn(8, 6)).backward()
        told = [str(one.message) for one in caught]
    torch.save((told, criterion.explain()), folder / f"blind-{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch is built without gloo")
@pytest.mark.parametrize(
    ("loss", "optimizer", "sizes", "outputs"),
    [
        ("bent", "adam", (8, 8), 6),
        ("bent", "adam", (64, 112), 16),
        ("bent", "sgd", (8, 8), 6),
        ("sum", "sgd", (8, 8), 6),
        ("sum", "adam", (5, 9), 300),
    ],
)
def test_two_ranks_choose_and_train_as_one_process(
    tmp_path: Path, loss: str, optimizer: str, sizes: tuple[int, int], outputs: int
):
    given = [loss, optimizer, *(str(one) for one in (*sizes, outputs))]
    for world in (1, 2):
        words = [[sys.executable, __file__, str(rank), str(world), str(tmp_path), *given] for rank in range(world)]
        processes = [subprocess.Popen(one) for one in words]
        assert [process.wait(120) for process in processes] == [0] * world
    chosen, scores, weights = torch.load(tmp_path / "1-0.pt")
    assert len(chosen) == 5
    for rank in range(2):
        found = torch.load(tmp_path / f"2-{rank}.pt")
        assert torch.equal(found[0], chosen)
        assert torch.allclose(found[1], scores, atol=1e-6)
        assert torch.allclose(found[2], weights, atol=1e-9)


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch is built without gloo")
def test_a_rank_that_cannot_be_probed_takes_the_others_along(tmp_path: Path):
    processes = [subprocess.Popen([sys.executable, __file__, str(rank), "blind", str(tmp_path)]) for rank in range(2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    for rank, reason in enumerate(("a parameter has a hook", "another rank cannot probe its network")):
        told, explained = torch.load(tmp_path / f"blind-{rank}.pt")
        assert len(told) == 1
        assert reason in told[0]
        assert "the plain gradient" in explained


if __name__ == "__main__":
    if sys.argv[2] == "blind":
        train_blind(int(sys.argv[1]), Path(sys.argv[3]))
    else:
        loss, optimizer = sys.argv[4:6]
        first, second, outputs = (int(one) for one in sys.argv[6:])
        train(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), loss, optimizer, (first, second), outputs)
    os._exit(0)  # a thread of gloo that still runs when the interpreter is taken down would abort the process
