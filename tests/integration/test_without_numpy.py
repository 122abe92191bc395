"""The core, and the plugins that do not require NumPy, serve every algorithm where it is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys, warnings
sys.modules["numpy"] = None  # its import fails, as where it is not installed
warnings.simplefilter("ignore")
import torch, nlcore
for id in nlcore.names({namespace!r}):
    loss = nlcore.make(id)
    generator = torch.Generator().manual_seed(0)
    prediction, target = loss.example(4, generator=generator, dtype=torch.float32, device="cpu")
    prediction.requires_grad_()
    nlcore.NewtonLoss(loss)(prediction, target).backward()
    assert bool(prediction.grad.isfinite().all()), id
    print(id)
"""


@pytest.mark.parametrize("namespace", ["core", "sequences", "sorting", "ranking"])
def test_every_algorithm_takes_a_step_without_numpy(namespace):
    if namespace != "core":
        pytest.importorskip(f"nlcore_{namespace}")
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(namespace=namespace)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()
