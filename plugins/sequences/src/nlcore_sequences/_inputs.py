"""The inputs of a rollout, read from prediction, mask and context, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from nlcore.capabilities import parameters_of
from nlcore.errors import ContractError, DeviceError, DtypeError, ShapeError, nearest, shorten
from nlcore.evaluation import transformed
from nlcore.inputs import check_inputs, holds, working
from nlcore_sequences._unroll import Inputs
from nlcore_sequences.config import Predicts
from nlcore_sequences.systems import System

__all__ = ["ID", "Options", "named_arguments", "read_inputs"]

ID = "sequences/rollout-v1"

_ENTRIES = ("initial", "controls", "parameters", "length")


class Options(Protocol):
    """The members of `Rollout` that decide what its inputs are."""

    @property
    def predicts(self) -> Predicts: ...
    @property
    def initial_size(self) -> int: ...
    @property
    def channels(self) -> int | None: ...
    @property
    def steps(self) -> int | None: ...
    @property
    def dynamics(self) -> System: ...
    @property
    def names(self) -> Mapping[str, bool]: ...
    @property
    def time_step(self) -> float | None: ...

    def constrained(self, outputs: Tensor) -> Tensor: ...
    def unconstrained(self, values: Tensor) -> Tensor: ...
    def inner(self, prediction: Tensor, *, context: Mapping[str, Tensor] | None) -> Tensor: ...


def named_arguments(step: Any) -> dict[str, bool]:
    """Return the keyword-only parameters of a step function, each with whether it is required."""
    keyword_only = [one for one in parameters_of(step) if one.kind is one.KEYWORD_ONLY]
    return {one.name: one.default is one.empty for one in keyword_only}


def read_inputs(loss: Options, prediction: Tensor, mask: Tensor | None, context: Any) -> Inputs:
    """Return the inputs of a rollout, in the working precision of the prediction.

    Raises:
        ContractError: An entry of the context is missing or not used, a length is outside 1 to T, or an input is not a
            tensor.
        ShapeError: A shape does not fit.
        DtypeError: A dtype does not fit.
    """
    given = _entries(loss, context)
    _check_shapes(loss, prediction, mask, given)
    dtype = working(prediction).dtype
    if "step" in given and "step" not in loss.names:
        given["dt"] = given.pop("step")
    given = {key: one.to(dtype) if one.is_floating_point() else one for key, one in given.items()}
    _predict(loss, loss.constrained(working(prediction)), given)
    for key in ("initial", "parameters"):
        values = getattr(loss.dynamics, key)
        if key not in given and values is not None:
            given[key] = torch.tensor(values, dtype=dtype, device=prediction.device).expand(len(prediction), -1)
    _check_complete(loss, given)
    state = given.pop("initial")
    controls, parameters, length = (given.pop(key, None) for key in ("controls", "parameters", "length"))
    steps = _steps(loss, controls)
    padded = _padded(mask, length, steps)
    if controls is not None and padded is not None:
        controls = controls if mask is None else controls.masked_fill(mask, 0.0)
        controls = controls.masked_fill(padded if controls.ndim == 2 else padded.unsqueeze(2), 0.0)
    named: dict[str, Any] = dict(given)
    if "dt" in loss.names and "dt" not in given:
        named["dt"] = loss.time_step
    recorded = torch.is_grad_enabled() and not transformed(prediction)  # a transform saves no checkpoints
    return Inputs(loss.dynamics.step, state, controls, parameters, named, padded, steps, recorded)


def _predict(loss: Options, outputs: Tensor, given: dict[str, Tensor]) -> None:
    """Put the outputs of the network to the entries of the context that they stand for."""
    if loss.initial_size:
        if loss.initial_size > outputs.shape[1]:
            raise ShapeError(
                f"{ID}: prediction has shape {list(outputs.shape)}, and initial_size={loss.initial_size} numbers of it "
                f"are the initial state."
            )
        given["parameters"], given["initial"] = outputs.tensor_split([outputs.shape[1] - loss.initial_size], 1)
    else:
        given[loss.predicts] = outputs


def _entries(loss: Options, context: Any) -> dict[str, Tensor]:
    """Return the context as a dict of tensors, all of which are used."""
    if not isinstance(context, Mapping | None):
        raise ContractError(
            f"{ID}: the context is a {type(context).__name__}, and has to be a dict of tensors, such as "
            f"{{'initial': state}} with state [batch, *state]."
        )
    given = dict(context or {})
    predicted = {loss.predicts, *(["initial"] if loss.initial_size else [])}
    names = ["step" if key == "dt" and "dt" not in given else key for key in loss.names]
    allowed = [key for key in (*_ENTRIES, *names) if key not in predicted]
    for key, one in given.items():
        if key in predicted:
            raise ContractError(f"{ID}: the context has {key!r}, which the network predicts. Leave it out.")
        if key not in allowed:
            raise ContractError(
                f"{ID}: the context has {key!r}{nearest(str(key), allowed)}, which nothing uses. It may have "
                f"{', '.join(map(repr, allowed))}; give the step function a keyword-only parameter for what it needs "
                f"beside state, control and parameters."
            )
        if not isinstance(one, Tensor):
            raise ContractError(
                f"{ID}: context[{key!r}] is a {type(one).__name__}; a tensor with the batch in front is needed."
            )
    return given


def _check_shapes(loss: Options, prediction: Tensor, mask: Tensor | None, given: Mapping[str, Tensor]) -> None:
    if loss.predicts == "controls":
        form = "[batch, T]" if loss.channels is None else f"[batch, T, {loss.channels}]"
        advice = "" if loss.channels else "Several controls of a step need Rollout(channels=…)."
    else:
        form, advice = "[batch, p]", f"The network predicts the {loss.predicts} of each sample."
    controls, padding = given.get("controls"), (mask, f"{form} bool or None", "It is True at padded steps.")
    check_inputs(ID, prediction=(prediction, f"{form} floating", advice), mask=padding)
    forms = {
        "controls": "[batch, T] floating" if controls is None or controls.ndim < 3 else "[batch, T, c] floating",
        "parameters": "[batch, p] floating",
        "length": "[batch] int64",
    }
    known = {f"context[{key!r}]": (given[key], forms[key]) for key in forms if key in given}
    check_inputs(ID, prediction=(prediction, form), **known)
    if "initial" in given and not given["initial"].is_floating_point():
        raise DtypeError(f"{ID}: context['initial'] is {given['initial'].dtype}; a state is floating point: .float().")
    for key, one in given.items():
        if one.ndim == 0 or len(one) != len(prediction):
            raise ShapeError(
                f"{ID}: context[{key!r}] has shape {list(one.shape)}, and the prediction {list(prediction.shape)}: "
                f"both need the same batch in front."
            )
        if one.device != prediction.device:
            raise DeviceError(
                f"{ID}: context[{key!r}] is on {one.device}, and the prediction on {prediction.device}. Move one with "
                f".to(device)."
            )


def _check_complete(loss: Options, given: Mapping[str, Tensor]) -> None:
    required = [key for key, needed in loss.names.items() if needed and not (key == "dt" and loss.time_step)]
    missing = [key for key in ("initial", *required) if key not in given]
    if missing:
        entries = ", ".join(f"{key!r}: …" for key in missing)
        raise ContractError(
            f"{ID}: the context lacks {shorten([repr(key) for key in missing])}. Give criterion(prediction, target, "
            f"context={{{entries}}}), tensors with the batch in front"
            f"{', or Rollout(System(step, initial=…))' if 'initial' in missing else ''}"
            f"{', or Rollout(dt=…)' if 'dt' in missing else ''}."
        )


def _steps(loss: Options, controls: Tensor | None) -> int:
    """Return T, the size of the controls or the option `steps`."""
    if controls is None and loss.steps is None:
        raise ContractError(
            f"{ID}: nothing says how many steps there are. Give context={{'controls': …}} of shape [batch, T], or "
            f"Rollout(steps=T) for a system without controls."
        )
    steps = loss.steps if controls is None else controls.shape[1]
    if loss.steps is not None and steps != loss.steps:
        raise ShapeError(f"{ID}: there are controls for {steps} steps, and steps={loss.steps}. Leave out `steps`.")
    return int(steps or 0)


def _padded(mask: Tensor | None, length: Tensor | None, steps: int) -> Tensor | None:
    """Return the padded steps, [batch, T]: those of the mask, and those from the length on."""
    padded = mask if mask is None or mask.ndim == 2 else mask.all(2)
    if length is None:
        return padded
    sound = (length >= 1) & (length <= steps)
    if not holds(sound):
        wrong = (~sound).nonzero().flatten().tolist()
        raise ContractError(
            f"{ID}: context['length'] is {shorten(length[~sound].tolist())} for the samples {shorten(wrong)}; it has "
            f"to be from 1 to {steps}, the number of steps."
        )
    late = torch.arange(steps, device=length.device) >= length.unsqueeze(1)
    return late if padded is None else padded | late
