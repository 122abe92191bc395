"""The losses that the tests run over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

import pytest
import torch

from nlcore_sorting import (
    FastSoftSort,
    LapSum,
    NeuralSort,
    OptimalTransportSort,
    PermutationLoss,
    RankingLoss,
    SoftSort,
    SortingNetwork,
)
from nlcore_sorting.config import Distribution, Network, Objective

torch.set_num_threads(1)  # the tensors are tiny, and more threads only wait for each other

DISTRIBUTIONS: tuple[Distribution, ...] = ("cauchy", "gaussian", "logistic", "logistic_phi", "optimal", "reciprocal")
NETWORKS: tuple[Network, ...] = ("odd_even", "bitonic")
OBJECTIVES: tuple[Objective, ...] = ("rows", "entries")


def softmax_losses() -> list[PermutationLoss]:
    return [
        make(temperature=0.7, objective=objective) for make, objective in product((NeuralSort, SoftSort), OBJECTIVES)
    ]


def network_losses() -> list[PermutationLoss]:
    return [
        SortingNetwork(network=network, distribution=distribution, steepness=3.0, objective=objective)
        for network, distribution, objective in product(NETWORKS, DISTRIBUTIONS, OBJECTIVES)
    ]


def matrix_losses() -> list[PermutationLoss]:
    return (
        softmax_losses()
        + network_losses()
        + [LapSum(temperature=0.7, objective=objective) for objective in OBJECTIVES]
        + [
            OptimalTransportSort(regularization_strength=1.5, iterations=40, objective=objective)
            for objective in OBJECTIVES
        ]
    )


def projection_losses() -> list[FastSoftSort]:
    return [FastSoftSort(regularization=regularization) for regularization in ("l2", "kl")]


def name(loss: RankingLoss) -> str:
    options = [
        str(getattr(loss, option))
        for option in ("network", "distribution", "regularization", "objective")
        if hasattr(loss, option)
    ]
    return "-".join([loss.id.removeprefix("sorting/"), *options])


def by_rows(losses: Iterable[PermutationLoss]) -> list[PermutationLoss]:
    """One loss for each relaxation."""
    return [loss for loss in losses if loss.objective == "rows"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    families: dict[str, Sequence[RankingLoss]] = {
        "loss": [*matrix_losses(), *projection_losses()],
        "matrix_loss": matrix_losses(),
        "operator": [*by_rows(matrix_losses()), *projection_losses()],
        "matrix_operator": by_rows(matrix_losses()),
        "network_loss": by_rows(network_losses()),
        "curved": by_rows(softmax_losses()),
    }
    for fixture, losses in families.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, losses, ids=name)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)
