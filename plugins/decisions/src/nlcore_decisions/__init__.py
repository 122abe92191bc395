"""Losses over any batched argmin of a linear objective, and exact solvers; importing this package imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nlcore.plugin import lazy_exports

if TYPE_CHECKING:
    from nlcore_decisions.adaptive_imle import AdaptiveIMLE as AdaptiveIMLE
    from nlcore_decisions.blackbox import BlackBox as BlackBox
    from nlcore_decisions.central_difference import CentralDifference as CentralDifference
    from nlcore_decisions.errors import InfeasibleError as InfeasibleError
    from nlcore_decisions.evaluation import normalised_regret as normalised_regret
    from nlcore_decisions.evaluation import regret as regret
    from nlcore_decisions.frank_wolfe import regularized_argmin as regularized_argmin
    from nlcore_decisions.imle import IMLE as IMLE
    from nlcore_decisions.listwise_ranking import ListwiseRanking as ListwiseRanking
    from nlcore_decisions.maximum_a_posteriori import MaximumAPosteriori as MaximumAPosteriori
    from nlcore_decisions.negative_identity import NegativeIdentity as NegativeIdentity
    from nlcore_decisions.noise_contrastive import NoiseContrastive as NoiseContrastive
    from nlcore_decisions.pairwise_ranking import PairwiseRanking as PairwiseRanking
    from nlcore_decisions.perturbed_fenchel_young import PerturbedFenchelYoung as PerturbedFenchelYoung
    from nlcore_decisions.pointwise_ranking import PointwiseRanking as PointwiseRanking
    from nlcore_decisions.problems.assignment import AssignmentLoss as AssignmentLoss
    from nlcore_decisions.problems.dag_path import DagPathLoss as DagPathLoss
    from nlcore_decisions.problems.graph_path import GraphPathLoss as GraphPathLoss
    from nlcore_decisions.problems.grid_edges import GridEdgesLoss as GridEdgesLoss
    from nlcore_decisions.problems.knapsack import KnapsackLoss as KnapsackLoss
    from nlcore_decisions.problems.linear_program import LinearProgramLoss as LinearProgramLoss
    from nlcore_decisions.problems.spanning_tree import SpanningTreeLoss as SpanningTreeLoss
    from nlcore_decisions.problems.top_k import TopKLoss as TopKLoss
    from nlcore_decisions.regularized_fenchel_young import RegularizedFenchelYoung as RegularizedFenchelYoung
    from nlcore_decisions.solution_pool import SolutionPool as SolutionPool
    from nlcore_decisions.solvers.assignment import Assignment as Assignment
    from nlcore_decisions.solvers.base import Solution as Solution
    from nlcore_decisions.solvers.base import Solver as Solver
    from nlcore_decisions.solvers.dag_path import DagPath as DagPath
    from nlcore_decisions.solvers.graph_path import GraphPath as GraphPath
    from nlcore_decisions.solvers.grid_edges import GridEdges as GridEdges
    from nlcore_decisions.solvers.instances import Instances as Instances
    from nlcore_decisions.solvers.knapsack import Knapsack as Knapsack
    from nlcore_decisions.solvers.linear_program import LinearProgram as LinearProgram
    from nlcore_decisions.solvers.spanning_tree import SpanningTree as SpanningTree
    from nlcore_decisions.solvers.top_k import TopK as TopK
    from nlcore_decisions.solvers.vertices import Vertices as Vertices
    from nlcore_decisions.spo_plus import SPOPlus as SPOPlus

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

__all__ = [name for names in _HOMES.values() for name in names]
__getattr__, __dir__ = lazy_exports(__name__, _HOMES)
