"""The losses that the tests run over."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from nlcore_sorting import NeuralSort, RankingLoss, SoftSort, SortingNetwork
from nlcore_sorting.config import Distribution, Network, Objective

torch.set_num_threads(1)  # the tensors are tiny, and more threads only wait for each other

DISTRIBUTIONS: tuple[Distribution, ...] = ("cauchy", "logistic", "logistic_phi", "optimal", "reciprocal")
NETWORKS: tuple[Network, ...] = ("odd_even", "bitonic")
OBJECTIVES: tuple[Objective, ...] = ("rows", "entries")


def softmax_losses() -> list[RankingLoss]:
    return [
        make(temperature=0.7, objective=objective) for make, objective in product((NeuralSort, SoftSort), OBJECTIVES)
    ]


def network_losses() -> list[RankingLoss]:
    return [
        SortingNetwork(network=network, distribution=distribution, steepness=3.0, objective=objective)
        for network, distribution, objective in product(NETWORKS, DISTRIBUTIONS, OBJECTIVES)
    ]


def name(loss: RankingLoss) -> str:
    options = [
        str(getattr(loss, option)) for option in ("network", "distribution", "objective") if hasattr(loss, option)
    ]
    return "-".join([loss.id.removeprefix("sorting/"), *options])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    families = {
        "loss": softmax_losses() + network_losses(),
        "operator": [loss for loss in softmax_losses() + network_losses() if loss.objective == "rows"],
        "network_loss": [loss for loss in network_losses() if loss.objective == "rows"],
        "curved": [loss for loss in softmax_losses() if loss.objective == "rows"],
    }
    for fixture, losses in families.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, losses, ids=name)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)
