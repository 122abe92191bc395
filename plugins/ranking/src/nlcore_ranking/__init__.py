"""Learning-to-rank losses and their metrics; importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlcore_ranking._base import ListLoss
    from nlcore_ranking.approx import ApproxNDCG
    from nlcore_ranking.config import (
        ApproxNDCGConfig,
        LambdaLossConfig,
        ListMLEConfig,
        ListNetConfig,
        NeuralNDCGConfig,
        PiRankConfig,
        RankNetConfig,
        SpearmanConfig,
        TopKClassificationConfig,
    )
    from nlcore_ranking.listwise import ListMLE, ListNet
    from nlcore_ranking.metrics import ndcg, pair_accuracy
    from nlcore_ranking.pairwise import LambdaLoss, RankNet
    from nlcore_ranking.sorted_gains import NeuralNDCG, PiRank
    from nlcore_ranking.spearman import Spearman
    from nlcore_ranking.topk import TopKClassification

__all__ = [
    "ApproxNDCG",
    "ApproxNDCGConfig",
    "LambdaLoss",
    "LambdaLossConfig",
    "ListLoss",
    "ListMLE",
    "ListMLEConfig",
    "ListNet",
    "ListNetConfig",
    "NeuralNDCG",
    "NeuralNDCGConfig",
    "PiRank",
    "PiRankConfig",
    "RankNet",
    "RankNetConfig",
    "Spearman",
    "SpearmanConfig",
    "TopKClassification",
    "TopKClassificationConfig",
    "ndcg",
    "pair_accuracy",
]

_HOMES = {
    "ApproxNDCG": "approx",
    "LambdaLoss": "pairwise",
    "ListLoss": "_base",
    "ListMLE": "listwise",
    "ListNet": "listwise",
    "NeuralNDCG": "sorted_gains",
    "PiRank": "sorted_gains",
    "RankNet": "pairwise",
    "Spearman": "spearman",
    "TopKClassification": "topk",
    "ndcg": "metrics",
    "pair_accuracy": "metrics",
    **{name: "config" for name in __all__ if name.endswith("Config")},
}


def __getattr__(name: str) -> Any:
    """Import the module that holds a public name when the name is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names."""
    return sorted({*globals(), *__all__})
