"""Every registered loss: the conformance kit and configuration; those on grids: identity and wrong use."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from importlib import import_module
from typing import Any

import pytest
import torch

import nlcore
import nlcore_shortest_paths
from nlcore.errors import ConfigError, ContractError, DeviceError, DtypeError, NonFiniteError, ShapeError
from nlcore.protocol import AlgorithmicLoss
from nlcore.testing import check_algorithm

SPECS = {id.removeprefix("shortest_paths/"): nlcore.spec(id) for id in nlcore.names("shortest_paths")}


def resolve(path: str) -> Any:
    module, attribute = path.split(":")
    return getattr(import_module(module), attribute)


LOSSES = {name: (resolve(spec.factory)(), resolve(spec.config)) for name, spec in SPECS.items()}
ON_GRIDS = {name: one for name, one in LOSSES.items() if not name.startswith("graph_")}


@pytest.fixture(params=ON_GRIDS.values(), ids=list(ON_GRIDS))
def both(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    return request.param


@pytest.fixture
def loss(both: tuple[Any, Any]) -> Any:
    return both[0]


@pytest.fixture
def example(loss: Any, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    return loss.example(3, generator=generator, dtype=torch.float64, device="cpu")


@pytest.mark.parametrize(("loss", "config"), LOSSES.values(), ids=list(LOSSES))
def test_conforms(loss, config) -> None:
    check_algorithm(loss, config=config)


def test_specifications_resolve() -> None:
    for spec in SPECS.values():
        cls, config = resolve(spec.factory), resolve(spec.config)
        assert isinstance(cls(), AlgorithmicLoss)
        assert cls.id == spec.id
        assert cls(**config().model_dump()) == cls()


def test_public_names() -> None:
    for name in nlcore_shortest_paths.__all__:
        assert getattr(nlcore_shortest_paths, name).__name__ == name
        assert name in dir(nlcore_shortest_paths)
    with pytest.raises(AttributeError, match="no attribute 'AStar'"):
        _ = nlcore_shortest_paths.AStar


def test_identity(loss) -> None:
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss), dataclasses.replace(loss)):
        assert twin == loss
        assert hash(twin) == hash(loss)
        assert type(twin) is type(loss)
        assert repr(twin) == repr(loss)
    assert repr(loss).startswith(f"{loss._public().__name__}(source=(0, 0), goal=(-1, -1), neighbours=8")
    other = dataclasses.replace(loss, neighbours=4)
    assert other != loss
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.neighbours = 4


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_costs_that_are_not_positive_are_named(loss, example, value) -> None:
    costs, target = example
    costs[1, 2, 3] = value
    with pytest.raises(ContractError, match=r"samples 1 are not positive; sample 1 has .* at \(2, 3\).*softplus"):
        loss(costs, target)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_costs_that_are_not_finite_are_named(loss, example, value) -> None:
    costs, target = example
    costs[2, 0, 1] = value
    with pytest.raises(NonFiniteError, match=r"sample 2 has .* at \(0, 1\)") as caught:
        loss(costs, target)
    assert caught.value.samples == (2,)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda c, t: (c[0], t[0]), ShapeError, r"shape \[4, 5\], but \[batch, H, W\]"),
        (lambda c, t: (c.long(), t), DtypeError, r"\.float\(\)"),
        (lambda c, t: (c, t[:2]), ShapeError, r"target has shape \[2, 4, 5\]"),
        (lambda c, t: (c, t.to("meta")), DeviceError, "target is on meta"),
        (lambda c, t: (c, t.tolist()), ContractError, "target is a list"),
        (lambda c, t: (c, t - 3), ContractError, "samples 0"),
    ],
)
def test_wrong_use(loss, example, change, error, message) -> None:
    with pytest.raises(error, match=message) as caught:
        loss(*change(*example))
    assert str(caught.value).startswith(f"{loss.id}: ")


def test_an_end_outside_the_map_is_named(loss, example) -> None:
    with pytest.raises(ConfigError, match=r"goal \(9, 0\) lies outside the map of 4 rows and 5 columns"):
        dataclasses.replace(loss, goal=(9, 0))(*example)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(loss, batch, generator) -> None:
    costs, target = loss.example(batch, generator=generator, dtype=torch.float32, device="cpu")
    value = loss(costs.requires_grad_(), target, generator=generator)
    assert value.shape == (batch,)
    assert torch.autograd.grad(value.sum(), costs)[0].shape == costs.shape


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 2)])
def test_maps_of_other_sizes(loss, size, generator) -> None:
    costs = torch.rand(2, *size, generator=generator) + 1
    target = loss._truth(torch.rand(2, *size, generator=generator) + 1)
    value = loss(costs.requires_grad_(), target, generator=generator)
    (gradient,) = torch.autograd.grad(value.sum(), costs)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


def test_the_former_place_of_the_estimates_works_and_warns() -> None:
    import nlcore_decisions.perturbed
    from nlcore_shortest_paths import perturbed

    for name in ("draw_noise", "jacobian", "central_difference", "solutions"):
        with pytest.warns(DeprecationWarning, match=r"moved to nlcore_decisions\.perturbed .* removed in 0\.3"):
            found = getattr(perturbed, name)
        assert found is getattr(nlcore_decisions.perturbed, name)
    with pytest.warns(DeprecationWarning, match="moved"):
        from nlcore_shortest_paths.perturbed import fenchel_young  # noqa: F401
    with pytest.raises(AttributeError, match="no attribute 'noise'"):
        _ = perturbed.noise
