"""The base class of the methods: a loss over any batched argmin, with validation and the checks of its first use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from nlcore.capabilities import context_parameter
from nlcore.config import Configured
from nlcore.errors import ConfigError, ContractError, DtypeError, ShapeError, nearest
from nlcore.inputs import check_inputs, working
from nlcore.protocol import Traits
from nlcore_decisions._base import Argmin, SolvingLoss, Truth, solved
from nlcore_decisions._checks import check_context, check_finite, check_result, outline, solve_with_context
from nlcore_decisions._first_use import CheckedArgmin
from nlcore_decisions._random import example_numbers
from nlcore_decisions.config import Sense
from nlcore_decisions.solution_pool import SolutionPool
from nlcore_decisions.solvers.base import Solver

__all__ = ["DecisionLoss"]

_ENOUGH = 3
"""Batches on which an argmin is checked, unless two solutions of an earlier one differ."""

_NOTHING: Mapping[str, Tensor] = MappingProxyType({})

_LABELS = {name: f"target {name!r}" for name in ("costs", "solution")}

_TARGET = "The target is a tensor, or a dict with 'costs', 'solution' or both."

_FORMS = ("[batch]", "[batch, n]", "[batch, n, k]", "[batch, n, k, l]")


@dataclass(frozen=True, repr=False)
class DecisionLoss(SolvingLoss, Configured):
    """Base of the losses over an argmin: a function that solves min ⟨c, y⟩ over a set for a batch of costs.

    The argmin takes costs [N, *event], float32 or float64 and detached, on any device, and returns the solutions of
    least cost, of the same shape, dtype and device, always the same for the same costs. It always minimises; with
    `sense="maximise"` predictions and true costs are values, and it receives them negated. Half precision is computed
    in float32. Data of each sample beside its costs are the context, a second positional parameter of the argmin. On
    first use the argmin is called on a few more problems, to check that it does what is said here. Objects are
    immutable, and equal by argmin and options.

    Args:
        argmin: The solver: one of `nlcore_decisions.solvers`, or a function of your own.
        sense: Whether predictions are costs, `"minimise"`, or values, `"maximise"`.
        shape: Shape of one sample's costs, where the argmin does not have it as an attribute.
        min_cost: Lower bound of costs that the method has changed, for a solver that needs positive costs.

    Raises:
        ConfigError: An option is unknown, of the wrong type or out of range, or the argmin cannot be called.
    """

    argmin: Argmin
    _: KW_ONLY
    sense: Sense = "minimise"
    shape: tuple[int, ...] | None = None
    min_cost: float | None = None

    _traits: ClassVar[Traits] = Traits(order=1, transforms="autograd")

    def __init_subclass__(cls, *, traits: Traits | None = None, **others: Any) -> None:
        """Keep the traits of a method, of which some depend on its argmin."""
        super().__init_subclass__(**others)
        if traits is not None:
            cls._traits = traits

    def __post_init__(self) -> None:
        """Validate the options, and look at the argmin."""
        super().__post_init__()
        if isinstance(self.argmin, type) or not callable(self.argmin):
            raise ConfigError(
                f"{self._name}: argmin was given {self.argmin!r}; give a function of costs [N, *event], such as an "
                "instance of a class of nlcore_decisions.solvers."
            )
        parameter = context_parameter(self.argmin)
        shape = self.shape if self.shape is not None else getattr(self.argmin, "shape", None)
        event = None if shape is None else tuple(shape)
        ndim = len(event) if event is not None else len(getattr(self.argmin, "_sizes", ("n",)))
        form = _FORMS[ndim] if ndim < len(_FORMS) else f"[batch, {', '.join(f'n{axis}' for axis in range(ndim))}]"
        held = {
            "_form": form,
            "_floating": f"{form} floating",
            "_event": event,
            "_held_ndim": ndim,
            "_held_context": parameter is not None,
            "_held_traits": replace(self._traits, event_ndim=ndim, takes_context=parameter is not None),
            "_needs_context": parameter.name if parameter is not None and parameter.default is parameter.empty else "",
            "_uses": 0,
        }
        for name, value in held.items():
            object.__setattr__(self, name, value)

    if TYPE_CHECKING:
        _form: str
        _floating: str
        _event: tuple[int, ...] | None
        _held_ndim: int
        _held_context: bool
        _needs_context: str
        _held_traits: Traits
        _uses: int

    @property
    def traits(self) -> Traits:
        """The assumptions that the engine may make."""
        return self._held_traits

    def example(
        self, batch_size: int, *, generator: torch.Generator | None, dtype: torch.dtype, device: torch.device | str
    ) -> tuple[Tensor, Any]:
        """Return normal costs, or with `min_cost` costs between 1 and 2, and a target for others.

        Args:
            batch_size: Number of samples.
            generator: Source of random numbers; they are drawn on its device.
            dtype: Of prediction and target.
            device: Of prediction and target.

        Raises:
            ContractError: The size of a sample is not known, or the argmin needs a context.
        """
        shape = self._event
        if shape is None or self._held_context:
            lacks = "a context" if self._held_context else "the shape of a sample"
            raise ContractError(
                f"{self._name}: the example lacks {lacks}. Give the option shape=(…), or pass an argmin that has an "
                "attribute `shape` and takes no context."
            )
        size = (batch_size, *shape)
        prediction, truth = example_numbers(torch.randn, size, generator=generator, dtype=dtype, device=device)
        if self.min_cost is not None:
            prediction, truth = ((1.5 + 0.5 * one.tanh()) * self._sign for one in (prediction, truth))
        return prediction.to(dtype), self._example_target(truth).to(dtype)

    def _example_target(self, costs: Tensor) -> Tensor:
        """Return the target that belongs to true costs, or values."""
        return costs if self._wants[0] == "costs" else self._solver(costs * self._sign, None)

    @property
    def _wants(self) -> tuple[str, ...]:
        """The parts of the target that the method needs; the first is what a target that is a tensor means."""
        return ("solution",)

    @property
    def _name(self) -> str:
        """The name that messages begin with."""
        return str(getattr(self, "_label", type(self).__name__))

    @property
    def _sign(self) -> int:
        return -1 if self.sense == "maximise" else 1

    @property
    def _ndim(self) -> int:
        return self._held_ndim

    def _checked(self, prediction: Tensor, target: Any, context: Any = None) -> tuple[Tensor, Truth]:
        parts = self._parts(target)
        costs, readable = self._checked_costs(prediction, context, parts)
        truth = self._truth(parts, costs, context)
        if readable and self._uses < _ENOUGH:
            given = truth if "solution" in parts else truth._replace(solution=None)
            self._check_first_use(costs.detach(), given, plain=isinstance(target, Tensor))
        return costs, truth

    def _checked_costs(
        self, prediction: Tensor, context: Any, parts: Mapping[str, Tensor] = _NOTHING
    ) -> tuple[Tensor, bool]:
        """Return validated costs, connected to the prediction, and whether their values can be read."""
        check_inputs(self._name, prediction=(prediction, self._floating), **self._forms(parts))
        self._check_event({"prediction": prediction})
        if context is not None and not self._held_context:
            raise self._refused_context(context)
        if context is None and self._needs_context:
            raise ContractError(
                f"{self._name}: the argmin needs a context, its parameter {self._needs_context!r}: give "
                "loss(prediction, target, context=…)."
            )
        if context is not None:
            check_context(self._name, prediction, context)
        costs = working(prediction)
        costs = -costs if self.sense == "maximise" else costs
        return costs, check_finite(self._name, costs.detach(), "predicted numbers")

    def _check_event(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise unless tensors [batch, *event] have the shape of a sample, where it is known."""
        event = self._event
        for name, tensor in tensors.items():
            if event is not None and tensor.shape[1:] != event:
                needed = ", ".join(map(str, ("batch", *event)))
                raise ShapeError(
                    f"{self._name}: {_LABELS.get(name, name)} has shape {list(tensor.shape)}, but [{needed}] is "
                    "needed, the shape that "
                    f"{'the option `shape`' if self.shape is not None else type(self.argmin).__name__} gives."
                )

    def _forms(self, parts: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, str, str]]:
        """Return the parts of a target for `check_inputs`, by their names in messages."""
        for name, tensor in parts.items():
            if isinstance(tensor, Tensor) and tensor.is_complex():
                raise DtypeError(f"{self._name}: {_LABELS[name]} is {tensor.dtype}; give real numbers, as by .real.")
        return {_LABELS[name]: (tensor, self._form, _TARGET) for name, tensor in parts.items()}

    def _refused_context(self, context: Any) -> ContractError:
        """Return the error of an argmin that is given a context and takes none."""
        given = f"{self._name}: a context was given, {outline(context)}, but"
        if isinstance(self.argmin, SolutionPool):
            return ContractError(f"{given} the argmin takes no context; a pool serves problems over one set.")
        if isinstance(self.argmin, Solver):
            return ContractError(
                f"{given} {type(self.argmin).__name__} takes no context, since its problem is the same for all "
                "samples. For data that differ between samples write a function of costs and context, and give it to "
                f"a method's class: {type(self).__name__}(function)(prediction, target, context=…)."
            )
        return ContractError(f"{given} the argmin takes no context; give it a second positional parameter.")

    def _truth(self, parts: Mapping[str, Tensor], costs: Tensor, context: Any) -> Truth:
        """Return the parts of the target that are given, and those that are needed and can be computed from them."""
        solution, true = parts.get("solution"), parts.get("costs")
        solution = None if solution is None else solution.detach().to(costs.dtype)
        true = None if true is None else true.detach().to(costs.dtype)
        if true is not None:
            true = -true if self.sense == "maximise" else true
            check_finite(self._name, true, "true costs")
        elif "costs" in self._wants:
            raise ContractError(f"{self._name}: the target lacks the true costs; give them under the key 'costs'.")
        truth = Truth(solution, true, context)
        if solution is None and "solution" in self._wants and true is not None:
            with torch.no_grad():
                (solution,) = self._solutions(truth, true)
            truth = truth._replace(solution=solution)
        elif solution is not None:
            check_finite(self._name, solution, "true solutions")
        return truth

    def _parts(self, target: Any) -> Mapping[str, Tensor]:
        """Return the tensors of a target by name."""
        if not isinstance(target, Mapping):
            return {self._wants[0]: target}
        unknown = [name for name in target if name not in ("costs", "solution")]
        if unknown or not target:
            found = f"{unknown[0]!r}{nearest(str(unknown[0]), ['costs', 'solution'])}" if unknown else "nothing"
            raise ContractError(f"{self._name}: the target holds {found}; it is a dict of 'costs', 'solution' or both.")
        return target

    def _solver(self, costs: Tensor, context: Any) -> Tensor:
        return check_result(self._name, costs, self._raw(costs, context))

    @property
    def _repeatable(self) -> bool:
        return isinstance(self.argmin, Solver)

    def _raw(self, costs: Tensor, context: Any) -> Any:
        """Return what the argmin returns."""
        if not self._held_context:
            return solved(self.argmin, costs)
        return solve_with_context(self._name, partial(solved, self.argmin), costs, context)

    def _changed(self, costs: Tensor) -> Tensor:
        return costs if self.min_cost is None else costs.clamp(min=self.min_cost)

    def decide(self, prediction: Tensor, *, context: Any = None) -> Tensor:
        """Return the best solutions for predicted costs or values, as the sense says; exact, also with a pool.

        Args:
            prediction: [batch, *event].
            context: As in the call.

        Returns:
            [batch, *event], the dtype and device of `prediction`; not differentiable.
        """
        costs, _ = self._checked_costs(prediction.detach(), context)
        return check_result(self._name, costs, self._exact(costs, context)).to(prediction.dtype)

    def _exact(self, costs: Tensor, context: Any) -> Any:
        """Return what the argmin returns, that of a pool where it is one."""
        return solved(self.argmin.argmin, costs) if isinstance(self.argmin, SolutionPool) else self._raw(costs, context)

    def _check_first_use(self, costs: Tensor, truth: Truth, *, plain: bool) -> None:
        """Check the argmin on a part of the batch, and the target, until the checks could find something."""
        if not costs.numel():
            return
        solver = self.argmin.argmin if isinstance(self.argmin, SolutionPool) else self.argmin
        with torch.no_grad():
            argmin = CheckedArgmin(self._name, self._exact, self.sense, solver if isinstance(solver, Solver) else None)
            conclusive = argmin.check(costs, truth, plain=plain)
        object.__setattr__(self, "_uses", _ENOUGH if conclusive else self._uses + 1)

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self._options().items())
        return f"{type(self).__name__}({getattr(self.argmin, '__qualname__', repr(self.argmin))}{options})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.argmin, self._options())


def _rebuild(cls: type[DecisionLoss], argmin: Argmin, options: dict[str, Any]) -> DecisionLoss:
    return cls(argmin=argmin, **options)
