"""Maximum-entropy walks: the likelihood of the true path among all walks, with every derivative in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nlcore.errors import NumericalError, shorten
from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_shortest_paths._base import EstimatedPathLoss
from nlcore_shortest_paths.config import MaxEntropyConfig
from nlcore_shortest_paths.solvers.grid import Grid

__all__ = ["MaxEntropy"]


class MaxEntropy(
    EstimatedPathLoss,
    id="shortest_paths/max_entropy-v1",
    config=MaxEntropyConfig,
    traits=Traits(event_ndim=2, psd_hessian=True, transforms="autograd"),
):
    r"""Negative log-likelihood of the true path among all walks from source to goal.

    A walk has a probability proportional to exp(−β · its cost), so

    $$
    \ell(c, t) = \beta \langle c, t \rangle + \log Z, \qquad Z = \sum_{\text{walks}} e^{-\beta \cdot \text{cost}},
    $$

    where the sum is over all walks from source to goal, which may visit a cell repeatedly. Let W be the diagonal matrix
    of $e^{-\beta c}$, A the adjacency matrix of the cells, s the source and g the goal. Then $Z = F_{sg}$ with
    $F = (W^{-1} - A)^{-1}$. The expected numbers of visits $N_v$ to the cells v, and the gradient, are

    $$
    N_v = \frac{F_{sv} F_{vg}}{W_v Z}, \qquad \nabla = \beta (t - N),
    $$

    and the Hessian is β² times the covariance of the visits: the loss is convex.

    Shape:
        - prediction: `[batch, H, W]`, the cost of every cell, positive and large enough for Z to be finite.
        - target: `[batch, H, W]`, the true path, 1 on it and 0 elsewhere.
        - value: minus the logarithm of the probability of the true path, in nats.

    Cost:
        One Cholesky factorisation of an H·W × H·W matrix per map, in float64: for maps of up to about 1 000 cells.

    When it fails:
        Z is infinite if the number of walks grows with their length faster than their weight falls. With 8 neighbours,
        β · cost ≥ log 8 ≈ 2.08 in every cell prevents this (4 neighbours: log 4 ≈ 1.39); smaller costs raise an error
        where Z diverges. β times the cost of the best path has to stay below about 700, the range of exponents in
        float64.

    Reference:
        Ziebart, Maas, Bagnell, Dey, [Maximum Entropy Inverse Reinforcement
        Learning](https://cdn.aaai.org/AAAI/2008/AAAI08-227.pdf), AAAI 2008.

    Example:
        >>> import torch
        >>> loss = MaxEntropy(beta=1.0, neighbours=4)
        >>> costs = torch.full((1, 2, 2), 2.0)
        >>> path = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
        >>> bool(loss(costs, path) > 0.6931)  # two equal paths and longer walks
        True
    """

    beta: float = 5.0

    def visits(self, costs: Tensor) -> Tensor:
        """Return the expected number of visits of a walk to each cell.

        Args:
            costs: [..., H, W], positive.

        Returns:
            [..., H, W], the dtype and device of `costs`; not differentiable.

        Raises:
            ContractError: The costs are not a floating-point tensor of maps, or not positive.
            NonFiniteError: A cost is NaN or infinite.
            NumericalError: The number of walks grows faster than their weight falls, or the best one underflows.
        """
        flat = self._checked_costs(costs.detach()).reshape(-1, *costs.shape[-2:])
        return self._solve(flat)[1].reshape(costs.shape).to(costs.dtype)

    def hessian(self, prediction: Tensor, target: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Return β² times the covariance of the visits of each map, [batch, H·W, H·W]; arguments as of the call."""
        costs, _ = self._checked_maps(prediction, target)
        with torch.no_grad():
            factor, _ = self._factor(costs.detach())
            graph = self._grid(costs)
            s, g = _index(graph)
            inverse = torch.cholesky_inverse(factor)  # F without its scale W^½ on either side
            n = inverse[:, s] * inverse[:, :, g] / inverse[:, s, g, None]
            through = inverse[:, s, :, None] * inverse * inverse[:, None, :, g]
            both = (through + through.mT) / inverse[:, s, g, None, None]
            covariance = both - torch.diag_embed(n) - n[:, :, None] * n[:, None, :]
            return (covariance * self.beta**2).to(prediction.dtype)

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Tensor]:
        """Return random costs of 4×5 maps for which Z is finite, and the path of other costs."""
        costs, target = super().example(batch_size, generator=generator, dtype=dtype, device=device)
        return costs * (10 / self.beta), target

    def _gradient(self, costs: Tensor, truth: Truth, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        target = truth.the_solution
        log_z, visits = self._solve(costs)
        value = self.beta * (costs.double() * target).sum(dim=(1, 2)) + log_z
        return value.to(costs.dtype), (self.beta * (target - visits)).to(costs.dtype)

    def _solve(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """Return log Z, [N], and the expected visits, [N, H, W], in float64."""
        factor, root = self._factor(costs)
        s, g = _index(self._grid(costs))
        ends = factor.new_zeros(costs.shape[0], factor.shape[-1], 2)
        ends[:, s, 0] = 1
        ends[:, g, 1] = 1
        from_source, to_goal = torch.cholesky_solve(ends, factor).unbind(-1)
        z = to_goal[:, s]
        lost = (z <= 0).nonzero()[:, 0].tolist()
        if lost:
            raise NumericalError(
                f"{self.id}: the best walk of samples {shorten(lost)} is less likely than float64 resolves. "
                f"Lower beta, now {self.beta}, or scale the costs down."
            )
        visits = from_source * to_goal / z[:, None]
        return z.log() + root[:, s].log() + root[:, g].log(), visits.reshape(costs.shape)

    def _factor(self, costs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the Cholesky factor of I − W^½ A W^½ and the diagonal of W^½, both in float64."""
        root = (costs.double().flatten(1) * (-self.beta / 2)).exp()
        near = _adjacency(self._grid(costs), root)
        matrix = (
            torch.eye(root.shape[1], dtype=root.dtype, device=root.device) - root[:, :, None] * near * root[:, None]
        )
        factor, info = torch.linalg.cholesky_ex(matrix)
        wrong = (info != 0).nonzero()[:, 0].tolist()
        if wrong:
            least, safe = float(costs[wrong[0]].min()), math.log(self.neighbours) / self.beta
            raise NumericalError(
                f"{self.id}: all walks of samples {shorten(wrong)} have no finite weight, Z diverges; the least cost "
                f"of sample {wrong[0]} is {least:.4g}. Costs of at least {safe:.4g} are safe at beta={self.beta}: add "
                "a floor to the network's output, or raise beta."
            )
        return factor, root


def _index(graph: Grid) -> tuple[int, int]:
    """Return the indices of source and goal in the flattened map."""
    (a, b), (c, d) = graph.source, graph.goal
    return a * graph.width + b, c * graph.width + d


def _adjacency(graph: Grid, like: Tensor) -> Tensor:
    """Return the 0/1 matrix of neighbours, [H·W, H·W]."""
    row = torch.arange(graph.height, device=like.device).repeat_interleave(graph.width)
    column = torch.arange(graph.width, device=like.device).repeat(graph.height)
    i, j = (row[:, None] - row).abs(), (column[:, None] - column).abs()
    near = torch.maximum(i, j) if graph.neighbours == 8 else i + j
    return (near == 1).to(like.dtype)
