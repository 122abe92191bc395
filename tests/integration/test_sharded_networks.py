"""The default with parameters that are sharded over two processes: not probed, trained, and said once."""

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

STEPS, TIMEOUT = 12, datetime.timedelta(seconds=60)


def sharded(net: nn.Module, kind: str) -> nn.Module:
    if kind == "FullyShardedDataParallel":
        from torch.distributed.fsdp import FullyShardedDataParallel

        return FullyShardedDataParallel(net, device_id=torch.device("cpu"))
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (2,))
    for layer in (net[0], net[2]):
        fully_shard(layer, mesh=mesh)
    fully_shard(net, mesh=mesh)
    return net


def train(rank: int, kind: str, folder: Path) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder / 'meet'}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=TIMEOUT)
    torch.manual_seed(0)
    net = sharded(nn.Sequential(nn.Linear(4, 24), nn.Tanh(), nn.Linear(24, 6)), kind)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    criterion = nlcore.NewtonLoss(nlcore.compose(lambda y: y.cumsum(-1)))
    losses = []
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for seed in range(STEPS):
            x = torch.randn(16, 4, generator=torch.Generator().manual_seed(seed))
            target = torch.cat([x, x[:, :2].square()], 1).cumsum(1)
            optimizer.zero_grad()
            loss = criterion(net(x[rank::2]), target[rank::2])
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    told = [str(one.message) for one in said if issubclass(one.category, nlcore.errors.PerformanceWarning)]
    torch.save((losses, criterion.explain(), told), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch is built without gloo")
@pytest.mark.parametrize("kind", ["fully_shard", "FullyShardedDataParallel"])
def test_a_sharded_network_is_not_probed(tmp_path: Path, kind: str):
    words = [[sys.executable, __file__, str(rank), kind, str(tmp_path)] for rank in range(2)]
    processes = [subprocess.Popen(one) for one in words]
    assert [process.wait(120) for process in processes] == [0, 0]
    for rank in range(2):
        losses, explained, told = torch.load(tmp_path / f"{rank}.pt")
        assert losses[-1] < losses[0]
        assert "the plain gradient" in explained
        assert "sharded" in explained
        assert len(told) == 1
        assert "cannot probe this network (its parameters are sharded" in told[0]


if __name__ == "__main__":
    train(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
    os._exit(0)  # a thread of gloo that still runs when the interpreter is taken down would abort the process
