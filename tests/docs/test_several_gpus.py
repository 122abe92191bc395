"""The training script of the guide to several GPUs, with one and with two processes on CPUs."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import torch.distributed as dist
from pages import DOCS, blocks

PAGE = DOCS / "guides/several-gpus.md"


@pytest.mark.slow
@pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="torch is built without gloo")
def test_two_processes_train_like_one(tmp_path):
    script = next(block for block in blocks(PAGE) if block.attributes.get("file") == "train.py")
    (tmp_path / "train.py").write_text(script.code, encoding="utf-8")
    printed = [_run(tmp_path, count) for count in (1, 2)]
    losses = [float(re.search(r"loss (\d+\.\d+)", one)[1]) for one in printed]
    assert losses[1] == pytest.approx(losses[0], rel=1e-2)
    assert printed[0].startswith("1 ranks")
    assert printed[1].startswith("2 ranks")


def _run(folder, count):
    """Return what torchrun prints with `count` processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "train.py"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    for _ in range(3):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
        )
        if "terminate called without an active exception" not in done.stderr:  # now and then, as gloo's threads end
            break
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
