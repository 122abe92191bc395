"""One Newton step on a batch of losses: problem, derivatives, curvature matrix, damping, solve, direction."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from nlcore.capabilities import Capabilities, read_capabilities
from nlcore.errors import ConfigError, NumericalWarning
from nlcore.evaluation import cloned, finite_rows, full_precision, in_inference
from nlcore.newton.auto import Auto
from nlcore.newton.curvature import Curvature
from nlcore.newton.damping import choose_damping
from nlcore.newton.derivatives import SECOND, differentiate, operator_of
from nlcore.newton.failures import SOLVED, Result, raise_unsolved
from nlcore.newton.matrix import IdentityMatrix
from nlcore.newton.options import check_choice
from nlcore.newton.outcome import Memory, NewtonStep, StepDetail
from nlcore.newton.problem import Backend, Problem
from nlcore.newton.ranks import Ranks, resolve_group
from nlcore.newton.solve import limit_lengths, solve
from nlcore.soundness import check_first_use, warn_of_invalid_weights

__all__ = ["OnFailure", "newton_step", "resolve_curvature", "take_step"]

OnFailure: TypeAlias = Literal["raise", "fallback"]

Chooser: TypeAlias = Callable[[Problem], Curvature]
"""Chooses the curvature of a step."""


def newton_step(
    loss: Any,
    prediction: Tensor,
    target: Any,
    curvature: Curvature | Auto | None = None,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    context: Any = None,
    on_failure: OnFailure = "raise",
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
    process_group: Any = None,
) -> NewtonStep:
    """Take one damped Newton step on each sample's loss, starting at the prediction.

    Args:
        loss: An `AlgorithmicLoss`, or a callable `(prediction, target) -> [batch]`.
        prediction: [batch, *event]; it is not changed and gets no graph.
        target: Passed to the loss.
        curvature: `Hessian(...)`, `GaussNewton(...)`, `EmpiricalFisher(...)`; `None` is `Auto()`.
        weight: [batch], how much each sample counts in the mean curvature; an integer weight equals repetition.
        mask: [batch, *event] bool. **True = padded, the opposite of an attention mask**: padded outputs take no part
            in value, gradient, trace or mean. With a loss that takes no mask it warns, and they are held fixed: the
            step is that of the other outputs, with these as they are, and they count in the value. `NewtonLoss`
            refuses such a loss.
        context: Tensors that the loss needs beside the prediction, a nested structure of tensors, batch
            first; for a loss that takes it.
        on_failure: `"raise"` an error that names the samples, or `"fallback"` to the plain gradient for those whose
            curvature failed, and to no step for those whose gradient itself is not finite. A weight that is negative or
            not finite raises, or counts as 0 with a warning.
        generator: Random numbers of a stochastic loss; by default seeded from torch's global generator.
        backend: `"autograd"`, `"func"` for `torch.func`, or `"auto"`: autograd, and `torch.func` under one of its
            transforms or `torch.compile`.
        process_group: The ranks over which the batch is spread; `None` is the default group where one is
            initialised, `False` keeps to this process.

    Returns:
        Value, gradient, direction and Newton target, all detached.

    Raises:
        ContractError: Wrong shape, dtype or device; a mask or context the loss does not take; ranks out of step.
        UnsupportedCurvatureError: The loss cannot supply this curvature.
        NonFiniteError: A prediction, loss or derivative is NaN or infinite.
        SingularCurvatureError: The damped curvature has no inverse.
        NumericalError: Another rank failed.

    Warns:
        NumericalWarning: The loss is not what a Newton loss needs: a cut graph, samples that mix, random values; it
            takes no mask and is given one; a weight counts as 0, since it is negative or not finite.

    Example:
        >>> import torch, nlcore
        >>> loss = lambda y, t: (y - t).square().sum(-1) / 2
        >>> step = newton_step(loss, torch.zeros(3, 2), torch.ones(3, 2), nlcore.Hessian(damping=0.0))
        >>> step.target
        tensor([[1., 1.],
                [1., 1.],
                [1., 1.]])
    """
    check_choice("", "on_failure", on_failure, get_args(OnFailure))
    check_choice("", "backend", backend, get_args(Backend))
    given: dict[str, Any] = {"weight": weight, "mask": mask, "context": context}
    if in_inference(prediction, target, given):
        with torch.inference_mode(False):
            prediction, target, given = cloned((prediction, target, given))
            return newton_step(
                loss,
                prediction,
                target,
                curvature,
                on_failure=on_failure,
                generator=generator,
                backend=backend,
                process_group=process_group,
                **given,
            )
    capabilities = read_capabilities(loss)
    device = prediction.device if isinstance(prediction, Tensor) else torch.device("cpu")
    ranks = resolve_group(process_group, capabilities.name, device)
    hold = mask is not None and "mask" not in capabilities.accepts
    if hold:
        warnings.warn(
            f"{capabilities.name} takes no mask: padded outputs are held fixed, and count in its value as they are. "
            f"Give it a parameter `mask`, True = padded.",
            NumericalWarning,
            stacklevel=2,
        )
    if on_failure == "fallback" and weight is not None:
        warn_of_invalid_weights(capabilities.name, weight)
    given |= {"hold": hold, "generator": generator, "backend": backend, "raising": on_failure == "raise"}

    def choose(problem: Problem) -> Curvature:
        return resolve_curvature(curvature, capabilities, problem)

    return take_step(capabilities, prediction, target, choose, memory=Memory(), ranks=ranks, **given)[0]


def take_step(
    loss: Capabilities,
    prediction: Tensor,
    target: Any,
    curvature: Curvature | Chooser,
    *,
    memory: Memory,
    ranks: Ranks | None,
    **given: Any,
) -> tuple[NewtonStep, Problem]:
    """Take a step with what earlier ones of the same training left in memory, on all ranks or on none.

    Args:
        loss: The loss.
        prediction: [batch, *event].
        target: Passed to the loss.
        curvature: One that the loss can supply, or what chooses it.
        memory: The state after the last step.
        ranks: The processes that share the batch.
        given: The other arguments of `Problem.of`; `forgiving`, whether a curvature that fails falls back to the
            gradient even where failures raise; and `setting`, words that have to be the same on all ranks.

    Returns:
        The step, and the problem with all samples, also those that the step leaves out.
    """
    with nullcontext() if ranks is None else ranks.together():
        return _step(loss, prediction, target, curvature, memory=memory, ranks=ranks, **given)


def _step(
    loss: Capabilities,
    prediction: Tensor,
    target: Any,
    chosen: Curvature | Chooser,
    *,
    memory: Memory,
    ranks: Ranks | None,
    setting: str = "",
    forgiving: bool = False,
    **given: Any,
) -> tuple[NewtonStep, Problem]:
    """The engine: problem, derivatives, matrix, damping, solve, lengths."""
    problem = whole = Problem.of(loss, prediction, target, ranks=ranks, **given)
    count, size = problem.prediction.shape
    if isinstance(chosen, Curvature):
        curvature = chosen
    else:
        with full_precision(problem.prediction.device):
            curvature = chosen(problem)
    if ranks is not None:
        ranks.check_alike(f"{curvature!r} of {size} outputs {setting}".strip())
        count = problem.samples.count()
    if count == 0:
        return _empty(problem, curvature, memory), problem
    with full_precision(problem.prediction.device):
        kind = curvature.kind if curvature.power else "gradient"
        derivatives = differentiate(problem, kind, chunk_size=curvature.chunk_size, jvp_sound=memory.jvp_sound)
        problem, derivatives = derivatives.exclude_unusable(problem)
        gradient, usable = derivatives.gradient, derivatives.usable
        second = SECOND.get(kind, "") if derivatives.supplied is None else ""
        checks = check_first_use(
            problem.evaluation,
            problem.prediction,
            derivatives.value,
            gradient,
            problem.samples.weight,
            second=second,
            checks=memory.checks,
            mask_checked=memory.mask_checked,
        )
        matrix = curvature.matrix(derivatives, problem) if curvature.power else IdentityMatrix.of(problem)
        damped = choose_damping(curvature.damping if curvature.power else 0.0, matrix, memory.damping, derivatives)
        solution = solve(matrix, damped, gradient.double(), curvature, wait=problem.raising)
        solution = limit_lengths(solution, damped, curvature, matrix.samples)

    direction = solution.direction.to(gradient.dtype)
    codes = solution.codes
    strength, mean_curvature = damped.strength, matrix.mean_curvature
    if matrix.unit is not None:
        strength, mean_curvature = strength * matrix.unit, mean_curvature * matrix.unit
    # If failures raise, one number read from the device shows that no direction is NaN and no sample has failed.
    if not problem.raising or (codes.numel() and not float((direction * 0).sum() + codes.amax()) <= SOLVED):
        sound = finite_rows(direction) | (codes > SOLVED)
        sound = sound if problem.raising else sound & usable
        codes = torch.where(sound, codes, Result.nonfinite.value)
        if problem.raising and not forgiving:
            raise_unsolved(problem, codes, strength, solution.condition, (matrix.null_dimension(), matrix.size))
        direction = torch.where((codes <= SOLVED).unsqueeze(-1), direction, gradient)
    jvp_sound = memory.jvp_sound if derivatives.jvp_sound is None else derivatives.jvp_sound
    memory = Memory(damped.state, checks, memory.mask_checked or problem.evaluation.mask is not None, jvp_sound)
    detail = StepDetail(
        strength,
        mean_curvature,
        solution.condition,
        problem.samples.counted,
        residual=solution.residual,
        negative=matrix.negative,
        per_sample=damped.own,
        invalid_weights=problem.invalid_weights,
    )
    shape, target = problem.evaluation.shape, problem.prediction - direction
    if gradient.shape != shape:
        gradient, direction, target = gradient.reshape(shape), direction.reshape(shape), target.reshape(shape)
    step = NewtonStep(derivatives.value, gradient, direction, target, codes, curvature, detail, memory)
    return step, whole


def resolve_curvature(curvature: object, loss: Capabilities, problem: Problem | None = None) -> Curvature:
    """Return the curvature to use for a loss.

    Args:
        curvature: The curvature; `None` is `Auto()`.
        loss: The loss.
        problem: The loss at data, where those are at hand.

    Raises:
        ConfigError: It is not a curvature.
        UnsupportedCurvatureError: The loss cannot supply it.
    """
    if curvature is None:
        curvature = Auto()
    if isinstance(curvature, Auto):
        size = None if problem is None else problem.prediction.shape[1]
        curvature = curvature.choose(loss, size, operator=problem is not None and operator_of(problem) is not None)[0]
    if not isinstance(curvature, Curvature):
        raise ConfigError(
            f"{curvature!r} is not a curvature. Give nlcore.Hessian(), nlcore.GaussNewton(), "
            f"nlcore.EmpiricalFisher() or nlcore.Auto(), an instance and not the class."
        )
    curvature.check(loss)
    return curvature


def _empty(problem: Problem, curvature: Curvature, memory: Memory) -> NewtonStep:
    nothing = problem.prediction.reshape(problem.evaluation.shape)
    codes = torch.zeros(0, dtype=torch.int8, device=nothing.device)
    return NewtonStep(nothing.new_zeros(0), nothing, nothing, nothing, codes, curvature, None, memory)
