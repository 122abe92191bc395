"""SPO+: smart predict, then optimise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from nlcore.inputs import check_inputs, working
from nlcore.protocol import Traits
from nlcore_decisions._base import Truth
from nlcore_decisions.spo_plus import SPOPlusEstimate
from nlcore_shortest_paths._base import SolvedLoss
from nlcore_shortest_paths._costs import check_positive
from nlcore_shortest_paths.config import SPOPlusConfig

__all__ = ["SPOPlus"]


class SPOPlus(
    SPOPlusEstimate,
    SolvedLoss,
    id="shortest_paths/spo_plus-v1",
    config=SPOPlusConfig,
    traits=Traits(event_ndim=2, order=1, transforms="autograd"),
):
    r"""SPO+, a convex upper bound on the regret of the predicted path.

    Let $c$ be the true costs, $\hat c$ the predicted costs, and $y^*(c)$ a path of least cost under $c$. The *regret*
    is the true cost of the path that the prediction selects minus that of the best path:
    $\langle c, y^*(\hat c) \rangle - \langle c, y^*(c) \rangle$. With the maximum over all paths $y$, loss and
    subgradient are

    $$
    \ell(\hat c, c) = \max_y \langle c - 2 \hat c, y \rangle + 2 \langle \hat c, y^*(c) \rangle
    - \langle c, y^*(c) \rangle,
    \qquad \nabla = 2 (y^*(c) - y^*(2 \hat c - c)).
    $$

    Shape:
        - prediction: `[batch, H, W]`, the predicted cost of every cell, positive.
        - target: `[batch, H, W]`, **the true costs**, not the path; positive, the dtype of the prediction.
        - value: an upper bound on the regret, in units of the costs; 0 where the prediction equals the true costs.

    Cost:
        Two exact solves per map.

    When it fails:
        The solver requires positive costs, but 2ĉ − c is negative in a cell whose predicted cost is less than half the
        true one. Entries below `min_cost` are set to `min_cost`. The loss is then neither convex nor an upper bound on
        the regret, and training can become unstable: start from predictions that are too large rather than too small.

    Reference:
        Elmachtoub, Grigas, [Smart “Predict, then Optimize”](https://doi.org/10.1287/mnsc.2020.3922), Management
        Science, 2022.

    Example:
        >>> import torch
        >>> true = torch.tensor([[[1.0, 5.0], [1.0, 1.0]]])
        >>> loss = SPOPlus(neighbours=4)
        >>> loss(true, true)  # the regret is 0
        tensor([0.])
    """

    def _truth(self, costs: Tensor) -> Tensor:
        return costs

    def _check_target(self, costs: Tensor, target: Tensor) -> None:
        maps = "[batch, H, W] floating"
        check_inputs(self.id, prediction=(costs, maps), target=(target, "[batch, H, W] same"))
        check_positive(self.id, working(target), what="true costs")

    def _checked(self, prediction: Tensor, target: Tensor, context: Any = None) -> tuple[Tensor, Truth]:
        costs, true = self._checked_maps(prediction, target)
        return costs, Truth(costs=true)
