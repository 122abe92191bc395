"""Learning-to-rank losses and their metrics; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_ranking._base import ListLoss as ListLoss
    from nlcore_ranking.approx_ndcg import ApproxNDCG as ApproxNDCG
    from nlcore_ranking.config import ApproxNDCGConfig as ApproxNDCGConfig
    from nlcore_ranking.config import LambdaLossConfig as LambdaLossConfig
    from nlcore_ranking.config import ListMLEConfig as ListMLEConfig
    from nlcore_ranking.config import ListNetConfig as ListNetConfig
    from nlcore_ranking.config import NeuralNDCGConfig as NeuralNDCGConfig
    from nlcore_ranking.config import PiRankConfig as PiRankConfig
    from nlcore_ranking.config import RankNetConfig as RankNetConfig
    from nlcore_ranking.config import SpearmanConfig as SpearmanConfig
    from nlcore_ranking.config import TopKClassificationConfig as TopKClassificationConfig
    from nlcore_ranking.lambda_loss import LambdaLoss as LambdaLoss
    from nlcore_ranking.listmle import ListMLE as ListMLE
    from nlcore_ranking.listnet import ListNet as ListNet
    from nlcore_ranking.metrics import ndcg as ndcg
    from nlcore_ranking.metrics import pair_accuracy as pair_accuracy
    from nlcore_ranking.neural_ndcg import NeuralNDCG as NeuralNDCG
    from nlcore_ranking.pirank import PiRank as PiRank
    from nlcore_ranking.ranknet import RankNet as RankNet
    from nlcore_ranking.spearman import Spearman as Spearman
    from nlcore_ranking.topk_classification import TopKClassification as TopKClassification

_HOMES = {
    "_base": ["ListLoss"],
    "approx_ndcg": ["ApproxNDCG"],
    "config": [
        "ApproxNDCGConfig",
        "LambdaLossConfig",
        "ListMLEConfig",
        "ListNetConfig",
        "NeuralNDCGConfig",
        "PiRankConfig",
        "RankNetConfig",
        "SpearmanConfig",
        "TopKClassificationConfig",
    ],
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

__all__ = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
