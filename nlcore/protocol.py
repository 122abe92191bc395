"""The contract between algorithms and the Newton engine: what a plugin author implements."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

from nlcore.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Target: TypeAlias = Tensor | tuple["Target", ...] | list["Target"] | dict[str, "Target"]
else:
    Target: TypeAlias = Any

__all__ = [
    "AlgorithmicLoss",
    "CurvatureOperator",
    "GaussNewtonSplit",
    "SuppliesGradient",
    "SuppliesHessian",
    "SuppliesOperator",
    "Target",
    "Traits",
]

CAPABILITIES = ("gradient", "hessian", "split", "operator")


@dataclass(frozen=True, slots=True)
class Traits:
    """Assumptions that the engine may make about a loss before any data.

    Attributes:
        event_ndim: Number of dimensions of one prediction; the batch comes in front of them.
        order: Number of derivatives that exist and are not zero almost everywhere. A piecewise-linear loss has
            order 1: its second derivative is zero wherever it exists, and a Hessian would be silently empty.
        stochastic: Whether the loss draws random numbers, which it takes from `generator` alone.
        transforms: `"func"` when `torch.func` can differentiate the loss, `"autograd"` when it uses
            old-style autograd Functions that only `torch.autograd.grad` understands.
        takes_mask: Whether the call accepts `mask=`, a bool tensor [batch, *event]: **True = padded, the opposite
            of an attention mask.** `gradient`, `hessian`, `inner` and `outer`, where it has them, accept it too.
            Value and derivatives are those of the sample without its padded outputs, with zeros there in the
            derivatives, whatever stands at padded outputs of prediction and target, NaN included. A sample that
            is padding throughout has loss 0 and gradient 0, and the engine does not count it as a sample. A loss
            without it refuses a mask.
        psd_hessian: Whether every sample's Hessian is positive semi-definite wherever it exists, so that it needs no
            repair: a convex loss, or one that is convex piece by piece. A promise: a false one gives a wrong step.
        constant_curvature: Whether the curvature is the same matrix for all samples and predictions: a linear algorithm
            under a quadratic criterion.
        supplies: The optional capabilities, a subset of {"gradient", "hessian", "split", "operator"}; `None` reads them
            off the methods. A class whose objectives differ in what they can supply states it here.
        takes_context: Whether the call accepts `context=`, a nested structure of tensors, batch first: what the loss
            needs of every sample beside prediction and target. `gradient`, `hessian` and `inner` accept it too.
    """

    event_ndim: int = 1
    order: int = 2
    stochastic: bool = False
    transforms: Literal["func", "autograd"] = "func"
    takes_mask: bool = False
    psd_hessian: bool = False
    constant_curvature: bool = False
    supplies: frozenset[str] | None = None
    takes_context: bool = False

    def __post_init__(self) -> None:
        if self.supplies is None:
            return
        unknown = set(self.supplies) - set(CAPABILITIES)
        if unknown:
            raise ConfigError(f"Traits(supplies={self.supplies!r}): give a subset of {set(CAPABILITIES)}.")
        object.__setattr__(self, "supplies", frozenset(self.supplies))


def _with_old_name(traits: type[Traits]) -> None:
    """Accept `convex`, the name of `psd_hessian` until 0.2, as an argument and an attribute, with a warning."""
    created = traits.__init__
    message = "Traits.convex was renamed to psd_hessian in 0.2; the old name will be removed in 0.3."

    @functools.wraps(created)
    def init(self: Traits, *args: Any, convex: bool | None = None, **options: Any) -> None:
        if convex is not None:
            warnings.warn(message, DeprecationWarning, stacklevel=2)
            options["psd_hessian"] = convex
        created(self, *args, **options)

    def convex(self: Traits) -> bool:
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return self.psd_hessian

    traits.__init__ = init  # type: ignore[method-assign]
    traits.convex = property(convex)  # type: ignore[attr-defined]


_with_old_name(Traits)


@runtime_checkable
class AlgorithmicLoss(Protocol):
    """A loss with an algorithm inside: one number per sample, samples independent.

    The batch is the first dimension of everything. A call changes no input, keeps dtype and device, uses no
    statistics of the batch, reduces nothing, and takes random numbers from `generator` alone. Sizes are read
    from the inputs, so one object serves every size.
    """

    @property
    def traits(self) -> Traits:
        """Assumptions that the engine may make; constant over the life of the object."""
        ...

    def __call__(self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the loss of each sample.

        Args:
            prediction: [batch, *event], what the network predicts.
            target: The target; a tensor or nested tuples, lists and dicts of tensors, batch first.
            generator: Source of random numbers of a stochastic loss.

        Returns:
            [batch], the dtype and device of `prediction`.
        """
        ...

    def example(
        self,
        batch_size: int,
        *,
        generator: torch.Generator | None,
        dtype: torch.dtype,
        device: torch.device | str,
    ) -> tuple[Tensor, Any]:
        """Return a valid `(prediction, target)` of the given batch size, for checks and demonstrations.

        A loss that takes a context may have a method `example_context` with the same parameters, which returns a valid
        context for the example. It is called right after `example`, with the same generator. Without the method the
        example is evaluated with `context=None`.
        """
        ...


@runtime_checkable
class SuppliesGradient(Protocol):
    """A loss whose useful gradient is not the derivative of its value: perturbed, black box or SPO+ losses."""

    def gradient(self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the gradient of each sample's loss, [batch, *event]."""
        ...


@runtime_checkable
class SuppliesHessian(Protocol):
    """A loss with a second derivative in closed form, or an estimate of it."""

    def hessian(self, prediction: Tensor, target: Any, *, generator: torch.Generator | None = None) -> Tensor:
        """Return the Hessian of each sample's loss, [batch, m, m] with m the product of the event's sizes."""
        ...


@runtime_checkable
class GaussNewtonSplit(Protocol):
    """A loss `outer(inner(prediction), target)` with `outer` convex in the features.

    Its Gauss–Newton matrix Jᵀ H_outer J, J the Jacobian of `inner`, is positive semi-definite by
    construction and needs no second derivative of the algorithm.
    """

    def inner(self, prediction: Tensor) -> Tensor:
        """Return the features of each sample, [batch, *features]."""
        ...

    def outer(self, features: Tensor, target: Any) -> Tensor:
        """Return the convex loss of each sample, [batch]."""
        ...


@runtime_checkable
class CurvatureOperator(Protocol):
    """One positive semi-definite matrix C, [m, m], by its structure: applied and solved, never formed."""

    @property
    def trace(self) -> float:
        """The trace of C."""
        ...

    @property
    def largest(self) -> float:
        """The largest eigenvalue, or a bound of it."""
        ...

    @property
    def features(self) -> int:
        """F, the number of residuals of a sample, for damping that is chosen by cross-validation."""
        ...

    def matvec(self, rows: Tensor) -> Tensor:
        """Return C times each row of [r, m]."""
        ...

    def solve(self, rows: Tensor, damping: Tensor, power: float) -> Tensor:
        """Return (C + λI)^(−κ) times each row.

        Args:
            rows: [r, m] float64.
            damping: [], λ > 0.
            power: κ, one for which `supports` is True.
        """
        ...

    def supports(self, power: float) -> bool:
        """Return whether `solve` can take a power, 0 < κ ≤ 1; the Newton step κ = 1 it always can."""
        ...


@runtime_checkable
class SuppliesOperator(Protocol):
    """A loss of constant curvature with structure, such as a filter: the engine then forms no m×m matrix for large m.

    It also sets `Traits(constant_curvature=True)` and supplies its Hessian or a split.
    """

    def curvature_operator(self, prediction: Tensor) -> CurvatureOperator | None:
        """Return the curvature of every sample without a mask, or `None` for sizes whose matrix has no fast solves.

        Args:
            prediction: [batch, *event], for sizes and device; its values do not matter.
        """
        ...
