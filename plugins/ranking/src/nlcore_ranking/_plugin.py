"""The algorithms that this distribution registers; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]

_LOSSES = (
    (
        "ranknet",
        "RankNet",
        "Logistic loss of every pair of items with different relevance",
        "Burges et al., Learning to Rank using Gradient Descent, ICML 2005",
    ),
    (
        "listnet",
        "ListNet",
        "Cross-entropy between the top-one distributions of relevance and scores",
        "Cao et al., Learning to Rank: From Pairwise Approach to Listwise Approach, ICML 2007",
    ),
    (
        "listmle",
        "ListMLE",
        "Negative log-likelihood of the true order under the Plackett–Luce model of the scores",
        "Xia et al., Listwise Approach to Learning to Rank: Theory and Algorithm, ICML 2008",
    ),
    (
        "lambda_loss",
        "LambdaLoss",
        "Pairwise logistic losses weighted by the change of NDCG in a swap: LambdaRank, NDCG-Loss2, NDCG-Loss2++",
        "Wang et al., The LambdaLoss Framework for Ranking Metric Optimization, CIKM 2018",
    ),
    (
        "approx_ndcg",
        "ApproxNDCG",
        "NDCG with every position replaced by a sum of sigmoids",
        "Qin et al., A General Approximation Framework for Direct Optimization of Information Retrieval Measures, "
        "Information Retrieval 2010",
    ),
    (
        "neural_ndcg",
        "NeuralNDCG",
        "NDCG of gains sorted by NeuralSort, its matrix scaled to be doubly stochastic",
        "Pobrotyn and Białobrzeski, NeuralNDCG: Direct Optimisation of a Ranking Metric via Differentiable Relaxation "
        "of Sorting, 2021",
    ),
    (
        "pirank",
        "PiRank",
        "NDCG of gains sorted by NeuralSort, long lists in blocks that are merged",
        "Swezey et al., PiRank: Scalable Learning To Rank via Differentiable Sorting, NeurIPS 2021",
    ),
    (
        "spearman",
        "Spearman",
        "One minus Spearman's rho between scores and target, by relaxed ranks",
        "Blondel et al., Fast Differentiable Sorting and Ranking, ICML 2020 (the loss); Spearman 1904 (rho)",
    ),
    (
        "topk_classification",
        "TopKClassification",
        "Cross-entropy of the true class being among the top k, k drawn from a distribution",
        "Petersen et al., Differentiable Top-k Classification Learning, ICML 2022",
    ),
)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `ranking`."""
    return tuple(
        AlgorithmSpec(
            id=f"ranking/{name}-v1",
            factory=f"nlcore_ranking.{name}:{attribute}",
            config=f"nlcore_ranking.config:{attribute}Config",
            summary=summary,
            reference=reference,
            since="0.1.0",
        )
        for name, attribute, summary, reference in _LOSSES
    )
