"""A step function applied T times: the loop, its checkpointed segments, and the search for the first unstable step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nlcore.errors import ContractError, DtypeError, NonFiniteError, ShapeError, shorten
from nlcore_sequences._segments import repeated

__all__ = ["Inputs", "segment_length", "unroll", "unstable"]

_LONG = 512
"""Steps above which a rollout keeps only some states by default."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that a rollout starts from.

    Attributes:
        step: `(state, control, parameters, *, …) -> state`.
        state: [batch, *state], the initial state.
        controls: [batch, T] or [batch, T, c], 0 at padded steps; `None` without controls.
        parameters: [batch, p]; `None` without parameters.
        named: The other arguments of the step function, by keyword.
        padded: [batch, T] bool, the steps in which the state stays; `None` where every step counts.
        steps: T.
        recorded: Whether a backward pass may follow that can repeat segments.
    """

    step: Callable[..., Tensor]
    state: Tensor
    controls: Tensor | None
    parameters: Tensor | None
    named: Mapping[str, Any]
    padded: Tensor | None
    steps: int
    recorded: bool

    def advance(self, name: str, state: Tensor, control: Tensor | None, padded: Tensor | None) -> Tensor:
        """Return the state after one step; the same one where the step is padded."""
        after: Any = self.step(state, control, self.parameters, **self.named)
        _check_state(name, state, after)
        if padded is not None:
            after = torch.where(padded.reshape(-1, *[1] * (state.ndim - 1)), state, after)
        result: Tensor = after
        return result

    def shapes(self) -> str:
        """Return the shapes of all tensors that a step function is given, for messages."""
        given = {"initial": self.state, "controls": self.controls, "parameters": self.parameters, **self.named}
        return ", ".join(f"{key} {list(one.shape)}" for key, one in given.items() if isinstance(one, Tensor))

    def columns(self) -> list[tuple[Tensor | None, Tensor | None]]:
        """Return control and padding of each step."""
        return list(zip(_unbound(self.controls, self.steps), _unbound(self.padded, self.steps), strict=True))


def segment_length(choice: int | str | None, steps: int) -> int:
    """Return the number of steps between two states that are kept; all of them where nothing is to be repeated."""
    if choice == "auto":
        return math.isqrt(steps - 1) + 1 if steps > _LONG else steps
    return steps if choice is None else int(choice)


def unroll(
    name: str, inputs: Inputs, observe: Callable[[Tensor], Tensor] | None, *, segment: int
) -> tuple[Tensor, Tensor | None]:
    """Return the last state, and the observations of the states after each step, [batch, T, *observation].

    Args:
        name: Of the loss, for messages.
        inputs: Where the rollout starts from.
        observe: Maps states [batch, *state] to observations; `None` collects none.
        segment: Steps that are run together. Of several segments only the states between them are kept for the backward
            pass, which runs each segment again.
    """
    if segment >= inputs.steps:
        last, *seen = _run(name, inputs, observe)
        return last, seen[0] if seen else None
    sizes = [min(segment, inputs.steps - start) for start in range(0, inputs.steps, segment)]
    parts = zip(sizes, _split(inputs.controls, sizes), _split(inputs.padded, sizes), strict=True)
    named = [one for one in inputs.named.values() if isinstance(one, Tensor)]
    last, observed = inputs.state, []
    for size, controls, padded in parts:
        part = partial(_part, name=name, inputs=replace(inputs, padded=padded, steps=size), observe=observe)
        last, *seen = repeated(part, last, controls, inputs.parameters, *named)
        observed += seen
    return last, torch.cat(observed, 1) if observed else None


def _part(
    *tensors: Tensor | None, name: str, inputs: Inputs, observe: Callable[[Tensor], Tensor] | None
) -> tuple[Tensor, ...]:
    """Return what `_run` does, with the tensors of a segment in the place of those of all steps."""
    state, controls, parameters, *rest = tensors
    left = iter(rest)
    named = {key: next(left) if isinstance(one, Tensor) else one for key, one in inputs.named.items()}
    state = inputs.state if state is None else state
    return _run(name, replace(inputs, state=state, controls=controls, parameters=parameters, named=named), observe)


def _run(name: str, inputs: Inputs, observe: Callable[[Tensor], Tensor] | None) -> tuple[Tensor, ...]:
    """Return the last state, and the observations on the way where they are asked for."""
    state, states = inputs.state, []
    for control, padded in inputs.columns():
        state = inputs.advance(name, state, control, padded)
        states += [] if observe is None else [state]
    return (state,) if observe is None else (state, _observed(observe, torch.stack(states, 1)))


def unstable(name: str, inputs: Inputs, prediction: Tensor, features: Tensor) -> NonFiniteError:
    """Return the error of a rollout that is not finite, with the first step and sample at fault."""
    lost = _samples(prediction)
    if lost:
        return NonFiniteError(f"{name}: the prediction is NaN or infinite in the samples {shorten(lost)}.", lost)
    samples, found = _samples(features), _first_unstable(name, inputs)
    where = "its states are finite, and what is observed of them is not"
    if found is not None:
        step, sample, norm = found
        where = (
            f"the state of sample {sample} leaves the finite numbers in step {step} of {inputs.steps}, from a state of "
            f"norm {norm:.3g}"
        )
    return NonFiniteError(
        f"{name}: the rollout is not finite in {len(samples)} of {len(prediction)} samples, {shorten(samples)}: "
        f"{where}. Take a smaller time step or a shorter horizon, clamp the state in the step function, or bound the "
        f"prediction by `constrain`. With on_unstable='nan' the loss of such samples is not finite.",
        samples,
    )


def _first_unstable(name: str, inputs: Inputs) -> tuple[int, int, float] | None:
    """Return the first step after which a state is not finite, from 1, its sample, and the norm of the state before."""
    with torch.no_grad():
        state = inputs.state
        for index, (control, padded) in enumerate(inputs.columns()):
            after = inputs.advance(name, state, control, padded)
            if wrong := _samples(after):
                return index + 1, wrong[0], float(state[wrong[0]].norm())
            state = after
    return None


def _samples(tensor: Tensor) -> list[int]:
    """Return the samples that are not finite."""
    found: list[int] = (~tensor.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
    return found


def _observed(observe: Callable[[Tensor], Tensor], states: Tensor) -> Tensor:
    """Return the observations of states [batch, T, *state], all in one call."""
    count, steps = states.shape[:2]
    found = observe(states.flatten(0, 1))
    return found.reshape(count, steps, *found.shape[1:])


def _unbound(tensor: Tensor | None, count: int) -> list[Tensor | None]:
    # Not by indexing, whose backward pass writes the whole tensor for every step.
    return [None] * count if tensor is None else list(tensor.unbind(1))


def _split(tensor: Tensor | None, sizes: list[int]) -> list[Tensor | None]:
    return [None] * len(sizes) if tensor is None else list(torch.split(tensor, sizes, 1))


def _check_state(name: str, before: Tensor, after: Any) -> None:
    if not isinstance(after, Tensor):
        raise ContractError(
            f"{name}: the step function returned a {type(after).__name__}, and has to return the next state, a tensor "
            f"of shape {list(before.shape)}."
        )
    if after.shape != before.shape:
        raise ShapeError(
            f"{name}: the step function returned shape {list(after.shape)} for a state of shape {list(before.shape)}. "
            f"A state keeps its shape, with the batch in front; a control is [batch] or [batch, c] and parameters are "
            f"[batch, p], so split them with .split(1, 1) or unsqueeze what is to be added to a state."
        )
    if after.dtype != before.dtype:
        raise DtypeError(
            f"{name}: the step function returned {after.dtype} for a state of {before.dtype}. Make its constants with "
            f"dtype=state.dtype; what the context has is converted to the dtype of the prediction."
        )
