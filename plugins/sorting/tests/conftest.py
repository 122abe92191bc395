"""The losses that the tests run over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import product
from typing import Any, Literal, get_args, get_origin

import pytest
import torch

from nlcore.compiled import torch_alone
from nlcore_sorting import PermutationLoss, RankingLoss, SortingNetwork
from nlcore_sorting._plugin import nlcore_algorithms

torch.set_num_threads(1)  # the tensors are tiny, and more threads only wait for each other

SOFTNESS = {"temperature": (0.7,), "steepness": (3.0,), "regularization_strength": (1.5,), "iterations": (40,)}
SHARP = {"temperature": (0.01, 1.0), "steepness": (10.0, 1000.0), "regularization_strength": (0.01, 1.0)}


def every_loss(choices: dict[str, Sequence[Any]]) -> list[RankingLoss]:
    """Every registered algorithm, with every choice among words and the given values of numbers."""
    losses: list[RankingLoss] = []
    for spec in nlcore_algorithms():
        cls, config = (
            getattr(import_module(module), name)
            for module, name in (reference.split(":") for reference in (spec.factory, spec.config or ""))
        )
        fields = {name: field.annotation for name, field in config.model_fields.items()}
        values = {name: get_args(kind) for name, kind in fields.items() if get_origin(kind) is Literal}
        values |= {name: chosen for name, chosen in choices.items() if name in fields}
        losses += [cls(**dict(zip(values, options, strict=True))) for options in product(*values.values())]
    return losses


def name(loss: RankingLoss) -> str:
    options = [
        str(getattr(loss, option))
        for option in ("network", "distribution", "regularization", "objective")
        if hasattr(loss, option)
    ]
    return "-".join([loss.id.removeprefix("sorting/"), *options])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    losses = every_loss(SOFTNESS)
    operators = [loss for loss in losses if getattr(loss, "objective", "rows") == "rows"]
    families: dict[str, Sequence[RankingLoss]] = {
        "loss": losses,
        "matrix_loss": [loss for loss in losses if isinstance(loss, PermutationLoss)],
        "operator": operators,
        "matrix_operator": [loss for loss in operators if isinstance(loss, PermutationLoss)],
        "network_loss": [loss for loss in operators if isinstance(loss, SortingNetwork)],
        "curved": [loss for loss in losses if loss.traits.psd_hessian],
    }
    if "sharp" in metafunc.fixturenames:
        metafunc.parametrize("sharp", every_loss(SHARP), ids=repr)
    for fixture, members in families.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, members, ids=name)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(20)


@pytest.fixture
def alone() -> Iterator[None]:
    """Block numba."""
    with torch_alone():
        yield
