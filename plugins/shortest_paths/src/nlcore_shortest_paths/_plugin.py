"""The algorithms that this distribution registers; does not import torch."""

from __future__ import annotations

from collections.abc import Iterable

from nlcore.plugin import AlgorithmSpec, hookimpl

__all__ = ["nlcore_algorithms"]


_ALGORITHMS = (
    AlgorithmSpec(
        id="shortest_paths/bellman_ford-v1",
        factory="nlcore_shortest_paths.bellman_ford:BellmanFord",
        config="nlcore_shortest_paths.config:BellmanFordConfig",
        summary="Relaxed Bellman–Ford with a relaxed traceback, L1 or squared L2 distance to the true path",
        reference="Petersen et al., Learning with Algorithmic Supervision via Continuous Relaxations, NeurIPS 2021",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/smoothed_loss-v1",
        factory="nlcore_shortest_paths.smoothed_loss:SmoothedLoss",
        config="nlcore_shortest_paths.config:SmoothedLossConfig",
        summary="Number of cells in which path and true path differ; gradient from noisy costs, by the score function",
        reference="Petersen et al., Newton Losses, NeurIPS 2024",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/smoothed_algorithm-v1",
        factory="nlcore_shortest_paths.smoothed_algorithm:SmoothedAlgorithm",
        config="nlcore_shortest_paths.config:SmoothedAlgorithmConfig",
        summary="Squared distance of the mean path of noisy costs to the true path; gradient by the score function",
        reference="Petersen et al., Newton Losses, NeurIPS 2024; Abernethy et al., 2016",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/perturbed_fenchel_young-v1",
        factory="nlcore_shortest_paths.perturbed_fenchel_young:PerturbedFenchelYoung",
        config="nlcore_shortest_paths.config:PerturbedFenchelYoungConfig",
        summary="Cost of the true path minus the mean cost of the shortest path for costs with noise: convex",
        reference="Berthet et al., Learning with Differentiable Perturbed Optimizers, NeurIPS 2020",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/central_difference-v1",
        factory="nlcore_shortest_paths.central_difference:CentralDifference",
        config="nlcore_shortest_paths.config:CentralDifferenceConfig",
        summary="Squared distance of the mean path of noisy costs to the true path; gradient by a central difference",
        reference="this project; the symmetric Jacobian is that of Berthet et al., NeurIPS 2020",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/blackbox-v1",
        factory="nlcore_shortest_paths.blackbox:BlackBox",
        config="nlcore_shortest_paths.config:BlackBoxConfig",
        summary="Number of cells in which path and true path differ; gradient from the paths of two cost maps",
        reference="Vlastelica et al., Differentiation of Blackbox Combinatorial Solvers, ICLR 2020",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/imle-v1",
        factory="nlcore_shortest_paths.imle:IMLE",
        config="nlcore_shortest_paths.config:IMLEConfig",
        summary="Number of cells in which path and true path differ; gradient from the paths of two noisy cost maps",
        reference="Niepert et al., Implicit MLE, NeurIPS 2021",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/spo_plus-v1",
        factory="nlcore_shortest_paths.spo_plus:SPOPlus",
        config="nlcore_shortest_paths.config:SPOPlusConfig",
        summary="Convex surrogate of the regret; the target is the true costs",
        reference="Elmachtoub and Grigas, Smart Predict, then Optimize, Management Science 2022",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/negative_identity-v1",
        factory="nlcore_shortest_paths.negative_identity:NegativeIdentity",
        config="nlcore_shortest_paths.config:NegativeIdentityConfig",
        summary="Number of cells in which path and true path differ; in the backward pass, −1 replaces the solver",
        reference="Sahoo et al., Backpropagation through Combinatorial Algorithms, ICLR 2023",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/max_entropy-v1",
        factory="nlcore_shortest_paths.max_entropy:MaxEntropy",
        config="nlcore_shortest_paths.config:MaxEntropyConfig",
        summary="Negative log-likelihood of the true path among all walks: convex, in closed form",
        reference="Ziebart et al., Maximum Entropy Inverse Reinforcement Learning, AAAI 2008",
        since="0.1.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/graph_bellman_ford-v1",
        factory="nlcore_shortest_paths.graph_bellman_ford:GraphBellmanFord",
        config="nlcore_shortest_paths.config:GraphBellmanFordConfig",
        summary="Relaxed Bellman–Ford on a graph with costs on edges",
        reference="Petersen et al., Learning with Algorithmic Supervision via Continuous Relaxations, NeurIPS 2021",
        since="0.2.0",
    ),
    AlgorithmSpec(
        id="shortest_paths/graph_max_entropy-v1",
        factory="nlcore_shortest_paths.graph_max_entropy:GraphMaxEntropy",
        config="nlcore_shortest_paths.config:GraphMaxEntropyConfig",
        summary="Negative log-likelihood of the true path among all walks on a graph with costs on edges: convex",
        reference="Ziebart et al., Maximum Entropy Inverse Reinforcement Learning, AAAI 2008",
        since="0.2.0",
    ),
)


@hookimpl
def nlcore_algorithms() -> Iterable[AlgorithmSpec]:
    """Return the losses of the namespace `shortest_paths`."""
    return _ALGORITHMS
