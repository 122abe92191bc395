"""The tasks of other authors: their definitions beside plain loops over one sample, shapes, and repeatable data."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from nlcore.cli import main
from nlcore_bench import Deblurring, Forecast, Heat, LinearOscillators, Oscillators, Pendulum, find
from nlcore_bench.data.digits import PartName
from nlcore_bench.data.photograph import signals
from nlcore_bench.physics import soft_dtw
from nlcore_bench.tasks.base import make_task
from nlcore_bench.tasks.forecast import series
from nlcore_bench.tasks.inverse import rectangles
from nlcore_bench.tasks.simulated import SimulatedTask

SIZES = {
    "oscillators": (128, 4, 96, 4),
    "linear_oscillators": (256, 4, 24, 4),
    "heat": (50, 144, 144, 144),
    "deblurring": (50, 48, 48, 48),
    "pendulum": (50, 40, 4, 40),
    "forecast": (50, 24, 24, 24),
}


def simulated(name: str, **options: Any) -> SimulatedTask:
    task = make_task(f"bench/{name}", options)
    assert isinstance(task, SimulatedTask)
    return task


def stepped(change: Callable[[Any, float], Any], state: Any, pushes: list[float], step: float) -> Any:
    for push in pushes:
        k1 = change(state, push)
        k2 = change(state + step * k1 / 2, push)
        k3 = change(state + step * k2 / 2, push)
        k4 = change(state + step * k3, push)
        state = state + step * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return state


def nonlinear(state: Any, push: float) -> Any:
    x1, x2, v1, v2 = state
    return np.array([v1, v2, -x1 + (x2 - x1) ** 3, -x2 - (x2 - x1) ** 3 + 3 * push])


def linear(state: Any, push: float) -> Any:
    own = np.kron([[0, 1], [-1, 0]], np.eye(2))
    coupling = 0.2 * np.kron([[0, 0], [1, 0]], [[-1, 1], [1, -1]])
    return (own + coupling) @ state + push * np.array([0, 0, 0, 1])


def warped(first: list[float], second: list[float], gamma: float) -> float:
    """Return soft-DTW by its recursion, cell by cell."""
    n = len(first)
    table = np.full((n + 1, n + 1), math.inf)
    table[0, 0] = 0
    for i in range(1, n + 1):
        for j in range(1, n + 1):
            near = np.array([table[i - 1, j - 1], table[i - 1, j], table[i, j - 1]])
            soft = near.min() - gamma * np.log(np.exp(-(near - near.min()) / gamma).sum())
            table[i, j] = (first[i - 1] - second[j - 1]) ** 2 + soft
    return float(table[n, n])


@pytest.mark.parametrize(
    ("task", "change"), [(Oscillators(), nonlinear), (LinearOscillators(), linear)], ids=["nonlinear", "linear"]
)
def test_oscillators_are_those_of_a_plain_loop(task: Any, change: Any) -> None:
    batch = next(task.batches(3))
    assert torch.equal(batch.options["context"], batch.inputs)
    assert torch.equal(batch.target, batch.inputs)
    assert 0 <= float(batch.inputs.min()) < float(batch.inputs.max()) <= 1
    pushes = 0.3 * torch.randn(2, task.steps, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    start = batch.inputs[:2].double()
    end = stepped(change, start[1].numpy(), pushes[1].tolist(), task.step)
    expected = ((end - start[1].numpy()) ** 2).sum() / 2
    assert float(task.loss(pushes, start, context=start)[1]) == pytest.approx(expected, rel=1e-9)


def test_linear_oscillators_keep_their_energy_without_a_push() -> None:
    task = LinearOscillators(step=0.01)
    start = torch.tensor([[0.3, 0.8, 0.1, 0.5]], dtype=torch.float64)
    end = task.loss.inner(torch.zeros(1, 24, dtype=torch.float64), context=start)[0].tolist()

    def energy(x1: float, x2: float, v1: float, v2: float) -> float:
        return (x1**2 + x2**2 + v1**2 + v2**2 + 0.2 * (x2 - x1) ** 2) / 2

    assert energy(*end) == pytest.approx(energy(*start[0].tolist()), rel=1e-9)


def test_heat_spreads_as_on_a_fine_grid_of_time_steps() -> None:
    task = Heat(size=6, spread=0.8)
    first = rectangles(3, 6, torch.Generator().manual_seed(1)).double()
    # Each Fourier mode decays by exp(−½·spread²·|k|²): a sum of modes, cell by cell, for one sample.
    grid, expected = first[2].view(6, 6).numpy(), np.zeros((6, 6))
    waves = np.array([0, 1, 2, -3, -2, -1]) * 2 * np.pi / 6
    for k in waves:
        for q in waves:
            wave = np.exp(1j * (k * np.arange(6)[:, None] + q * np.arange(6)[None, :]))
            amplitude = (grid * wave.conj()).mean() * np.exp(-0.5 * 0.8**2 * (k**2 + q**2))
            expected += (amplitude * wave).real
    later = task.loss.inner(first)[2].numpy()
    np.testing.assert_allclose(later, expected.ravel(), atol=1e-6)
    assert later.sum() == pytest.approx(grid.sum(), abs=1e-6)  # no heat is lost
    target = torch.zeros(3, 36, dtype=torch.float64)
    assert float(task.loss(first, target)[2]) == pytest.approx((expected**2).sum() / 2, rel=1e-6)


def test_rectangles_are_where_they_should_be() -> None:
    found = rectangles(200, 12, torch.Generator().manual_seed(0)).view(200, 12, 12)
    assert all(2 <= len(one.unique()) <= 16 for one in found)
    assert bool((found != 0).flatten(1).any(1).all())
    assert 0.1 < float((found != 0).float().mean()) < 0.9
    assert all(bool((found[:, i, j] != 0).any()) for i in (0, 11) for j in (0, 11))


def test_deblurring_is_a_gaussian_blur_of_the_photograph() -> None:
    task = Deblurring(noise=0.0)
    batch = next(task.batches(0))
    assert batch.outputs is not None
    sharp, seen = batch.outputs[4].double().numpy(), batch.inputs[4].numpy()
    for i in (0, 20, 47):
        weights = np.exp(-0.5 * ((np.arange(48) - i) / 2.0) ** 2)
        assert seen[i] == pytest.approx((weights * sharp).sum() / weights.sum(), abs=1e-5)
    assert task.loss(batch.outputs, batch.target).max() < 1e-8
    noisy = Deblurring(noise=0.05).part("train")
    assert noisy.outputs is not None
    noise = noisy.target - task.loss.inner(noisy.outputs)
    assert float(noise.std()) == pytest.approx(0.05, rel=0.02)
    clean = task.part("train").outputs
    assert clean is not None
    assert torch.equal(noisy.outputs, clean)


def test_signals_of_the_parts_are_different_rows() -> None:
    names: tuple[PartName, ...] = ("train", "validation", "test")
    parts = [signals(name, 48) for name in names]
    assert [one.shape[1] for one in parts] == [48, 48, 48]
    assert min(map(len, parts)) > 512
    assert float(parts[0].square().mean()) == pytest.approx(1.0, rel=1e-4)
    assert all(float(one.mean(1).abs().max()) < 1e-4 for one in parts)
    rows = [{tuple(row) for row in one.tolist()} for one in parts]
    assert not rows[0] & rows[1] | rows[0] & rows[2] | rows[1] & rows[2]


def test_the_pendulum_is_that_of_a_plain_loop() -> None:
    task = Pendulum()
    p = [0.4, -0.7, 1.1, -0.3]
    frequency, damping = 0.5 + math.log1p(math.exp(p[0])), 0.3 * math.log1p(math.exp(p[1]))
    angle, speed, angles = p[2], p[3], []
    for _ in range(40):
        speed += 0.1 * (-(frequency**2) * math.sin(angle) - damping * speed)
        angle += 0.1 * speed
        angles.append(angle)
    prediction = torch.tensor([p], dtype=torch.float64)
    found = task.loss(prediction, torch.zeros(1, 40, dtype=torch.float64))
    assert float(found) == pytest.approx(sum(one**2 for one in angles) / 2, rel=1e-9)
    batch = next(task.batches(1))
    assert batch.outputs is not None
    assert float(task.loss(batch.outputs, batch.target).max()) < 1e-8


@pytest.mark.parametrize("length", [1, 2, 5, 12])
def test_soft_dtw_is_its_recursion(length: int) -> None:
    first, second = torch.randn(2, 3, length, dtype=torch.float64, generator=torch.Generator().manual_seed(length))
    expected = [warped(a, b, 0.3) for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    assert soft_dtw(first, second, 0.3).tolist() == pytest.approx(expected, rel=1e-12)


def test_the_loss_of_forecasts_is_a_divergence_with_a_right_gradient() -> None:
    task = Forecast(length=12)
    first, second = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    a, b = first[1].tolist(), second[1].tolist()
    expected = warped(a, b, 0.1) - (warped(a, a, 0.1) + warped(b, b, 0.1)) / 2
    assert float(task.loss(first, second)[1]) == pytest.approx(expected, rel=1e-9)
    assert bool((task.loss(first, second) > 0).all())
    assert float(task.loss(second, second).abs().max()) < 1e-12
    assert torch.autograd.gradcheck(task.loss, (first.requires_grad_(), second))
    assert not hasattr(task.loss, "inner")
    assert not hasattr(task.loss, "hessian")


def test_series_have_one_event_of_about_unit_height() -> None:
    found = series(400, 48, torch.Generator().manual_seed(3))
    assert float(found[:, :6].mean()) == pytest.approx(0.0, abs=0.02)
    assert float(found[:, 12:18].mean()) == pytest.approx(0.62, abs=0.12)
    assert float(found[:, :6].std()) == pytest.approx(1 / 6, rel=0.05)


@pytest.mark.parametrize(("name", "sizes"), SIZES.items())
def test_shapes_and_repeatable_batches(name: str, sizes: tuple[int, int, int, int]) -> None:
    size, inputs, outputs, target = sizes
    task = simulated(name)
    batch, same, other = (next(iter(task.batches(seed))) for seed in (5, 5, 6))
    assert batch.inputs.shape == (size, inputs)
    assert batch.target.shape == (size, target)
    assert batch.outputs is None or batch.outputs.shape == (size, outputs)
    assert torch.equal(batch.inputs, same.inputs)
    assert not torch.equal(batch.inputs, other.inputs)
    network = task.network(0)
    assert network(batch.inputs).shape == (size, outputs)
    assert task.loss(network(batch.inputs), batch.target, **batch.options).shape == (size,)
    fresh = type(task)()
    assert torch.equal(next(fresh.batches(5)).inputs, batch.inputs)
    assert fresh.evaluate(network, "test") == task.evaluate(network, "test")
    assert list(task.evaluate(network, "validation")) == [one.name for one in task.measures]
    parts = [{tuple(row) for row in task.part(part).inputs.tolist()} for part in ("train", "validation", "test")]
    assert not parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2]


def test_an_epoch_has_every_sample_once() -> None:
    task = Pendulum(samples=60, batch=20)
    rows = torch.cat([one.inputs for one in islice(task.batches(0), 3)])
    assert {tuple(row) for row in rows.tolist()} == {tuple(row) for row in task.part("train").inputs.tolist()}
    assert len(next(Pendulum(samples=6, batch=20).batches(0)).inputs) == 20


def test_errors_are_relative_to_the_true_outputs() -> None:
    task = Pendulum(samples=50)
    outputs = task.part("test").outputs
    assert outputs is not None

    class Known(torch.nn.Module):
        def __init__(self, answer: Tensor) -> None:
            super().__init__()
            self.answer = answer

        def forward(self, inputs: Tensor) -> Tensor:
            return self.answer

    assert task.evaluate(Known(outputs), "test") == {"error": 0.0, "loss": pytest.approx(0.0, abs=1e-9)}
    assert task.evaluate(Known(0.9 * outputs), "test")["error"] == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize(
    "name", ["oscillators", "linear_oscillators", "heat", "deblurring_noisy", "pendulum", "forecast"]
)
def test_the_study_of_the_default_trains_every_task(tmp_path: Path, name: str) -> None:
    words = ["default", "--quick", "--quiet", "--workers", "1", "--out", str(tmp_path), "--tasks", name]
    assert main(["bench", "run", *words, "--methods", "plain", "--optimizers", "adam"]) == 0
    assert find("default").tasks[name].label in (tmp_path / "default" / "report.txt").read_text()
