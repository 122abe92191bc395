"""The losses that the tests run over, and lists to run them on."""

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor

import nlcore
from nlcore_ranking import ListLoss

torch.set_num_threads(1)  # the tensors are tiny, and more threads only wait for each other

Lists: TypeAlias = tuple[Tensor, Tensor]

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "ranking/ranknet-v1": [{"sigma": 2.0, "normalize": False}],
    "ranking/listnet-v1": [{"temperature": 0.5}],
    "ranking/listmle-v1": [{"ties": "index", "normalize": False}],
    "ranking/lambda_loss-v1": [
        *({"weighting": w, "k": k} for w in ("lambdarank", "ndcg2", "ndcg2++") for k in (None, 2)),
        {"gain": "linear", "sigma": 0.5, "mu": 3.0},
    ],
    "ranking/approx_ndcg-v1": [{"alpha": 2.0}, {"gain": "linear"}],
    "ranking/neural_ndcg-v1": [{"temperature": 0.5, "k": 2, "scaling": 0, "gain": "linear"}],
    "ranking/pirank-v1": [{"temperature": 0.5, "k": 2, "block": 4}],
    "ranking/spearman-v1": [
        {"relaxation": "softsort", "temperature": 0.7},
        {"relaxation": "diffsort"},
        {"relaxation": "fast_soft_sort", "temperature": 0.7},
        {"relaxation": "lapsum", "temperature": 0.5},
    ],
    "ranking/topk_classification-v1": [
        {"p_k": (0.2, 0.5, 0.3), "top1": "sort", "temperature": 0.6},
        {"p_k": (0.5, 0.5), "relaxation": "softsort", "candidates": 4},
        {"p_k": (0.0, 1.0), "relaxation": "diffsort"},
    ],
}
"""Options that the tests run beside the defaults, which they run of every registered loss."""

LOSSES: list[ListLoss] = list(
    dict.fromkeys(nlcore.make(id, **o) for id in nlcore.names("ranking") for o in ({}, *VARIANTS.get(id, ())))
)


def takes_classes(loss: ListLoss) -> bool:
    target = loss.example(1, generator=torch.Generator(), dtype=torch.float64, device="cpu")[1]
    return target.ndim == 1


GRADED = [loss for loss in LOSSES if not takes_classes(loss)]
CURVED = [loss for loss in LOSSES if loss.traits.psd_hessian]


def draw(loss: ListLoss, batch: int, n: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Lists:
    """Return scores without ties, and relevance with some, or classes."""
    generator = torch.Generator().manual_seed(97 * n + seed)
    scores = torch.randn(batch, n, generator=generator, dtype=torch.float64).to(dtype)
    if takes_classes(loss):
        return scores, torch.randint(n, (batch,), generator=generator)
    return scores, torch.randint(4, (batch, n), generator=generator).to(dtype)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    families = {
        "loss": LOSSES,
        "graded": GRADED,
        "curved": CURVED,
        "bumpy": [loss for loss in LOSSES if loss not in CURVED],
    }
    for fixture, losses in families.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, losses, ids=repr)


@pytest.fixture(name="draw")
def _draw() -> object:
    return draw
