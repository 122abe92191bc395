"""Losses and Newton steps on a device: the numbers of the CPU, no waiting where none is promised, a training."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import nlcore
from nlcore import EmpiricalFisher, GaussNewton, Hessian, NewtonLoss, Relative

pytestmark = pytest.mark.gpu

IDS = nlcore.names()
CURVATURES = {
    "fisher": EmpiricalFisher(),
    "fisher, kernel": EmpiricalFisher(damping=Relative(0.1), solver="kernel"),
    "gauss_newton": GaussNewton(damping=Relative(0.1)),
    "gauss_newton, sample": GaussNewton(damping=Relative(0.1), aggregate="sample"),
    "gauss_newton, cg": GaussNewton(damping=Relative(0.1), solver="cg"),
    "gauss_newton, half power": GaussNewton(damping=Relative(0.1), power=0.5),
    "hessian": Hessian(damping=Relative(0.1)),
    "hessian, batch": Hessian(damping=Relative(0.1), psd="abs", aggregate="batch"),
    "auto, outputs": nlcore.Auto(aim="outputs"),
}


def moved(values: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Return a structure of tensors on a device; floating-point ones of another dtype if one is given."""

    def move(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return leaf.to(device, dtype if leaf.is_floating_point() else None)

    return tree_map(move, values)


def example(loss: Any, count: int = 6, seed: int = 0) -> tuple[Tensor, Any, dict[str, Any]]:
    """Return a prediction, a target and the context of a loss, in float64 on the CPU."""
    given: dict[str, Any] = {
        "generator": torch.Generator().manual_seed(seed), "dtype": torch.float64, "device": "cpu"
    }  # fmt: skip
    prediction, target = loss.example(count, **given)
    context = loss.example_context(count, **given) if hasattr(loss, "example_context") else None
    return prediction, target, {} if context is None else {"context": context}


def wavy(count: int = 6) -> tuple[Any, Tensor, Tensor]:
    """Return a loss with features that are not linear, with a prediction and a target of 5 outputs."""
    loss = nlcore.compose(lambda y: torch.sin(y) + 0.3 * y.roll(1, -1) ** 2)
    prediction, target = torch.randn(
        2, count, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )  # fmt: skip
    return loss, prediction, target


def gradient(criterion: nn.Module, prediction: Tensor, target: Any, **options: Any) -> tuple[Tensor, Tensor]:
    leaf = prediction.clone().requires_grad_()
    value = criterion(leaf, target, **options)
    value.backward()
    assert leaf.grad is not None
    return value.detach(), leaf.grad


def close(found: Tensor, expected: Tensor, device: torch.device, tolerance: float = 1e-7) -> None:
    """Check device, dtype and numbers, relative to the largest of them."""
    assert found.device.type == device.type
    assert found.dtype == expected.dtype
    scale = float(expected.abs().max().clamp(min=1e-300))
    torch.testing.assert_close(found.cpu(), expected, rtol=tolerance, atol=tolerance * scale)


@contextmanager
def no_waiting(device: torch.device) -> Iterator[None]:
    """Turn each wait of the host for a GPU into an error."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("id", IDS)
def test_value_gradient_and_step_are_those_of_the_cpu(id: str, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    if loss.traits.stochastic:
        pytest.skip("its random numbers differ between devices")
    prediction, target, options = example(loss)

    def step(where: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        inputs, labels, more = moved((prediction, target, options), where)
        found = nlcore.newton_step(loss, inputs, labels, **more)
        return found.value, found.gradient, found.direction

    for found, expected in zip(step(device), step(torch.device("cpu")), strict=True):
        close(found, expected, device)


@pytest.mark.parametrize("id", IDS)
def test_plain_backward_is_that_of_the_cpu(id: str, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    if loss.traits.stochastic or hasattr(loss, "gradient"):
        pytest.skip("its gradient is random, or is not the derivative of the value")
    prediction, target, options = example(loss, seed=1)

    def backward(where: torch.device) -> Tensor:
        inputs, labels, more = moved((prediction, target, options), where)
        leaf = inputs.requires_grad_()
        (found,) = torch.autograd.grad(loss(leaf, labels, **more).sum(), leaf)
        return found

    close(backward(device), backward(torch.device("cpu")), device)


@pytest.mark.parametrize("id", IDS)
def test_a_stochastic_loss_repeats_its_numbers_and_keeps_the_device(id: str, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    if not loss.traits.stochastic:
        pytest.skip("it draws no random numbers")
    prediction, target, options = moved(example(loss), device)

    def step(seed: int) -> nlcore.NewtonStep:
        generator = torch.Generator(device).manual_seed(seed)
        return nlcore.newton_step(loss, prediction, target, generator=generator, **options)

    first, again = step(0), step(0)
    for name in ("value", "gradient", "direction"):
        found = getattr(first, name)
        assert found.device.type == device.type
        assert found.isfinite().all()
        assert torch.equal(found, getattr(again, name))


@pytest.mark.parametrize("name", CURVATURES)
def test_every_curvature_is_that_of_the_cpu(name: str, device: torch.device) -> None:
    loss, prediction, target = wavy()
    expected = nlcore.newton_step(loss, prediction, target, CURVATURES[name])
    found = nlcore.newton_step(loss, *moved((prediction, target), device), CURVATURES[name])
    close(found.direction, expected.direction, device, 1e-6)
    assert found.result is expected.result


def test_the_low_rank_solver_is_that_of_the_cpu_where_all_directions_fit(device: torch.device) -> None:
    loss, prediction, target = wavy()
    curvature = GaussNewton(damping=Relative(0.1), solver="low_rank")
    expected = nlcore.newton_step(loss, prediction, target, curvature)
    found = nlcore.newton_step(loss, *moved((prediction, target), device), curvature)
    close(found.direction, expected.direction, device, 1e-6)


@pytest.mark.parametrize("name", ["fisher", "fisher, kernel", "gauss_newton", "gauss_newton, sample"])
def test_a_fallback_waits_for_nothing_after_the_first_step(name: str, device: torch.device) -> None:
    loss, prediction, target = wavy()
    prediction, target = moved((prediction, target), device)
    criterion = NewtonLoss(loss, CURVATURES[name], on_failure="fallback")
    bad = prediction.clone()
    bad[1] = float("nan")
    gradient(criterion, prediction, target)  # the checks of the first use wait
    with no_waiting(device):
        _, good = gradient(criterion, prediction, target)
        _, other = gradient(criterion, bad, target)
    assert good.isfinite().all()
    assert other.isfinite().all()
    assert criterion.stats["nonfinite"] == 1


def test_the_injected_step_waits_for_nothing_and_is_that_of_the_cpu(device: torch.device) -> None:
    _, prediction, _ = wavy()
    there = prediction.clone().to(device).requires_grad_()
    here = prediction.clone().requires_grad_()
    with no_waiting(device):
        nlcore.inject_fisher(there).square().sum(-1).mean().backward()
    nlcore.inject_fisher(here).square().sum(-1).mean().backward()
    assert there.grad is not None
    assert here.grad is not None
    close(there.grad, here.grad, device)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("id", ["sorting/neuralsort", "sequences/prefix_sum", "ranking/listnet"])
def test_half_precision_is_near_to_single_precision(id: str, dtype: torch.dtype, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    half = moved(example(loss)[:2], device, dtype)
    single = moved(half, device, torch.float32)
    value, found = gradient(NewtonLoss(loss, EmpiricalFisher()), *half)
    expected_value, expected = gradient(NewtonLoss(loss, EmpiricalFisher()), *single)
    assert found.dtype == dtype
    assert torch.nn.functional.cosine_similarity(found.float().flatten(), expected.flatten(), 0) > 0.99
    assert float(value) == pytest.approx(float(expected_value), rel=0.05)


def training(device: torch.device, criterion: nn.Module, steps: int = 60) -> tuple[nn.Module, list[float]]:
    """Train on running totals, and return the network and the losses."""
    torch.manual_seed(0)
    inputs = torch.rand(40, 8, 16)
    totals = inputs[..., :4].sum(-1).cumsum(1).to(device)
    inputs = inputs.to(device)
    network = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 1), nn.Flatten(1)).to(device)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        value = criterion(network(inputs.flatten(0, 1)).view(40, 8), totals)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return network, losses


@pytest.mark.parametrize("aim", ["loss", "outputs"])
def test_a_training_on_the_device(aim: Any, device: torch.device) -> None:
    criterion = NewtonLoss(nlcore.make("sequences/prefix_sum"), nlcore.Auto(aim=aim))
    network, losses = training(device, criterion)
    assert {one.device.type for one in network.parameters()} == {device.type}
    assert losses[-1] < 0.2 * losses[0]
    assert losses[0] == pytest.approx(
        training(torch.device("cpu"), NewtonLoss(nlcore.make("sequences/prefix_sum")), 1)[1][0], rel=1e-4
    )


def test_a_checkpoint_moves_between_devices(device: torch.device) -> None:
    criterion = NewtonLoss(nlcore.make("sequences/prefix_sum"))
    training(device, criterion, 20)
    state = {name: one.cpu() for name, one in criterion.state_dict().items()}
    other = NewtonLoss(nlcore.make("sequences/prefix_sum"))
    other.load_state_dict(copy.deepcopy(state))
    training(torch.device("cpu"), other, 5)
    back = NewtonLoss(nlcore.make("sequences/prefix_sum"))
    back.load_state_dict({name: one.to(device) for name, one in state.items()})
    assert training(device, back, 5)[1][-1] > 0


def test_autocast_and_a_gradient_scaler(device: torch.device) -> None:
    dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    criterion = NewtonLoss(nlcore.make("sequences/prefix_sum"), EmpiricalFisher())
    network = nn.Linear(16, 8).to(device)
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    scaler = torch.amp.GradScaler(device.type, enabled=device.type == "cuda")
    inputs, target = torch.randn(20, 16, device=device), torch.randn(20, 8, device=device)
    before = network.weight.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=dtype):
            value = criterion(network(inputs), target)
        scaler.scale(value).backward()
        scaler.step(optimizer)
        scaler.update()
    assert network.weight.isfinite().all()
    assert not torch.equal(network.weight, before)


@pytest.mark.parametrize("id", ["ranking/listnet", "ranking/approx_ndcg", "sorting/neuralsort", "sequences/prefix_sum"])
def test_a_mask_and_weights_on_the_device(id: str, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    prediction, target, _ = example(loss)
    mask = torch.zeros(prediction.shape, dtype=torch.bool)
    mask[:3, -1] = True
    weight = torch.arange(1.0, 7.0, dtype=torch.float64)
    options: dict[str, Any] = {"mask": mask, "weight": weight}
    value, expected = gradient(NewtonLoss(loss, EmpiricalFisher()), prediction, target, **options)
    given, labels, more = moved((prediction, target, options), device)
    found_value, found = gradient(NewtonLoss(loss, EmpiricalFisher()), given, labels, **more)
    close(found, expected, device)
    close(found_value, value, device)


def test_tensors_on_two_devices_are_named(device: torch.device) -> None:
    if device.type == "cpu":
        pytest.skip("there is one device")
    loss, prediction, target = wavy()
    with pytest.raises(nlcore.errors.DeviceError, match=r"Move the target"):
        NewtonLoss(loss)(prediction.to(device).requires_grad_(), target)


@pytest.mark.parametrize("id", ["sorting/neuralsort", "sorting/softsort", "sorting/diffsort"])
def test_operators_of_sorting_are_those_of_the_cpu(id: str, device: torch.device) -> None:
    loss: Any = nlcore.make(id)
    scores = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for name in ("permutation", "sort", "rank"):
        operator = getattr(loss, name)
        close(operator(scores.to(device)), operator(scores), device)


def test_shortest_paths_are_those_of_the_cpu(device: torch.device) -> None:
    from nlcore_shortest_paths import shortest_path

    costs = torch.rand(20, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 0.1
    found = shortest_path(costs.to(device))
    assert found.device.type == device.type
    assert torch.equal(found.cpu(), shortest_path(costs))


def test_a_diagnosis_is_that_of_the_cpu(device: torch.device) -> None:
    loss: Any = nlcore.make("sequences/prefix_sum")
    prediction, target, _ = example(loss, 12)
    here, there = (
        nlcore.diagnose(loss, *moved((prediction, target), where)) for where in (torch.device("cpu"), device)
    )
    assert there.verdict == here.verdict
    assert there.verdict_outputs == here.verdict_outputs


def test_a_run_of_the_bench_is_near_to_that_of_the_cpu(device: torch.device, tmp_path: Path) -> None:
    import nlcore_bench

    study = nlcore_bench.load(Path(nlcore_bench.__file__).parent / "studies/totals.toml").quick()
    rows = study.entries(methods=["plain", "fisher"])
    finals = []
    for name in ("cpu", str(device) if device.type != "cpu" else "cpu:0"):
        plan = nlcore_bench.run_study(
            study.model_copy(update={"device": name}), tmp_path / name.replace(":", "_"), entries=rows, quiet=True
        )
        finals.append([run.final["accuracy"] for run in islice(plan.runs.values(), 20)])
        assert all(run.failure is None for run in plan.runs.values())
    assert sum(finals[1]) / len(finals[1]) == pytest.approx(sum(finals[0]) / len(finals[0]), abs=10)
