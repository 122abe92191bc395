"""The base class of the registered losses: a solver, and a method by its name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from nlcore.capabilities import read_capabilities
from nlcore.config import Configured
from nlcore.errors import UnsupportedCurvatureError
from nlcore.protocol import Traits
from nlcore_decisions._random import example_numbers
from nlcore_decisions.config import Control, ImplicitNoise, Noise, Objective, Projection, Sense
from nlcore_decisions.decision_loss import DecisionLoss
from nlcore_decisions.problems.config import POOLED, Method, method_class
from nlcore_decisions.solution_pool import SolutionPool
from nlcore_decisions.solvers.base import Solver

__all__ = ["ProblemLoss"]

_POOL_SIZE = 32


@dataclass(frozen=True, repr=False, kw_only=True)
class ProblemLoss(Configured, ABC):
    """Base of the registered losses: `method` names the class that the solver and the options are given to.

    Instead of None, an option of the method has the default of its class; one that the method does not read is an
    error. Contrastive and ranking methods get a pool with the solutions of `pool_size` random costs, the same for equal
    options. Objects are immutable, hashable and equal by their options.
    """

    method: Method = "perturbed_fenchel_young"
    sense: Sense = "minimise"
    num_samples: int | None = None
    sigma: float | None = None
    noise: Noise | ImplicitNoise | None = None
    control: Control | None = None
    length: int | None = None
    objective: Objective | None = None
    interpolation: float | None = None
    nonzeros: float | None = None
    largest: float | None = None
    halvings: int | None = None
    projection: Projection | None = None
    step: float | None = None
    regularization_strength: float | None = None
    max_steps: int | None = None
    margin: float | None = None
    temperature: float | None = None
    min_cost: float | None = None
    pool_size: int | None = None
    pool_seed: int | None = None

    def __post_init__(self) -> None:
        """Validate the options, and make the solver and, unless it depends on the data, the method."""
        super().__post_init__()
        held = {"_solver": self._make_solver(), "_methods": {}}
        for name, value in held.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_of_example", self._method_for(self._example_shape))

    if TYPE_CHECKING:
        _solver: Solver
        _methods: dict[tuple[int, ...], DecisionLoss]
        _of_example: DecisionLoss

    @property
    def solver(self) -> Solver:
        """The exact solver, an argmin: it minimises whatever `sense` is."""
        return self._solver

    @property
    def traits(self) -> Traits:
        """The assumptions that the engine may make, with the capabilities of the method."""
        return replace(self._of_example.traits, supplies=read_capabilities(self._of_example).supplies)

    def __call__(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, *event], the predicted costs, or values with `sense="maximise"`.
            target: [batch, *event], the true solution or the true costs, whichever the method compares with; or a dict
                with "costs", "solution" or both.
            generator: Source of random numbers of a stochastic method.
            context: Refused: the problem is the same for all samples.

        Returns:
            [batch], the dtype and device of `prediction`.

        Raises:
            ContractError: Shapes, dtypes or devices do not fit, or the target is not a solution.
            NonFiniteError: A cost is NaN or infinite.
        """
        method: Any = self._method_of(prediction)
        found: Tensor = method(prediction, target, generator=generator, context=context)
        return found

    def gradient(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the gradient of each sample's loss, [batch, *event], if the method supplies it."""
        return self._capability("gradient", prediction)(prediction, target, generator=generator, context=context)

    def hessian(
        self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None, context: Any = None
    ) -> Tensor:
        """Return the Hessian of each sample, [batch, m, m], if the method supplies it."""
        return self._capability("hessian", prediction)(prediction, target, generator=generator, context=context)

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the predicted costs of the pool, [batch, P], if the method splits."""
        return self._capability("inner", prediction)(prediction)

    def outer(self, features: Tensor, target: Any) -> Tensor:
        """Return the loss from the predicted costs of the pool, [batch], if the method splits."""
        known = next(iter(target.values()), None) if isinstance(target, Mapping) else target
        return self._capability("outer", known)(features, target)

    def decide(self, prediction: Tensor, *, context: Any = None) -> Tensor:
        """Return the best solutions for predicted costs or values, [batch, *event]; not differentiable."""
        return self._method_of(prediction).decide(prediction, context=context)

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Any]:
        """Return random costs or values, and the target that belongs to others.

        Args:
            batch_size: Number of samples.
            generator: Source of random numbers; they are drawn on its device.
            dtype: Of prediction and target.
            device: Of prediction and target.
        """
        size, sign = (batch_size, *self._example_shape), -1 if self.sense == "maximise" else 1
        normal = example_numbers(torch.randn, size, generator=generator, dtype=dtype, device=device)
        prediction, truth = (self._random_costs(one) * sign for one in normal)
        return prediction.to(dtype), self._of_example._example_target(truth).to(dtype)

    @abstractmethod
    def _make_solver(self) -> Solver:
        """Return the solver with the options of the problem."""

    @property
    def _example_shape(self) -> tuple[int, ...]:
        """Shape of a sample of the example; for a problem of any size one that is written here."""
        return tuple(self.solver.shape or ())

    def _random_costs(self, normal: Tensor) -> Tensor:
        """Return costs from standard normal numbers."""
        return normal if self.min_cost is None else 1.5 + 0.5 * normal.tanh()

    def _pool_costs(self, normal: Tensor) -> Tensor:
        """Return costs that differ more, for solutions of many kinds."""
        return self._random_costs(normal) if self.min_cost is None else normal.exp()

    def _method_of(self, prediction: object) -> DecisionLoss:
        """Return the method for predictions of a size; one of no valid shape is refused by any."""
        pooled = self.method in POOLED and self.solver.shape is None
        if not pooled or not isinstance(prediction, Tensor) or prediction.ndim != 1 + len(self._example_shape):
            return self._of_example
        return self._method_for(tuple(prediction.shape[1:]))

    def _method_for(self, shape: tuple[int, ...]) -> DecisionLoss:
        if shape not in self._methods:
            options = self.config(**self._options()).given()  # type: ignore[attr-defined]
            argmin = self._pool(shape) if self.method in POOLED else self.solver
            loss = method_class(self.method)(argmin, **options)
            object.__setattr__(loss, "_label", self.id)
            self._methods[shape] = loss
        return self._methods[shape]

    def _pool(self, shape: tuple[int, ...]) -> SolutionPool:
        generator = torch.Generator().manual_seed(self.pool_seed or 0)
        normal = torch.randn((self.pool_size or _POOL_SIZE, *shape), generator=generator, dtype=torch.float64)
        return SolutionPool(self.solver, self.solver(self._pool_costs(normal)))

    def _capability(self, name: str, prediction: object) -> Callable[..., Tensor]:
        method = self._method_of(prediction)
        if not hasattr(method, name):
            raise UnsupportedCurvatureError(
                f"{self.id}: method={self.method!r} does not supply {name!r}; traits.supplies lists what it does."
            )
        supplied: Callable[..., Tensor] = getattr(method, name)
        return supplied
