"""Learning-to-rank losses and their metrics; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_ranking._base import ListLoss
    from nlcore_ranking.approx_ndcg import ApproxNDCG
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
    from nlcore_ranking.lambda_loss import LambdaLoss
    from nlcore_ranking.listmle import ListMLE
    from nlcore_ranking.listnet import ListNet
    from nlcore_ranking.metrics import ndcg, pair_accuracy
    from nlcore_ranking.neural_ndcg import NeuralNDCG
    from nlcore_ranking.pirank import PiRank
    from nlcore_ranking.ranknet import RankNet
    from nlcore_ranking.spearman import Spearman
    from nlcore_ranking.topk_classification import TopKClassification

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
    "approx_ndcg": ["ApproxNDCG"],
    "config": [name for name in __all__ if name.endswith("Config")],
    "lambda_loss": ["LambdaLoss"],
    "listmle": ["ListMLE"],
    "listnet": ["ListNet"],
    "metrics": ["ndcg", "pair_accuracy"],
    "neural_ndcg": ["NeuralNDCG"],
    "pirank": ["PiRank"],
    "ranknet": ["RankNet"],
    "spearman": ["Spearman"],
    "topk_classification": ["TopKClassification"],
}
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
