"""Losses over any batched argmin of a linear objective, and exact solvers; importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_decisions.adaptive_imle import AdaptiveIMLE
    from nlcore_decisions.blackbox import BlackBox
    from nlcore_decisions.central_difference import CentralDifference
    from nlcore_decisions.errors import InfeasibleError
    from nlcore_decisions.evaluation import normalised_regret, regret
    from nlcore_decisions.frank_wolfe import regularized_argmin
    from nlcore_decisions.imle import IMLE
    from nlcore_decisions.listwise_ranking import ListwiseRanking
    from nlcore_decisions.maximum_a_posteriori import MaximumAPosteriori
    from nlcore_decisions.negative_identity import NegativeIdentity
    from nlcore_decisions.noise_contrastive import NoiseContrastive
    from nlcore_decisions.pairwise_ranking import PairwiseRanking
    from nlcore_decisions.perturbed_fenchel_young import PerturbedFenchelYoung
    from nlcore_decisions.pointwise_ranking import PointwiseRanking
    from nlcore_decisions.problems.assignment import AssignmentLoss
    from nlcore_decisions.problems.dag_path import DagPathLoss
    from nlcore_decisions.problems.graph_path import GraphPathLoss
    from nlcore_decisions.problems.grid_edges import GridEdgesLoss
    from nlcore_decisions.problems.knapsack import KnapsackLoss
    from nlcore_decisions.problems.linear_program import LinearProgramLoss
    from nlcore_decisions.problems.spanning_tree import SpanningTreeLoss
    from nlcore_decisions.problems.top_k import TopKLoss
    from nlcore_decisions.regularized_fenchel_young import RegularizedFenchelYoung
    from nlcore_decisions.solution_pool import SolutionPool
    from nlcore_decisions.solvers.assignment import Assignment
    from nlcore_decisions.solvers.base import Solution, Solver
    from nlcore_decisions.solvers.dag_path import DagPath
    from nlcore_decisions.solvers.graph_path import GraphPath
    from nlcore_decisions.solvers.grid_edges import GridEdges
    from nlcore_decisions.solvers.instances import Instances
    from nlcore_decisions.solvers.knapsack import Knapsack
    from nlcore_decisions.solvers.linear_program import LinearProgram
    from nlcore_decisions.solvers.spanning_tree import SpanningTree
    from nlcore_decisions.solvers.top_k import TopK
    from nlcore_decisions.solvers.vertices import Vertices
    from nlcore_decisions.spo_plus import SPOPlus

_HOMES = {
    "adaptive_imle": ["AdaptiveIMLE"],
    "blackbox": ["BlackBox"],
    "central_difference": ["CentralDifference"],
    "errors": ["InfeasibleError"],
    "frank_wolfe": ["regularized_argmin"],
    "imle": ["IMLE"],
    "listwise_ranking": ["ListwiseRanking"],
    "maximum_a_posteriori": ["MaximumAPosteriori"],
    "negative_identity": ["NegativeIdentity"],
    "noise_contrastive": ["NoiseContrastive"],
    "pairwise_ranking": ["PairwiseRanking"],
    "perturbed_fenchel_young": ["PerturbedFenchelYoung"],
    "pointwise_ranking": ["PointwiseRanking"],
    "problems.assignment": ["AssignmentLoss"],
    "problems.dag_path": ["DagPathLoss"],
    "problems.graph_path": ["GraphPathLoss"],
    "problems.grid_edges": ["GridEdgesLoss"],
    "problems.knapsack": ["KnapsackLoss"],
    "problems.linear_program": ["LinearProgramLoss"],
    "problems.spanning_tree": ["SpanningTreeLoss"],
    "problems.top_k": ["TopKLoss"],
    "evaluation": ["normalised_regret", "regret"],
    "regularized_fenchel_young": ["RegularizedFenchelYoung"],
    "solution_pool": ["SolutionPool"],
    "solvers.assignment": ["Assignment"],
    "solvers.base": ["Solution", "Solver"],
    "solvers.dag_path": ["DagPath"],
    "solvers.graph_path": ["GraphPath"],
    "solvers.grid_edges": ["GridEdges"],
    "solvers.instances": ["Instances"],
    "solvers.knapsack": ["Knapsack"],
    "solvers.linear_program": ["LinearProgram"],
    "solvers.spanning_tree": ["SpanningTree"],
    "solvers.top_k": ["TopK"],
    "solvers.vertices": ["Vertices"],
    "spo_plus": ["SPOPlus"],
}

__all__ = [
    "IMLE",
    "AdaptiveIMLE",
    "Assignment",
    "AssignmentLoss",
    "BlackBox",
    "CentralDifference",
    "DagPath",
    "DagPathLoss",
    "GraphPath",
    "GraphPathLoss",
    "GridEdges",
    "GridEdgesLoss",
    "InfeasibleError",
    "Instances",
    "Knapsack",
    "KnapsackLoss",
    "LinearProgram",
    "LinearProgramLoss",
    "ListwiseRanking",
    "MaximumAPosteriori",
    "NegativeIdentity",
    "NoiseContrastive",
    "PairwiseRanking",
    "PerturbedFenchelYoung",
    "PointwiseRanking",
    "RegularizedFenchelYoung",
    "SPOPlus",
    "Solution",
    "SolutionPool",
    "Solver",
    "SpanningTree",
    "SpanningTreeLoss",
    "TopK",
    "TopKLoss",
    "Vertices",
    "normalised_regret",
    "regret",
    "regularized_argmin",
]

__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
