"""One run: paired by its seed, on one thread, and honest about a failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from nlcore.errors import NonFiniteError
from nlcore_bench import Method, Totals
from nlcore_bench.criteria import MeanLoss
from nlcore_bench.data.digits import PartName
from nlcore_bench.train import _Stepper, train

TASK = Totals(length=3, batch=8, steps=6, every=4, hidden=(8,), learning_rates=(1e-2,))
METHODS = {method.name: method for method in TASK.methods}


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_trains_and_repeats_to_the_digit(name: str) -> None:
    one, same = (train(TASK, METHODS[name], learning_rate=1e-2, seed=3, part="test", curves=True) for _ in "ab")
    assert one.failure is None
    assert one.steps == [4, 6]
    assert one.curves == same.curves
    assert one.final == same.final
    assert one.train == same.train
    assert one.final["accuracy"] == one.curves["accuracy"][-1]
    assert one.cpu_seconds > 0
    other = train(TASK, METHODS[name], learning_rate=1e-2, seed=4, part="test", curves=True)
    assert other.curves != one.curves


def test_curves_are_left_out_on_request() -> None:
    outcome = train(TASK, METHODS["plain"], learning_rate=1e-2, seed=3, part="validation", curves=False)
    assert outcome.steps == []
    assert outcome.curves == {}
    assert set(outcome.final) == {"accuracy"}


def test_runs_of_one_seed_start_from_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[Tensor] = []
    original = Totals.model

    def spy(task: Totals) -> nn.Module:
        model = original(task)
        starts.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        return model

    monkeypatch.setattr(Totals, "model", spy)
    for name in ("plain", "fisher"):
        train(TASK, METHODS[name], learning_rate=1e-2, seed=3, part="validation", curves=False)
    assert torch.equal(*starts)


def test_leaves_the_random_state_and_the_threads_alone() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    train(TASK, METHODS["plain"], learning_rate=1e-2, seed=3, part="validation", curves=False)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_clipping_bounds_the_gradient() -> None:
    batch = next(iter(TASK.batches(0)))
    norms = {}
    for name in ("plain", "clipping"):
        torch.manual_seed(0)
        stepper = _Stepper(
            TASK.model(), replace(METHODS[name], clip=METHODS[name].clip and 0.01), learning_rate=1e-2, steps=6
        )
        assert stepper(batch.inputs, batch.targets["totals"]) is None
        gradients = [parameter.grad for parameter in stepper.model.parameters() if parameter.grad is not None]
        norms[name] = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    assert norms["plain"] > 0.02
    assert norms["clipping"] == pytest.approx(0.01, rel=1e-3)


def test_mean_loss_is_the_mean() -> None:
    criterion = MeanLoss(lambda prediction, target: (prediction - target).abs().sum(1))
    assert criterion(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.zeros(2, 2)).item() == 1.5


@pytest.mark.parametrize("raises", [False, True])
def test_a_run_that_leaves_the_finite_range_says_so(monkeypatch: pytest.MonkeyPatch, raises: bool) -> None:
    class Diverging(nn.Module):
        calls = 0

        def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
            self.calls += 1
            if self.calls == 3 and raises:
                raise NonFiniteError("sample 2 is not finite", [2])
            return prediction.sum() * (torch.nan if self.calls == 3 else 1.0)

    monkeypatch.setattr(Method, "criterion", lambda method: Diverging())
    part: PartName = "test"
    outcome = train(TASK, METHODS["plain"], learning_rate=1e-2, seed=3, part=part, curves=True)
    assert outcome.failure is not None
    assert outcome.failure.startswith("step 3:")
    assert ("sample 2" in outcome.failure) == raises
    assert set(outcome.final) == {"accuracy"}
    assert outcome.steps == []
