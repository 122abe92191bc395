"""The update of Half-Inverse Gradients, for comparison: half the inverse of the Jacobian of network and simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nlcore_bench.tasks.base import Batch

__all__ = ["HalfInverse"]


class HalfInverse:
    """Schnell, Holl and Thuerey, *Half-Inverse Gradients for Physical Deep Learning*, ICLR 2022.

    With J = UΛVᵀ the Jacobian of all features of a batch with respect to all parameters, and s the slope of the mean
    loss along the features, the gradient is replaced by VΛ^(−½)Uᵀs. Singular values below a share of the largest are
    left out. A step costs the eigendecomposition of a matrix with a row for every feature of every sample, and the
    memory of J.

    Args:
        loss: A loss with a Gauss–Newton split.
        network: The network; each of its outputs depends on one sample alone.
        truncation: The share; 1e-6 in the authors' programs for their oscillators.
    """

    def __init__(self, loss: Any, network: nn.Module, truncation: float = 1e-6) -> None:
        self.loss, self.network, self.truncation = loss, network, truncation

    def __call__(self, batch: Batch, target: Any) -> Tensor:
        """Add the update to the gradients, and return the mean loss, a scalar."""
        parameters = {name: one for name, one in self.network.named_parameters() if one.requires_grad}
        jacobian = self._jacobian(parameters, batch)
        with torch.no_grad():
            features = self.loss.inner(self.network(batch.inputs), **batch.options)
        features.requires_grad_()
        value = self.loss.outer(features, target).mean()
        (slope,) = torch.autograd.grad(value, features)
        values, vectors = torch.linalg.eigh(jacobian @ jacobian.mT)
        kept = values > self.truncation**2 * values[-1]
        power = torch.where(kept, values.clamp(min=torch.finfo(values.dtype).tiny), torch.inf) ** -0.75  # Λ⁻¹Λ^(−½)
        update = jacobian.mT @ (vectors @ (power * (vectors.mT @ slope.flatten().double())))
        sizes = [one.numel() for one in parameters.values()]
        for one, part in zip(parameters.values(), update.split(sizes), strict=True):
            gradient = part.view_as(one).to(one.dtype)
            one.grad = gradient if one.grad is None else one.grad + gradient
        mean: Tensor = value.detach()
        return mean

    def _jacobian(self, parameters: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """Return the Jacobian of the features, [N·F, P] in float64."""

        def features(given: Mapping[str, Tensor], sample: Tensor, options: Mapping[str, Tensor]) -> Tensor:
            output = torch.func.functional_call(self.network, dict(given), (sample.unsqueeze(0),))
            alone = {name: one.unsqueeze(0) for name, one in options.items()}
            found: Tensor = self.loss.inner(output, **alone)
            return found.flatten()

        given = {name: one.detach() for name, one in parameters.items()}
        rows = torch.func.vmap(torch.func.jacrev(features), in_dims=(None, 0, 0))
        found = rows(given, batch.inputs, dict(batch.options))
        flat = [found[name].flatten(0, 1).flatten(1) for name in parameters]
        return torch.cat(flat, 1).double()
