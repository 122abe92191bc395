"""The losses that the tests run over, and lists to run them on."""

from __future__ import annotations

from typing import TypeAlias

import pytest
import torch
from torch import Tensor

from nlcore_ranking import (
    ApproxNDCG,
    LambdaLoss,
    ListLoss,
    ListMLE,
    ListNet,
    NeuralNDCG,
    PiRank,
    RankNet,
    Spearman,
    TopKClassification,
)

torch.set_num_threads(1)  # the tensors are tiny, and more threads only wait for each other

Lists: TypeAlias = tuple[Tensor, Tensor]

CURVED: list[ListLoss] = [
    RankNet(),
    RankNet(sigma=2.0, normalize=False),
    ListNet(),
    ListNet(temperature=0.5),
    ListMLE(),
    ListMLE(ties="index", normalize=False),
    *(LambdaLoss(weighting=w, k=k) for w in ("lambdarank", "ndcg2", "ndcg2++") for k in (None, 2)),  # type: ignore[arg-type]
    LambdaLoss(gain="linear", sigma=0.5, mu=3.0),
]
SMOOTH: list[ListLoss] = [
    ApproxNDCG(alpha=2.0),
    ApproxNDCG(gain="linear"),
    NeuralNDCG(),
    NeuralNDCG(temperature=0.5, k=2, scaling=0, gain="linear"),
    PiRank(),
    PiRank(temperature=0.5, k=2, block=4),
    Spearman(),
    Spearman(relaxation="softsort", temperature=0.7),
    Spearman(relaxation="diffsort"),
    Spearman(relaxation="fast_soft_sort", temperature=0.7),
    Spearman(relaxation="lapsum", temperature=0.5),
]
TOPK: list[ListLoss] = [
    TopKClassification(),
    TopKClassification(p_k=(0.2, 0.5, 0.3), top1="sort", temperature=0.6),
    TopKClassification(p_k=(0.5, 0.5), relaxation="softsort", candidates=4),
    TopKClassification(p_k=(0.0, 1.0), relaxation="diffsort"),
]


def draw(loss: ListLoss, batch: int, n: int, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Lists:
    """Return scores without ties, and relevance with some, or classes."""
    generator = torch.Generator().manual_seed(97 * n + seed)
    scores = torch.randn(batch, n, generator=generator, dtype=torch.float64).to(dtype)
    if isinstance(loss, TopKClassification):
        return scores, torch.randint(n, (batch,), generator=generator)
    return scores, torch.randint(4, (batch, n), generator=generator).to(dtype)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    families = {
        "loss": [*CURVED, *SMOOTH, *TOPK],
        "graded": [*CURVED, *SMOOTH],
        "curved": CURVED,
        "bumpy": [*SMOOTH, *TOPK],
    }
    for fixture, losses in families.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, losses, ids=repr)


@pytest.fixture(name="draw")
def _draw() -> object:
    return draw
