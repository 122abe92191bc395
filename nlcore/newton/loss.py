"""The Newton loss as a module: the value of the original loss, the gradient of the Newton step."""

from __future__ import annotations

import importlib
import inspect
import math
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any, Literal, Never, get_args

import torch
from torch import Tensor, nn

from nlcore.capabilities import read_capabilities
from nlcore.errors import ConfigError, ContractError, UnsupportedCurvatureError, nearest
from nlcore.evaluation import cloned, full_precision, in_inference, per_sample, transformed
from nlcore.newton.auto import Auto
from nlcore.newton.checkpoint import (
    is_selection,
    load_damping,
    load_selection,
    save_damping,
    save_selection,
    translate_0_1,
)
from nlcore.newton.curvature import Curvature
from nlcore.newton.failures import Result
from nlcore.newton.fisher import GRADIENT, EmpiricalFisher
from nlcore.newton.hessian import Hessian
from nlcore.newton.options import check_choice
from nlcore.newton.outcome import Memory, NewtonStep
from nlcore.newton.problem import Backend, Problem
from nlcore.newton.ranks import Ranks, resolve_group
from nlcore.newton.selection import Probe, Selection
from nlcore.newton.step import OnFailure, resolve_curvature, take_step
from nlcore.soundness import ENOUGH, check_weight, modules_in, parameters_in, undisturbed, warn_of_invalid_weights

__all__ = ["NewtonLoss"]

Reduction = Literal["mean", "sum", "none"]
Value = Literal["original", "newton"]

_CHOICES: dict[str, Any] = {"reduction": Reduction, "value": Value, "on_failure": OnFailure, "backend": Backend}


class NewtonLoss(nn.Module):
    """Train a network towards one Newton step of its loss (Petersen et al., Newton Losses, arXiv 2410.19055).

    A drop-in for the loss: the value is that of the original loss, the gradient that reaches the network is a
    direction (C + λI)^(−κ)∇ℓ of every sample. By default several of them, from the gradient (κ = 0) to the Newton step
    (κ = 1), are probed on the network, and the one along which the loss falls furthest is taken; see `Auto`. It is
    exactly linear in the incoming scalar, so gradient scalers, loss weights and accumulation work. Without gradients
    (`torch.no_grad`) only the value is computed, on this process alone.

    Parameters of the loss itself, of an `nn.Module` or of a function that reads them, receive their plain gradient, as
    they would without a Newton step. Each step then evaluates the loss once more.

    On its first step the loss is checked: its derivatives are compared with differences, a second evaluation with the
    first, and the losses of some samples with those in a batch where the other samples have changed.

    Args:
        loss: An `AlgorithmicLoss`, or any callable `(prediction, target) -> [batch]`; one with a parameter `mask` or
            `context` receives them.
        curvature: `Hessian(...)`, `GaussNewton(...)` or `EmpiricalFisher(...)`; `None` is `Auto()`, which probes the
            network, and `Auto(aim="outputs")` takes a Newton step for those who want the outputs themselves.
        reduction: `"mean"` over the batch, weighted where weights are given; `"sum"`; or `"none"`.
        value: `"original"` reports ℓ, so that logs compare with plain training; `"newton"` reports ½‖z* − y‖², with
            and without gradients. The gradient is the same.
        on_failure: `"raise"` an error that names the samples at fault, or `"fallback"` to the plain gradient for
            them; they are counted in `stats`, and so are weights that are negative or not finite: these count as 0,
            with a warning at the first step. After it, a fixed curvature waits for the device in an eigen-decomposition
            alone; the default waits once a step, to read loss and lengths, and in its probes. An exception of the loss
            itself is always raised.
        generator: Random numbers of a stochastic loss.
        backend: `"autograd"`, `"func"` for `torch.func`, or `"auto"`; see `newton_step`.
        process_group: The ranks over which a batch is spread: the curvature is that of the global batch, and a mean is
            the global mean once gradients are averaged over the ranks, as `DistributedDataParallel` does. Every rank
            has to take as many steps; `False` keeps to this process, for uneven inputs as under `join()`. `None` is
            the default group where one is initialised.

    Raises:
        ConfigError: An option has a value it cannot take.
        UnsupportedCurvatureError: The loss cannot supply the curvature.

    Shape:
        - prediction: [batch, *event]; target: what the loss takes, batch first.
        - output: [] for `"mean"` and `"sum"`, [batch] for `"none"`.

    Example:
        >>> import torch, nlcore
        >>> criterion = nlcore.NewtonLoss(lambda y, t: (y - t).square().sum(-1) / 2, nlcore.Hessian(damping=1.0))
        >>> prediction = torch.tensor([[3.0, 1.0]], requires_grad=True)
        >>> criterion(prediction, torch.zeros(1, 2)).backward()
        >>> prediction.grad
        tensor([[1.5000, 0.5000]])
    """

    def __init__(
        self,
        loss: Any,
        curvature: Curvature | Auto | None = None,
        *,
        reduction: Reduction = "mean",
        value: Value = "original",
        on_failure: OnFailure = "raise",
        generator: torch.Generator | None = None,
        backend: Backend = "auto",
        process_group: Any = None,
        **misplaced: Never,
    ) -> None:
        super().__init__()
        if misplaced:
            raise _misplaced(*next(iter(misplaced.items())))
        self.reduction, self.value, self.on_failure = reduction, value, on_failure
        self.generator, self.backend = generator, backend
        if isinstance(loss, NewtonLoss):
            raise ContractError("The loss is a NewtonLoss already. Pass the loss that it was made of: criterion.loss.")
        self._capabilities = read_capabilities(loss)
        self.loss = loss
        self.curvature = Auto() if curvature is None else curvature
        resolve_curvature(self.curvature, self._capabilities)
        self.process_group = process_group
        self._memory = Memory()
        self._selection: Selection | None = None
        self._saved: Tensor | None = None
        self._modules_of_loss = tuple(modules_in(loss))  # in a tuple: not registered a second time
        self._parameters_of_loss = tuple(parameters_in(loss))
        self._learns: bool | None = None
        self._weights_warned = False
        self.last_step: NewtonStep | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Refuse another loss or curvature, which state, checks and choice would not fit; check the other options."""
        if name in ("loss", "curvature") and "last_step" in self.__dict__:  # the last attribute of the constructor
            raise ConfigError(
                f"The {name} of a NewtonLoss cannot be replaced: its state and its checks are of the one it was made "
                f"with. Make a new one, nlcore.NewtonLoss(loss, curvature); "
                f"new.load_state_dict(criterion.state_dict()) takes the state over."
            )
        if name in _CHOICES:
            check_choice("", name, value, get_args(_CHOICES[name]))
        super().__setattr__(name, value)

    def forward(
        self,
        prediction: Tensor,
        target: Any,
        *,
        weight: Tensor | None = None,
        mask: Tensor | None = None,
        context: Any = None,
    ) -> Tensor:
        """Return the loss.

        Args:
            prediction: [batch, *event].
            target: The target, as the loss takes it.
            weight: [batch], the weight of each sample; the mean is Σ wᵢℓᵢ / Σ wᵢ, whatever their scale. A sample
                of weight 0 may be NaN.
            mask: [batch, *event] bool, for a loss that takes one. **True = padded, the opposite of an attention
                mask**: padded outputs take no part in value, gradient, trace or mean.
            context: Tensors that the loss needs beside the prediction, a nested structure of tensors, batch
                first; for a loss that takes it.

        Raises:
            ContractError: Wrong shape, dtype or device; a mask or context that the loss does not take.
            NumericalError: A number is not finite or a matrix singular, with `on_failure="raise"`.
        """
        given: dict[str, Any] = {"weight": weight, "mask": mask, "context": context, "generator": self.generator}
        training = torch.is_grad_enabled() and isinstance(prediction, Tensor) and prediction.requires_grad
        if weight is not None:
            self._check_weights(weight, training=training)
        _require_reverse_mode(self._capabilities.name, prediction)
        if not training and self.value == "original":
            return self._evaluated(prediction, target, given)
        if in_inference(prediction, target, weight, mask, context):
            with torch.inference_mode(False), torch.set_grad_enabled(training):
                trees = cloned((prediction, target, {"weight": weight, "mask": mask, "context": context}))
                return self.forward(trees[0], trees[1], **trees[2])
        compiling = torch.compiler.is_compiling()  # such a step always decides anew, without probes, and keeps no state

        def choose(problem: Problem) -> Curvature:
            return self._choose(problem, prediction, probing=training and not compiling)

        step, problem = take_step(
            self._capabilities,
            prediction,
            target,
            self.curvature if isinstance(self.curvature, Curvature) else choose,
            memory=Memory(checks=ENOUGH, mask_checked=True) if compiling else self._memory,
            ranks=self._ranks(prediction) if training else None,
            backend=self.backend,
            raising=self.on_failure == "raise",
            forgiving=isinstance(self.curvature, Auto) and self.curvature.aim == "loss",
            setting=f"reduced to {self.reduction}",
            **given,
        )
        if self._selection is not None and not compiling and step.detail is not None:
            step = self._selection.lengthened(step, problem, training=training)
        value = step.value if self.value == "original" else per_sample(step.direction).square().sum(1) / 2
        if not training:  # of the state only the results of checks are kept, on which no step depends
            self._memory = replace(step.memory, damping=self._memory.damping)
            return self._reduce(value, problem)
        if not compiling:
            self._memory = step.memory
        self.last_step = step
        value = self._with_own_parameters(value, problem, step.codes, compiling=compiling)
        return self._reduce(_Attach.apply(prediction, value, step.direction), problem)

    def explain(self) -> str:
        """Return which curvature is used and why, in a sentence or two."""
        name = self._capabilities.name
        if not isinstance(self.curvature, Auto):
            return f"{name}: {self.curvature!r}, as given, with damping={self.curvature.damping!r}."
        if self._selection is not None:
            return f"{name}: {self._selection.explain()}"
        if self.curvature.aim == "loss":
            return f"{name}: chosen by probes of the network once it trains; until then the gradient."
        last = self.last_step
        size = None if last is None else math.prod(last.direction.shape[1:])
        structured = last is not None and last.curvature.kind != "gradient"
        chosen, reason = self.curvature.choose(self._capabilities, size, operator=structured)
        return f"{name}: {chosen!r}, because {reason}."

    @property
    def stats(self) -> dict[str, float | str]:
        """Statistics of the last step, as a flat dict for a logger; empty before the first.

        See `NewtonStep.stats`. With `Auto(aim="loss")` also `probes` (their number so far), `progress` (how far the
        loss falls along the chosen direction, in units of the gradient's own fall; geometric mean over the probes) and
        `length` (the typical root mean square of a direction).
        """
        if self.last_step is None:
            return {}
        return self.last_step.stats | ({} if self._selection is None else self._selection.stats())

    @property
    def pending(self) -> bool:
        """Whether a probe waits for the next batch; a checkpoint of now would drop it."""
        return self._selection is not None and self._selection.pending

    @property
    def history(self) -> tuple[Probe, ...]:
        """The probes of the network so far, for `Auto(aim="loss")`; see `plot`."""
        return () if self._selection is None else tuple(self._selection.history)

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions that are probed, which the `history` gives by their indices; empty before the first step."""
        return () if self._selection is None else self._selection.candidates.names

    def plot(self, *, format: str = "png", dark: bool = False) -> bytes:
        """Return a picture of what `Auto(aim="loss")` chose when, and of the progress of each candidate.

        Args:
            format: `"png"`, `"svg"` or `"pdf"`.
            dark: Whether the colours are those of a dark page.

        Raises:
            ConfigError: There are no probes yet, the format is unknown, or matplotlib is not installed.
        """
        figures = importlib.import_module("nlcore.plotting.selection_figure")  # plotting imports the engine
        picture: bytes = figures.draw_selection(self.history, self.directions, format=format, dark=dark)
        return picture

    def get_extra_state(self) -> Tensor:
        """Return the state for `state_dict`, a tensor: of the choice of `Auto`, or of a `Bounded` damping.

        The latter is [3] float64: ρ or zero, whether per sample, age. A probe that waits for the next batch is not
        saved.
        """
        if self._selection is not None:
            return save_selection(self._selection)
        if self._saved is not None:
            return self._saved
        return save_damping(self._memory.damping)

    def set_extra_state(self, state: Any) -> None:
        """Restore the state of `get_extra_state`; that of another kind of curvature is left alone, and begins anew.

        Raises:
            ConfigError: It is not a state of this class.
        """
        if is_selection(state):
            probes = isinstance(self.curvature, Auto) and self.curvature.aim == "loss"
            self._selection, self._saved = None, state.detach().double().cpu().clone() if probes else None
            return
        self._memory = replace(self._memory, damping=load_damping(state))
        self._selection, self._saved = None, None

    def extra_repr(self) -> str:
        """Return the options that differ from the defaults."""
        return f"{self._capabilities.name}, {self.curvature!r}, reduction={self.reduction!r}"

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], strict: bool, *lists: list[str]
    ) -> None:
        """Load a checkpoint, also one of a training with another loss, or of version 0.1."""
        missing = lists[0]
        translate_0_1(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, strict, *lists)
        if f"{prefix}_extra_state" in missing:  # not required: the present state is kept
            missing.remove(f"{prefix}_extra_state")

    def _check_weights(self, weight: Any, *, training: bool) -> None:
        """Warn of weights that require a gradient, and once of those that a fallback counts as 0.

        The latter are looked for while the loss is checked: a later step does not wait for the device.
        """
        name, checks = self._capabilities.name, self._memory.checks
        if training and not checks:
            check_weight(name, weight)
        if self.on_failure == "fallback" and checks < ENOUGH and not self._weights_warned:
            self._weights_warned = warn_of_invalid_weights(name, weight)

    def _evaluated(self, prediction: Tensor, target: Any, given: dict[str, Any]) -> Tensor:
        """Return the original loss without a step, on this process alone."""
        raising = self.on_failure == "raise"
        problem = Problem.of(self._capabilities, prediction, target, raising=raising, **given)
        _require_order(problem)
        with full_precision(prediction.device):
            return self._reduce(problem.evaluation.value(problem.prediction), problem)

    def _with_own_parameters(self, value: Tensor, problem: Problem, codes: Tensor, *, compiling: bool) -> Tensor:
        """Return the value [N] with a graph that leads to the parameters of the loss itself, if it has any.

        Those of modules, and those that a function refers to, are seen at every step; whether it reads others shows at
        the first. Samples that do not count, or are not finite, are left out of that graph: zero times the derivative
        of a NaN is a NaN.
        """
        looking = self._learns is None and not compiling
        learns = any(one.requires_grad for module in self._modules_of_loss for one in module.parameters())
        learns = learns or any(one.requires_grad for one in self._parameters_of_loss)
        if not (learns or self._learns or looking) or not value.shape[0]:
            return value
        evaluation, flat = problem.evaluation.detached(), problem.prediction
        apart = undisturbed(evaluation, value.device) if looking else nullcontext()
        index = None if compiling else _not_all(problem, codes)
        with full_precision(flat.device), apart:
            traced = evaluation.value(flat) if index is None else evaluation.take(index).value(flat[index])
        if index is not None:
            traced = traced.new_zeros(value.shape).index_copy(0, index, traced)
        if looking:
            self._learns = traced.requires_grad
        return value + (traced - traced.detach()).to(value.dtype) if traced.requires_grad else value

    def _choose(self, problem: Problem, prediction: Tensor, *, probing: bool) -> Curvature:
        """Return the curvature of `Auto`: by a probe of the network, or without one."""
        auto = self.curvature
        if not isinstance(auto, Auto) or auto.aim == "outputs":
            return resolve_curvature(auto, self._capabilities, problem)
        if not probing and self._selection is not None:
            return self._selection.serving(problem)
        if self._selection is None:
            if not probing or (not len(prediction) and problem.samples.ranks is None):
                return GRADIENT
            self._selection = Selection(auto.candidates(problem), self._capabilities.name)
            if self._saved is not None:
                load_selection(self._selection, self._saved)
                self._saved = None
        return self._selection.choose(problem, prediction)

    def _ranks(self, prediction: Tensor) -> Ranks | None:
        """Return the ranks of a step; without any, by the first tests of `resolve_group` alone, as every step asks."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        if not distributed or self.process_group is False:
            return None
        return resolve_group(self.process_group, self._capabilities.name, prediction.device)

    def _reduce(self, value: Tensor, problem: Problem) -> Tensor:
        """Return the loss; with several ranks multiplied by their number, since gradients are averaged over them."""
        samples = problem.samples
        if self.reduction != "mean":
            if problem.largest_weight is not None:
                counted = torch.where(samples.weight > 0, value, 0.0)
                value = (samples.weight * problem.largest_weight * counted).to(value.dtype)
            if self.reduction == "none":
                return value
            return value.sum() if samples.ranks is None else value.sum() * samples.ranks.count
        if problem.largest_weight is None:
            return value.mean() if value.shape[0] else value.sum()
        shares = samples.shares
        total = (shares.to(value.dtype) * torch.where(shares > 0, value, 0.0)).sum()
        return total if samples.ranks is None else total * samples.ranks.count


def _misplaced(name: str, value: object) -> ConfigError:
    """Return the error for an option that `NewtonLoss` does not have: it belongs to a curvature, or is misspelt."""
    given = f"NewtonLoss({name}={value!r})"
    for owner in (Auto, Hessian, EmpiricalFisher):
        if name in {option.name for option in fields(owner)}:
            call = f"nlcore.NewtonLoss(loss, nlcore.{owner.__name__}({name}={value!r}))"
            return ConfigError(f"{given}: this is an option of a curvature. Use {call}.")
    options = list(inspect.signature(NewtonLoss).parameters)[1:-1]
    return ConfigError(f"{given}: there is no such option{nearest(name, options)}. Options: {', '.join(options)}.")


def _not_all(problem: Problem, codes: Tensor) -> Tensor | None:
    """Return the indices of the samples that count and are finite, or `None` where all are known to."""
    if problem.raising and problem.largest_weight is None:
        return None
    sound = problem.samples.weight > 0
    sound = sound if problem.raising else sound & (codes != Result.nonfinite.value)
    return None if bool(sound.all()) else sound.nonzero().flatten()


def _require_order(problem: Problem) -> None:
    """Refuse a target with a graph beside a prediction without one, where gradients are recorded."""
    if torch.is_grad_enabled() and any(leaf.requires_grad for leaf in problem.evaluation.leaves()):
        raise ContractError(
            f"{problem.loss.name}: the target or context requires a gradient, and the prediction does not. Give "
            f"criterion(prediction, target), the output of the network first; a Newton loss has no gradient with "
            f"respect to its target. To evaluate it, use torch.no_grad()."
        )


def _require_reverse_mode(name: str, prediction: Any) -> None:
    """Refuse a prediction with a tangent: the value would lack one, as the step is taken in the backward pass."""
    if torch.compiler.is_compiling() or not isinstance(prediction, Tensor):
        return
    if torch.autograd.forward_ad.unpack_dual(prediction).tangent is not None:
        raise UnsupportedCurvatureError(
            f"{name}: a Newton loss has no forward-mode derivative. Use torch.autograd.grad, torch.func.grad or jacrev."
        )


class _Attach(torch.autograd.Function):
    """The given value in the forward pass; the given direction, times what comes in, in the backward pass.

    Where the value has a graph, to parameters of the loss itself, what comes in goes on along it.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(prediction: Tensor, value: Tensor, direction: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        prediction, _, direction = inputs
        ctx.save_for_backward(direction)
        ctx.dtype = prediction.dtype

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, Tensor | None, None]:  # type: ignore[override]
        (direction,) = ctx.saved_tensors
        own = incoming if ctx.needs_input_grad[1] else None
        shaped = incoming.reshape(-1, *[1] * (direction.ndim - 1))
        gradient = (shaped * direction).to(ctx.dtype)
        if torch.is_grad_enabled() and not transformed(gradient):  # with create_graph
            gradient.requires_grad_()
        return (_Last.apply(gradient) if gradient.requires_grad else gradient), own, None


class _Last(torch.autograd.Function):
    """The identity, whose backward pass raises an error: a direction has no derivative."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor) -> Tensor:
        return gradient.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Tensor:  # type: ignore[override]
        raise UnsupportedCurvatureError(
            "A Newton direction has no derivative of its own: it was taken at a fixed prediction. Differentiate the "
            "plain loss where a second derivative is needed, as for a gradient penalty."
        )


_Attach.forward.__signature__ = inspect.signature(_Attach.forward)  # type: ignore[attr-defined]
"""Read anew by every call of `apply` otherwise, which takes longer than all that it does."""
