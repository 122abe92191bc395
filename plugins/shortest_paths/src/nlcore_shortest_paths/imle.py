"""Implicit maximum likelihood estimation of shortest paths."""

from __future__ import annotations

from nlcore_decisions.imle import IMLEEstimate
from nlcore_shortest_paths._base import PerturbedLoss
from nlcore_shortest_paths.config import IMLEConfig, Noise

__all__ = ["IMLE"]


class IMLE(IMLEEstimate, PerturbedLoss, id="shortest_paths/imle-v1", config=IMLEConfig):
    r"""Implicit maximum likelihood estimation: the mean number of differing cells of perturbed shortest paths.

    With $v = 1 - 2t$ and noise ε, value and gradient are

    $$
    \ell(c, t) = \mathbb{E} \sum_v |y^*_v(c - \sigma \varepsilon) - t_v|, \qquad
    \nabla = \frac{\mathbb{E} [y^*(c + \lambda v - \sigma \varepsilon) - y^*(c - \sigma \varepsilon)]}{\lambda}:
    $$

    the change of the mean path when λv, which makes paths of larger loss dearer, is added to the costs. The division by
    λ keeps the gradient from growing with λ. The sum of the noise ε over a path of `length` cells is Gumbel
    ("sum_of_gamma"), or the noise of each cell is ("gumbel").

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the mean number of cells in which a perturbed path and the true path differ.

    Cost:
        Two times `num_samples` exact solves per map.

    When it fails:
        λ has the limits that `BlackBox` describes. The estimate is biased for every λ, towards the difference to the
        target. Changed costs below `min_cost` are set to it.

    Reference:
        Niepert, Minervini, Franceschi, [Implicit MLE: Backpropagating Through Discrete Exponential Family
        Distributions](https://arxiv.org/abs/2106.01798), NeurIPS 2021.
    """

    num_samples: int = 1
    interpolation: float = 10.0
    noise: Noise = "sum_of_gamma"
    length: int = 12
