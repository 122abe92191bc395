"""The update of Half-Inverse Gradients beside its definition by a singular value decomposition."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch

from nlcore_bench import find
from nlcore_bench.half_inverse import HalfInverse
from nlcore_bench.tasks.base import make_task


@pytest.mark.parametrize("truncation", [1e-5, 1e-2])
@pytest.mark.parametrize("name", ["linear_oscillators", "pendulum"])
def test_the_update_is_that_of_the_definition(name: str, truncation: float) -> None:
    task = make_task(f"bench/{name}", {"batch": 6, "hidden": (5, 5)})
    network = task.network(0).double()
    single = next(task.batches(0))
    options: dict[str, Any] = {key: one.double() for key, one in single.options.items()}
    batch = replace(single, inputs=single.inputs.double(), target=single.target.double(), options=options)
    parameters = list(network.parameters())
    features = task.loss.inner(network(batch.inputs), **options)
    rows = [
        torch.cat([part.flatten() for part in torch.autograd.grad(one, parameters, retain_graph=True)])
        for one in features.flatten()
    ]
    left, values, right = torch.linalg.svd(torch.stack(rows), full_matrices=False)
    slope = (features - batch.target).flatten().detach() / len(batch.inputs)
    kept = values > truncation * values[0]
    expected = right[kept].T @ (values[kept] ** -0.5 * (left[:, kept].T @ slope))

    value = HalfInverse(task.loss, network, truncation=truncation)(batch, batch.target)
    found = torch.cat([one.grad.flatten() for one in network.parameters() if one.grad is not None])
    # The eigenvalues of JJᵀ are squares of the singular values, and are exact to 1e-16 of the largest.
    assert float((found - expected).norm()) < (1e-4 if truncation < 1e-3 else 1e-9) * float(expected.norm())
    torch.testing.assert_close(value, (features - batch.target).square().sum(1).mean().detach() / 2)


def test_a_few_steps_lower_the_loss() -> None:
    task = make_task("bench/linear_oscillators", {"batch": 32})
    torch.manual_seed(0)
    network = task.network(0)
    update = HalfInverse(task.loss, network)
    optimizer = torch.optim.SGD(network.parameters(), 1.0)
    losses = []
    for batch in islice(task.batches(0), 10):
        optimizer.zero_grad()
        losses.append(float(update(batch, batch.target)))
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


def test_its_study_has_the_tasks_and_seeds_of_the_default() -> None:
    study, default = find("half_inverse"), find("default")
    assert (study.steps, study.seeds, study.tuning_seeds) == (default.steps, default.seeds, default.tuning_seeds)
    assert all(part.id == default.tasks[name].id for name, part in study.tasks.items())
