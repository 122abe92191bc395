"""Learning-to-rank losses and their metrics; importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

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
    "_base": ["ListLoss"],
    "approx": ["ApproxNDCG"],
    "config": [name for name in __all__ if name.endswith("Config")],
    "listwise": ["ListMLE", "ListNet"],
    "metrics": ["ndcg", "pair_accuracy"],
    "pairwise": ["LambdaLoss", "RankNet"],
    "sorted_gains": ["NeuralNDCG", "PiRank"],
    "spearman": ["Spearman"],
    "topk": ["TopKClassification"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
