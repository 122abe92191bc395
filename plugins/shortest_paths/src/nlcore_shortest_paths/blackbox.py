"""Black-box differentiation of the shortest path by a linear interpolation."""

from __future__ import annotations

from nlcore_decisions.blackbox import BlackBoxEstimate
from nlcore_shortest_paths._base import SolvedLoss
from nlcore_shortest_paths.config import BlackBoxConfig

__all__ = ["BlackBox"]


class BlackBox(BlackBoxEstimate, SolvedLoss, id="shortest_paths/blackbox-v1", config=BlackBoxConfig):
    r"""Differentiation of a black-box solver: the number of differing cells, with the gradient of an interpolation.

    With the shortest path $y^*(c)$ and $v = 1 - 2t$, the slope of the loss at it, value and gradient are

    $$
    \ell(c, t) = \sum_v |y^*_v(c) - t_v|, \qquad \nabla = \frac{y^*(c + \lambda v) - y^*(c)}{\lambda}:
    $$

    the gradient of a piecewise linear function of the costs, which agrees with the loss wherever adding λv to the costs
    does not change the path.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: the number of cells in which path and true path differ.

    Cost:
        Two exact solves per map.

    When it fails:
        λ has to fit the scale of the costs; with a small one the gradient is mostly 0, with a large one it is only the
        difference to the target. Changed costs below `min_cost` are set to it. The gradient summed over all costs is
        the difference of two path lengths, so the scale of the costs drifts: behind an activation that saturates, such
        as softplus, they can sink to where its slope vanishes. Use |output| plus a floor, as the paper does.

    Reference:
        Vlastelica, Paulus, Musil, Martius, Rolínek, [Differentiation of Blackbox Combinatorial
        Solvers](https://arxiv.org/abs/1912.02175), ICLR 2020.
    """

    interpolation: float = 20.0
