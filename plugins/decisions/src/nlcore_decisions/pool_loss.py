"""The base classes of losses over a pool of solutions."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ConfigError
from nlcore.inputs import check_inputs
from nlcore_decisions._base import Truth
from nlcore_decisions.decision_loss import DecisionLoss
from nlcore_decisions.solution_pool import SolutionPool

__all__ = ["PoolLoss", "SplitPoolLoss"]

_FEATURES = "They are the predicted costs of the solutions of the pool, as inner(prediction) returns them."


class PoolLoss(DecisionLoss):
    """Base of the losses that compare the predicted costs of the solutions of a pool, differentiable by torch.

    Args:
        argmin: A `SolutionPool`.
        sense: Whether predictions are costs, `"minimise"`, or values, `"maximise"`.
        shape: Not needed, since the pool has the shape of a solution.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of range, or the argmin is not a pool.
    """

    def __post_init__(self) -> None:
        """Validate options and pool."""
        super().__post_init__()
        if not isinstance(self.argmin, SolutionPool):
            raise ConfigError(
                f"{self._name}: argmin was given {self.argmin!r}; this loss needs solutions to compare: give "
                "SolutionPool(argmin, solutions), solutions [P, *event], as those of the training data."
            )

    def __call__(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, *event], the predicted costs, or values with `sense="maximise"`.
            target: [batch, *event], the true solution or the true costs, whichever the method compares with; or a dict
                with "costs", "solution" or both.
            generator: Not used.
            context: An error: a pool holds solutions of one problem.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or the first use shows that the argmin does not
                minimise, or the target is not a solution.
            NonFiniteError: A cost is NaN or infinite.
        """
        costs, truth = self._checked(prediction, target, context)
        self._pool.refresh(costs)
        pool = self._pool.like(costs).flatten(1)
        return self._loss(costs.flatten(1) @ pool.mT, costs, truth, pool).to(prediction.dtype)

    @property
    def _pool(self) -> SolutionPool:
        pool: SolutionPool = self.argmin  # type: ignore[assignment]
        return pool

    @abstractmethod
    def _loss(self, products: Tensor, costs: Tensor, truth: Truth, pool: Tensor) -> Tensor:
        """Return the losses, [N].

        Args:
            products: [N, P], the predicted costs of the solutions of the pool.
            costs: [N, *event], the predicted costs of the elements.
            truth: The target.
            pool: [P, m], the solutions.
        """


class SplitPoolLoss(PoolLoss):
    """Base of the losses that depend on the predicted costs of the pool alone, in which they are convex.

    The costs of the pool are linear in the prediction: the Gauss–Newton split is exact.
    """

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the predicted costs of the solutions of the pool, [batch, P]."""
        costs, _ = self._checked_costs(prediction, None)
        return costs.flatten(1) @ self._pool.like(costs).flatten(1).mT

    def outer(self, features: Tensor, target: Any) -> Tensor:
        """Return the loss of each sample, [batch], from the predicted costs of the pool [batch, P]."""
        parts = self._parts(target)
        form = f"[batch, {len(self._pool)}] floating"
        check_inputs(self._name, features=(features, form, _FEATURES), **self._forms(parts))
        self._check_event(parts)
        truth = self._truth(parts, features, None)
        pool = self._pool.like(features).flatten(1)
        return self._loss(features, features, truth, pool)

    @property
    def _wants(self) -> tuple[str, ...]:
        return ("costs",)

    @staticmethod
    def _true_products(truth: Truth, pool: Tensor) -> Tensor:
        """Return the true costs of the solutions of the pool, [N, P]."""
        return truth.the_costs.flatten(1) @ pool.mT
