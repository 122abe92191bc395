"""The Hessian of a sorting network's loss where numba is installed: compiled, or by automatic differentiation."""

from __future__ import annotations

import torch
from torch import Tensor

from nlcore_sorting._network_kernel import network_hessians
from nlcore_sorting._networks import SortingNetwork
from nlcore_sorting._served import serves

__all__ = ["CurvedNetwork"]


class CurvedNetwork(SortingNetwork):
    """A sorting network that supplies its Hessian.

    Capabilities are told from the methods that an object has. Without numba there is none to supply, and the engine
    differentiates, piece by piece if need be.
    """

    def hessian(
        self,
        prediction: Tensor,
        target: Tensor,
        *,
        generator: torch.Generator | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Return the Hessian of every list's loss.

        Args:
            prediction: [batch, n].
            target: [batch, n], int64 ranks.
            generator: Not used.
            mask: [batch, n], True at padded items, whose rows and columns are 0.

        Returns:
            [batch, n, n], symmetric, often indefinite, with zero row sums. O(layers·n³) time and O(layers·n²) memory.
        """
        lists, places = self._checked(prediction, target, mask)
        differentiable = lists.scores.requires_grad and torch.is_grad_enabled()
        if differentiable or not serves(lists.scores):
            return lists.square(self._differentiated(lists.scores, places, lists.length)).to(prediction.dtype)
        result, lost = network_hessians(
            self._compiled("permutation", lists.length), lists.scores, places, self.objective
        )
        if lost.numel():
            length = None if lists.length is None else lists.length[lost]
            result[lost] = self._differentiated(lists.scores[lost], places[lost], length).to(result.dtype)
        return lists.square(result).to(prediction.dtype)

    def _differentiated(self, scores: Tensor, target: Tensor, length: Tensor | None) -> Tensor:
        """Return the same by automatic differentiation, from the logarithm of P."""

        def slope(s: Tensor) -> Tensor:
            value, pull = torch.func.vjp(lambda s: self._cross_entropy(s, target, length), s)[:2]
            result: Tensor = pull(torch.ones_like(value))[0]
            return result

        pull = torch.func.vjp(slope, scores)[1]
        basis = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
        rows: Tensor = torch.func.vmap(lambda v: pull(v)[0])(basis.unsqueeze(1).expand(-1, *scores.shape))
        return rows.transpose(0, 1)


CurvedNetwork.__name__ = SortingNetwork.__name__  # what messages and reports show is the class that users know
